"""Faults that the lab switches on, and the counting of calls."""

from __future__ import annotations

import json
from threading import Thread

import pytest

from stream_redrive_cli.lab.emulator.faults import CallCounter, Fault, FaultBook

WRITE = ("dynamodb", "PutItem", "arn:aws:sts::0:assumed-role/reader/consumer", '/ {"TableName": "orders-sink"}')


def book(*faults: Fault) -> FaultBook:
    made = FaultBook()
    for fault in faults:
        made.add(fault)
    return made


def test_without_a_fault_every_call_goes_through() -> None:
    assert book().strike(*WRITE) is None


def test_a_fault_strikes_until_it_is_lifted() -> None:
    fault = Fault(service="dynamodb", code="InternalServerError")
    faults = book(fault)
    assert [faults.strike(*WRITE) for _ in range(3)] == [fault] * 3
    faults.lift(fault.id)
    assert faults.strike(*WRITE) is None
    assert faults.struck() == {fault.id: 3}


def test_a_fault_with_a_number_strikes_that_often() -> None:
    faults = book(Fault(service="dynamodb", code="Throttled", times=2))
    assert [faults.strike(*WRITE) is not None for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("fault", "strikes"),
    [
        (Fault(service="dynamodb", code="E", operations=("PutItem", "BatchWriteItem")), True),
        (Fault(service="dynamodb", code="E", operations=("GetItem",)), False),
        (Fault(service="kinesis", code="E"), False),
        (Fault(service="dynamodb", code="E", resource='"orders-sink"'), True),
        (Fault(service="dynamodb", code="E", resource='"flights-sink"'), False),
        (Fault(service="dynamodb", code="E", principal="/consumer"), True),
        (Fault(service="dynamodb", code="E", principal="/capture"), False),
    ],
)
def test_a_fault_strikes_only_the_calls_it_names(fault: Fault, strikes: bool) -> None:
    assert (book(fault).strike(*WRITE) is not None) is strikes


def test_a_spent_fault_lets_the_next_one_strike() -> None:
    first, second = Fault(service="dynamodb", code="A", times=1), Fault(service="dynamodb", code="B", times=1)
    faults = book(first, second)
    assert [faults.strike(*WRITE), faults.strike(*WRITE), faults.strike(*WRITE)] == [first, second, None]


def test_lifting_all_lifts_all() -> None:
    faults = book(Fault(service="dynamodb", code="A"), Fault(service="dynamodb", code="B"))
    faults.lift_all()
    assert faults.strike(*WRITE) is None


def test_a_fault_survives_its_way_over_the_wire() -> None:
    fault = Fault(service="s3", code="SlowDown", operations=("PutObject",), status=503, times=3, moment="after")
    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


def test_a_fault_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="servce"):
        Fault.from_json({"servce": "s3", "code": "SlowDown"})


def test_calls_are_counted_by_caller_and_operation() -> None:
    counter = CallCounter()
    counter.count("capture", "kinesis", "GetRecords")
    counter.count("capture", "kinesis", "GetRecords")
    counter.count("redrive", "kinesis", "PutRecords")
    assert counter.snapshot() == {"capture": {"kinesis.GetRecords": 2}, "redrive": {"kinesis.PutRecords": 1}}


def test_no_call_is_lost_between_threads() -> None:
    counter = CallCounter()

    def count() -> None:
        for _ in range(500):
            counter.count("f", "s3", "GetObject")

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.snapshot() == {"f": {"s3.GetObject": 2000}}
