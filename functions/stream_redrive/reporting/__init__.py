"""What a consumer adds to tell why a record failed: one line. Nothing changes for it when nobody listens.

With Powertools' BatchProcessor, take `stream_redrive.reporting.powertools.ReportingBatchProcessor` in its place. Else
call `report_failure` where you catch a record's exception, or put `@report_failures` on a handler that raises. The
construct's `accept_reports` grants what is needed and sets STREAM_REDRIVE_LEDGER_TABLE; without the variable nothing
is sent. Reports hold the exception's class and text, never the payload, and are kept for 30 days.
"""

import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config

from stream_redrive.adapters.dynamodb import report_pk, report_sk
from stream_redrive.adapters.table import MAX_BATCH_WRITE
from stream_redrive.core.chunks import stream_name
from stream_redrive.core.notices import format_time
from stream_redrive.core.reports import FailureReport

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = ["report_failure", "report_failures", "send_reports"]

TABLE_VARIABLE = "STREAM_REDRIVE_LEDGER_TABLE"
KEEP = timedelta(days=30)
# Of every WINDOW_SECONDS the reports may cost the consumer so much, and one call that hangs.
BUDGET_SECONDS = 1.0
WINDOW_SECONDS = 10.0
_CONFIG = Config(connect_timeout=0.5, read_timeout=0.5, retries={"mode": "standard", "total_max_attempts": 1})

_logger = logging.getLogger(__name__)

Failure = tuple[Mapping[str, Any], BaseException]
Handler = TypeVar("Handler", bound=Callable[..., Any])


def report_failure(record: Mapping[str, Any], error: BaseException) -> None:
    """Report why a record failed.

    Args:
        record: an entry of the Lambda event's "Records", of a Kinesis stream; others are passed over.
        error: the exception that it caused.
    """
    send_reports([(record, error)])


def report_failures(handler: Handler) -> Handler:
    """Report what a handler raises. Only an event of a single record says which one is at fault; with bisection
    switched on Lambda gets there by itself.
    """

    @functools.wraps(handler)
    def reporting(event: Any, context: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return handler(event, context, *arguments, **named)
        except Exception as error:
            records = event.get("Records") if isinstance(event, Mapping) else None
            if isinstance(records, list) and len(records) == 1:
                report_failure(records[0], error)
            raise

    return reporting  # type: ignore[return-value]  # functools.wraps keeps the handler's signature


def send_reports(failures: Sequence[Failure]) -> None:
    """Report why records failed; the consumer goes on as if nothing were, whatever happens here."""
    table = os.environ.get(TABLE_VARIABLE)
    if not table or not failures or not _patience.left:
        return
    try:
        _send(table, failures)
    except Exception:  # the consumer must never fail for want of its reports
        _patience.exhaust()
        _logger.warning("failure reports were not sent", exc_info=True)


class _Patience:
    """How long the consumer still waits for its ledger: a loop of single reports has no more time than a batch."""

    def __init__(self) -> None:
        self._window_ends = 0.0
        self._left = BUDGET_SECONDS

    @property
    def left(self) -> bool:
        if time.monotonic() >= self._window_ends:
            self._window_ends = time.monotonic() + WINDOW_SECONDS
            self._left = BUDGET_SECONDS
        return self._left > 0

    def spend(self, seconds: float) -> None:
        self._left -= seconds

    def exhaust(self) -> None:
        self._left = 0.0


_patience = _Patience()


def _send(table: str, failures: Sequence[Failure]) -> None:
    items = iter(_items(failures))
    while batch := list(itertools.islice(items, MAX_BATCH_WRITE)):
        client, began = _client(), time.monotonic()  # a sandbox makes its client once: no fault of the ledger's
        reply = client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in batch]})
        _patience.spend(time.monotonic() - began)
        if not _patience.left or reply.get("UnprocessedItems"):
            _patience.exhaust()
            _logger.warning("the ledger is slow: failure reports are left out for %.0f s", WINDOW_SECONDS)
            return


def _items(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    items: dict[tuple[str, str], dict[str, Any]] = {}  # a call takes no item twice
    for record, error in failures:
        try:
            item = _item(record, error)
        except Exception:  # one odd record or exception must not cost the others their reports
            _logger.warning("a failure report could not be made", exc_info=True)
        else:
            if item is not None:
                items[item["pk"]["S"], item["sk"]["S"]] = item
    return list(items.values())


def _item(record: Mapping[str, Any], error: BaseException) -> dict[str, Any] | None:
    if "kinesis" not in record:
        return None  # a DynamoDB stream's record doesn't say which shard it came from
    now = datetime.now(UTC)
    report = FailureReport.of(error, at=format_time(now))
    function = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    shard_id = record["eventID"].partition(":")[0]
    return {
        "pk": {"S": report_pk(function, stream_name(record["eventSourceARN"]), shard_id)},
        "sk": {"S": report_sk(record["kinesis"]["sequenceNumber"])},
        "error_type": {"S": report.error_type},
        "message": {"S": report.message},
        "fingerprint": {"S": report.fingerprint},
        "reported_at": {"S": report.reported_at},
        "expires_at": {"N": str(int((now + KEEP).timestamp()))},
    }


@cache
def _client() -> "DynamoDBClient":
    return boto3.client("dynamodb", config=_CONFIG)
