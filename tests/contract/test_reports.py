"""What every ledger remembers of the consumer's reports."""

from collections.abc import Callable, Mapping

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.dynamodb import DynamoLedger, report_pk, report_sk
from stream_redrive.core.ports import Ledger
from stream_redrive.core.reports import FailureReport
from tests.support.build import SHARD_ID
from tests.support.cloud import TABLE, create_table
from tests.support.memory import MemoryClock, MemoryLedger

FUNCTION, STREAM = "orders", "orders-stream"
AT = "2026-01-05T12:00:00.000Z"
HIGH = 10**55
Place = tuple[str, str, str]
Write = Callable[[Place, Mapping[int, FailureReport]], None]


@pytest.fixture
def reports(implementation: str) -> tuple[Ledger, Write]:
    """A ledger, and how reports come into it: the consumer's helper writes them, not the port."""
    if implementation == "memory":
        memory = MemoryLedger()
        return memory, lambda place, made: memory.reports.setdefault(place, {}).update(made)
    create_table(boto3.client("dynamodb"))
    table = boto3.resource("dynamodb").Table(TABLE)

    def write(place: Place, made: Mapping[int, FailureReport]) -> None:
        with table.batch_writer() as batch:
            for number, report in made.items():
                fields = {name: getattr(report, name) for name in FailureReport.__dataclass_fields__}
                batch.put_item({"pk": report_pk(*place), "sk": report_sk(str(number)), **fields})

    return DynamoLedger(clients.dynamodb(), TABLE, MemoryClock()), write


def made(*numbers: int, text: str = "air_time") -> dict[int, FailureReport]:
    return {number: FailureReport.of(KeyError(text), AT) for number in numbers}


def found(
    ledger: Ledger, first: int | str, last: int | str, place: Place = (FUNCTION, STREAM, SHARD_ID)
) -> dict[int, FailureReport]:
    function, stream, shard_id = place
    return dict(ledger.reports_of(function, stream, shard_id, str(first), str(last)))


def test_a_range_gives_its_reports_the_first_and_last_included(reports: tuple[Ledger, Write]) -> None:
    ledger, write = reports
    everything = made(*range(HIGH, HIGH + 10))
    write((FUNCTION, STREAM, SHARD_ID), everything)
    assert found(ledger, HIGH + 3, HIGH + 6) == {HIGH + n: everything[HIGH + n] for n in (3, 4, 5, 6)}
    assert found(ledger, HIGH + 20, HIGH + 30) == {}


def test_numbers_of_reports_are_compared_as_numbers(reports: tuple[Ledger, Write]) -> None:
    ledger, write = reports
    write((FUNCTION, STREAM, SHARD_ID), made(9, 10, 99, 100, 10**127))
    assert found(ledger, "9", "0100").keys() == {9, 10, 99, 100}
    assert found(ledger, 0, "9" * 128).keys() == {9, 10, 99, 100, 10**127}


def test_reports_of_another_function_stream_or_shard_are_not_seen(reports: tuple[Ledger, Write]) -> None:
    ledger, write = reports
    write((FUNCTION, STREAM, SHARD_ID), made(1))
    for stranger in (
        ("orders-2", STREAM, SHARD_ID),
        (FUNCTION, "orders-stream-2", SHARD_ID),
        (FUNCTION, STREAM, "shardId-000000000001"),
    ):
        assert found(ledger, 0, 9, stranger) == {}


def test_reports_of_more_than_a_page_are_all_read(reports: tuple[Ledger, Write]) -> None:
    ledger, write = reports
    many = made(*range(HIGH, HIGH + 2500), text="x" * 490)
    assert sum(len(report.message) for report in many.values()) > 1_048_576, "DynamoDB's page"
    write((FUNCTION, STREAM, SHARD_ID), many)
    assert found(ledger, HIGH, HIGH + 2500) == many


def test_the_last_report_of_a_record_counts(reports: tuple[Ledger, Write]) -> None:
    ledger, write = reports
    write((FUNCTION, STREAM, SHARD_ID), made(1, text="first"))
    write((FUNCTION, STREAM, SHARD_ID), made(1, text="last"))
    assert found(ledger, 1, 1) == made(1, text="last")
