"""Suspicion: whom of a failed batch an error speaks against, and when nobody can tell."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.manifest import Examined
from stream_redrive.core.patience import Patience
from stream_redrive.core.policy import Decoder
from stream_redrive.core.ports import LoggedError
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from stream_redrive.core.suspicion import Suspects, Suspicion, range_of
from tests.support.build import ARRIVED, SHARD_ID, STREAM_ARN
from tests.support.classifying import examined
from tests.support.memory import MemoryTimeLimit

FIRST = 49646986683135544286507457936321625675700192471156785154
GOOD = {"flight": "UA1545", "air_time": 227, "legs": [{"from": "EWR"}]}


def notice(size: int) -> Examined:
    return examined(size=size, start=str(FIRST), end=str(FIRST + size - 1))


def records(*payloads: Any, key: str = "tail-{}") -> list[Record]:
    found = []
    for index, payload in enumerate(payloads):
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        stream = StreamRecord(SHARD_ID, str(FIRST + index), key.format(index), ARRIVED, data)
        found.append(Record(STREAM_ARN, stream, Lineage(Origin(SHARD_ID, str(FIRST + index)), 0)))
    return found


def suspects(
    batch: list[Record],
    *errors: LoggedError,
    decoder: Decoder = Decoder.AUTO,
    members: set[int] | None = None,
    limit: MemoryTimeLimit | None = None,
) -> Suspects | None:
    batch_notice = notice(len(batch))
    suspicion = Suspicion({range_of(batch_notice): {"e": errors}}, decoder, Patience(limit or MemoryTimeLimit()))
    assert suspicion.wanted
    for record in batch:
        suspicion.see(record, [batch_notice])
    wanted = set(range(len(batch))) if members is None else members
    return suspicion.suspects(range_of(batch_notice), "e", lambda number: number - FIRST in wanted)


def positions(found: Suspects | None) -> set[int] | None:
    return {number - FIRST for number in found.numbers} if found else None


def error(error_type: str, message: str, line: str = "") -> LoggedError:
    return LoggedError(error_type, message, line)


def spoilt(bad: Any, count: int = 20, at: int = 3) -> list[Any]:
    return [bad if index == at else GOOD for index in range(count)]


@pytest.mark.parametrize(
    ("payloads", "told", "clue"),
    [
        (spoilt(GOOD), error("ValueError", "no", f"failed on {FIRST + 3}"), "sequence number"),
        (spoilt(GOOD), error("ValueError", f"record {FIRST + 3} is bad"), "sequence number"),
        (
            spoilt({**GOOD, "air_time": "a lot"}),
            error("ValueError", "invalid literal for int() with base 10: 'a lot'"),
            "a value that the error's message quotes",
        ),
        (
            spoilt({**GOOD, "legs": [{"from": 'E"R'}]}),
            error("ValueError", "'E\"R' is not a valid airport"),
            "a value that the error's message quotes",
        ),
        (spoilt({"flight": "UA1"}), error("KeyError", "'air_time'"), "lacks the key"),
        (
            spoilt({"flight": "UA1"}),
            error("ValidationError", "'air_time' is a required property"),
            "lacks the key",
        ),
        (spoilt(GOOD), error("ValueError", "no", 'order of "tail-3", line 1'), "partition key"),
        (spoilt({**GOOD, "air_time": None}), error("TypeError", "unsupported operand type(s)"), "another shape"),
        (spoilt(b"carrier,flight"), error("JSONDecodeError", "Expecting value: line 1 column 1"), "another shape"),
    ],
)
def test_a_single_bad_record_is_told(payloads: list[Any], told: LoggedError, clue: str) -> None:
    found = suspects(records(*payloads), told)
    assert positions(found) == {3}
    assert found
    assert clue in found.clue


@pytest.mark.parametrize(
    ("payloads", "told"),
    [
        (spoilt(GOOD), error("ValueError", "no")),
        # A shape says nothing of a division by zero, or of a duplicate.
        (spoilt({**GOOD, "note": "x"}), error("ZeroDivisionError", "division by zero")),
        (spoilt({**GOOD, "note": "x"}), error("IntegrityError", "UNIQUE constraint failed: flights.id")),
        # Nor in a batch without a usual one.
        ([{f"field-{n % 4}": 1} for n in range(20)], error("TypeError", "no")),
        # Every record lacks the key, or has the value: it is the consumer that is wrong.
        ([GOOD] * 20, error("KeyError", "'tail'")),
        ([GOOD] * 20, error("ValueError", "'UA1545' is no flight")),
        # A short key may stand in a log by chance.
        (spoilt(GOOD), error("ValueError", "no", "line 3, in handler")),
    ],
)
def test_where_nothing_tells_nobody_is_suspected(payloads: list[Any], told: LoggedError) -> None:
    key = "tail-{}" if "handler" not in told.line else "{}"
    assert suspects(records(*payloads, key=key), told) is None


def test_a_key_of_several_records_names_none_of_them() -> None:
    batch = records(*[GOOD] * 20, key="tail-one")
    assert suspects(batch, error("ValueError", "no", "order of tail-one")) is None


def test_a_word_that_most_records_have_is_not_what_is_wrong_with_them() -> None:
    payloads = [{"carrier": "UA"}] * 15 + [{"carrier": "B6"}] * 5
    assert suspects(records(*payloads), error("ValueError", "'UA' is not a valid Status")) is None


def test_each_of_several_errors_of_a_kind_has_its_own_suspect() -> None:
    payloads = [{"air_time": word} for word in ("a lot", "1", "2", "3", "some", "4", "5")]
    told = [error("ValueError", f"invalid literal for int() with base 10: '{w}'") for w in ("a lot", "some")]
    assert positions(suspects(records(*payloads), *told)) == {0, 4}


def test_only_members_of_the_batch_are_suspected_and_only_they_count() -> None:
    batch = records(*spoilt({**GOOD, "air_time": "a lot"}))
    told = error("ValueError", "invalid literal for int() with base 10: 'a lot'")
    assert positions(suspects(batch, told, members={1, 2, 3})) == {3}
    assert suspects(batch, told, members={1, 2}) is None
    assert suspects(batch, told, members={3}) is None, "the whole batch is no suspect"


def test_a_policy_that_never_opens_payloads_has_only_the_log_to_go_by() -> None:
    batch = records(*spoilt({**GOOD, "air_time": "a lot"}))
    told = error("ValueError", "invalid literal for int() with base 10: 'a lot'")
    assert suspects(batch, told, decoder=Decoder.NONE) is None
    named = error("ValueError", "no", f"failed on {FIRST + 3}")
    assert positions(suspects(batch, named, decoder=Decoder.NONE)) == {3}


def test_a_payload_that_takes_too_long_to_look_at_is_not_looked_at() -> None:
    limit = MemoryTimeLimit(slow=1)
    payloads = [{"air_time": "a lot"}, *spoilt({**GOOD, "air_time": "a lot"})]
    told = error("ValueError", "invalid literal for int() with base 10: 'a lot'")
    assert positions(suspects(records(*payloads), told, limit=limit)) == {4}


def test_a_record_of_another_batch_is_passed_over() -> None:
    suspicion = Suspicion({}, Decoder.AUTO, Patience(MemoryTimeLimit(slow=1)))
    assert not suspicion.wanted
    suspicion.see(records(GOOD)[0], [notice(1)])
    assert suspicion.suspects(range_of(notice(1)), "e", lambda number: True) is None


@given(
    st.lists(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists), max_size=12),
    st.text(max_size=30),
    st.text(max_size=60),
)
def test_suspects_are_some_of_the_batch_and_never_all(payloads: list[Any], message: str, line: str) -> None:
    for error_type in ("KeyError", "ValueError"):
        found = positions(suspects(records(*payloads), error(error_type, message, line)))
        assert found is None or 0 < len(found) < len(payloads)
