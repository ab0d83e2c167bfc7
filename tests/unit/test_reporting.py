"""Failure reports: they reach the ledger, and a consumer behaves the same whether anybody listens or not."""

import base64
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from aws_lambda_powertools.utilities.parser.models import KinesisDataStreamRecord
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from stream_redrive import reporting
from stream_redrive.adapters import clients
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.core.reports import FailureReport
from stream_redrive.reporting import report_failure, report_failures
from stream_redrive.reporting.powertools import ReportingBatchProcessor
from tests.support.build import SHARD_ID, STREAM_ARN
from tests.support.cloud import TABLE, create_table
from tests.support.memory import MemoryClock

FUNCTION = "orders"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION,
        reporting.TABLE_VARIABLE: TABLE,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(reporting, "_patience", reporting._Patience())
    forget = (reporting._client.cache_clear, clients.dynamodb.cache_clear)
    for clear in forget:
        clear()
    yield
    for clear in forget:
        clear()


@pytest.fixture
def ledger() -> Iterator[DynamoLedger]:
    with mock_aws():
        create_table(clients.dynamodb())
        yield DynamoLedger(clients.dynamodb(), TABLE, MemoryClock())


def record(number: int, data: bytes = b"{}") -> dict[str, Any]:
    return {
        "eventID": f"{SHARD_ID}:{number}",
        "eventSource": "aws:kinesis",
        "eventSourceARN": STREAM_ARN,
        "kinesis": {
            "sequenceNumber": str(number),
            "partitionKey": "k",
            "data": base64.b64encode(data).decode(),
        },
    }


def reported(ledger: DynamoLedger) -> dict[int, FailureReport]:
    return dict(ledger.reports_of(FUNCTION, "orders-stream", SHARD_ID, "0", "9" * 50))


def test_a_failure_is_reported_with_its_class_and_its_text(ledger: DynamoLedger) -> None:
    report_failure(record(17), KeyError("air_time"))
    [(number, report)] = reported(ledger).items()
    assert (number, report.error_type, report.message) == (17, "KeyError", "'air_time'")


def test_the_same_kind_of_error_has_the_same_fingerprint(ledger: DynamoLedger) -> None:
    for number, error in enumerate([ValueError("bad 17 in 'x'"), ValueError("bad 4 in 'y'"), TypeError("bad 4")]):
        report_failure(record(number), error)
    prints = [report.fingerprint for _, report in sorted(reported(ledger).items())]
    assert prints[0] == prints[1] != prints[2]


def test_a_long_text_is_cut(ledger: DynamoLedger) -> None:
    report_failure(record(1), ValueError("x" * 100_000))
    assert len(reported(ledger)[1].message) == 500


def test_the_payload_is_no_part_of_a_report(ledger: DynamoLedger) -> None:
    report_failure(record(1, b"4111-1111"), KeyError("card"))
    item = clients.dynamodb().scan(TableName=TABLE)["Items"][0]
    assert "4111" not in json.dumps(item)
    assert base64.b64encode(b"4111-1111").decode() not in json.dumps(item)
    assert int(item["expires_at"]["N"]) > time.time() + 29 * 86_400


def test_a_handler_that_raises_on_one_record_reports_it_and_raises_all_the_same(ledger: DynamoLedger) -> None:
    @report_failures
    def handler(event: Any, context: Any) -> None:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        handler({"Records": [record(5)]}, None)
    with pytest.raises(ZeroDivisionError):
        handler({"Records": [record(6), record(7)]}, None)
    assert reported(ledger).keys() == {5}


def test_a_handler_that_succeeds_keeps_its_answer(ledger: DynamoLedger) -> None:
    assert report_failures(lambda event, context: {"batchItemFailures": []})({"Records": []}, None) == {
        "batchItemFailures": []
    }
    assert reported(ledger) == {}


def process(processor: BatchProcessor, failing: set[int], count: int) -> tuple[Any, type[BaseException] | None]:
    def store(record: Any) -> None:
        if int(record.kinesis.sequence_number) in failing:
            raise KeyError("air_time")

    records = [record(n) for n in range(count)]
    try:
        with processor(records=records, handler=store, lambda_context=None):
            processor.process()
    except BatchProcessingError as error:
        return None, type(error)
    return processor.response(), None


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_partial_batch_response_is_the_parents(case: tuple[int, set[int]], strict: bool) -> None:
    count, failing = case
    with mock_aws(), pytest.MonkeyPatch.context() as patience:
        patience.setattr(reporting, "_patience", reporting._Patience())
        reporting._client.cache_clear()
        clients.dynamodb.cache_clear()
        create_table(clients.dynamodb())
        ours = ReportingBatchProcessor(EventType.KinesisDataStreams, raise_on_entire_batch_failure=strict)
        theirs = BatchProcessor(EventType.KinesisDataStreams, raise_on_entire_batch_failure=strict)
        assert process(ours, failing, count) == process(theirs, failing, count)
        held = DynamoLedger(clients.dynamodb(), TABLE, MemoryClock())
        assert reported(held).keys() == failing
        # A warm sandbox uses the processor again.
        assert process(ours, set(), count) == process(theirs, set(), count)


def test_nothing_is_sent_where_no_ledger_is_named(ledger: DynamoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(reporting.TABLE_VARIABLE)
    report_failure(record(1), KeyError("x"))
    assert reported(ledger) == {}


@pytest.mark.parametrize("stranger", [{"dynamodb": {"SequenceNumber": "1"}}, {"messageId": "1", "body": "{}"}, {}])
def test_records_of_other_sources_are_passed_over(ledger: DynamoLedger, stranger: dict[str, Any]) -> None:
    report_failure(stranger, KeyError("x"))
    assert reported(ledger) == {}


def test_a_ledger_that_is_away_costs_little_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens on the discard port
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        answer, raised = process(ReportingBatchProcessor(EventType.KinesisDataStreams), {1, 2, 3}, 100)
    assert (len(answer["batchItemFailures"]), raised) == (3, None)
    assert time.monotonic() - began < 5
    ours = [entry.message for entry in caplog.records if entry.name == "stream_redrive.reporting"]
    assert ours == ["failure reports were not sent"]


def test_a_forbidden_ledger_changes_nothing(ledger: DynamoLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        def batch_write_item(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "BatchWriteItem")

    monkeypatch.setattr(reporting, "_client", Forbidden)
    assert process(ReportingBatchProcessor(EventType.KinesisDataStreams), {1}, 3) == (
        {"batchItemFailures": [{"itemIdentifier": "1"}]},
        None,
    )


class Table:
    """A client that only counts. seconds: what a call takes. undone: it leaves everything unprocessed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0, undone: bool = False) -> None:
        self.calls = 0
        self.time = 1000.0
        self._seconds, self._undone = seconds, undone
        monkeypatch.setattr(reporting, "_client", lambda: self)
        monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: self.time))

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        self.calls += 1
        self.time += self._seconds
        return {"UnprocessedItems": request["RequestItems"] if self._undone else {}}


def test_a_slow_ledger_is_given_up_and_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = Table(monkeypatch, seconds=0.7)
    reporting.send_reports([(record(n), KeyError("x")) for n in range(100)])
    assert table.calls == 2
    assert [entry.message for entry in caplog.records] == ["the ledger is slow: failure reports are left out for 10 s"]
    report_failure(record(1), KeyError("x"))
    assert table.calls == 2
    table.time += reporting.WINDOW_SECONDS
    report_failure(record(1), KeyError("x"))
    assert table.calls == 3


def test_single_reports_in_a_loop_have_no_more_time_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch, seconds=0.1)
    for number in range(100):
        report_failure(record(number), KeyError("x"))
    assert table.time - 1000 < 2
    assert table.calls >= 10


def test_a_ledger_that_leaves_reports_undone_is_not_asked_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = Table(monkeypatch, undone=True)
    reporting.send_reports([(record(n), KeyError("x")) for n in range(100)])
    assert (table.calls, len(caplog.records)) == (1, 1)


def test_a_loop_over_a_ledger_that_never_answers_takes_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        reporting._client()
        began = time.monotonic()
        for number in range(50):
            report_failure(record(number), KeyError("x"))
        assert time.monotonic() - began < 2
    assert [entry.message for entry in caplog.records if entry.name == reporting.__name__] == [
        "failure reports were not sent"
    ]


class Mute(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_can_not_be_reported_costs_the_others_nothing(ledger: DynamoLedger) -> None:
    odd: list[tuple[Any, BaseException]] = [
        (record(2), Mute()),
        ({"kinesis": {}}, KeyError("x")),
        (None, KeyError("x")),
    ]
    reporting.send_reports([(record(1), KeyError("x")), *odd, (record(3), KeyError("x"))])
    assert reported(ledger).keys() == {1, 3}


def test_a_record_that_fails_twice_in_a_batch_is_reported_once(ledger: DynamoLedger) -> None:
    reporting.send_reports([(record(1), KeyError("first")), (record(1), KeyError("last"))])
    assert reported(ledger)[1].message == "'last'"


@pytest.mark.parametrize("raised", ["by the handler", "by the model"])
def test_a_record_with_a_model_is_reported_too(ledger: DynamoLedger, raised: str) -> None:
    valid = record(5)
    valid |= {
        "eventVersion": "1.0",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "a",
        "awsRegion": "us-east-1",
    }
    valid["kinesis"] |= {"kinesisSchemaVersion": "1.0", "approximateArrivalTimestamp": 1.5}

    def store(record: Any) -> None:
        raise KeyError("air_time")

    processor = ReportingBatchProcessor(
        EventType.KinesisDataStreams, model=KinesisDataStreamRecord, raise_on_entire_batch_failure=False
    )
    with processor(records=[valid if raised == "by the handler" else record(5)], handler=store):
        processor.process()
    assert processor.response() == {"batchItemFailures": [{"itemIdentifier": "5"}]}
    assert reported(ledger)[5].error_type == {"by the handler": "KeyError", "by the model": "ValidationError"}[raised]


def test_a_consumer_without_powertools_needs_none() -> None:
    program = (
        "import sys; sys.modules['aws_lambda_powertools'] = None; "
        "from stream_redrive.reporting import report_failure, report_failures; "
        "assert not {'fastjsonschema', 'pydantic'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
