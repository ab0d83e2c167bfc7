"""Failure notices: the invocation record that an event source mapping sends to its OnFailure destination."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from stream_redrive.core.errors import MalformedNotice
from stream_redrive.core.sequence import is_sequence_number

_BATCH_INFO = {"KinesisBatchInfo": "kinesis", "DDBStreamBatchInfo": "dynamodb"}
_RESOURCE = {"lambda": "function:", "kinesis": "stream/", "dynamodb": "table/"}


class Source(StrEnum):
    """The kind of stream that a notice speaks of."""

    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"


@dataclass(frozen=True, slots=True)
class ShardRef:
    """One consumer's view of one shard: what notices are gathered by."""

    source: Source
    consumer: str
    stream_arn: str
    shard_id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A failed batch, as its notice names it: a range of sequence numbers and no payload.

    Times are ISO 8601 text, UTC, as AWS wrote them. function_error is None for a batch that failed through
    batchItemFailures and for a record that grew too old; invoke_count is 1 even when the function never ran.
    """

    start: str
    end: str
    size: int
    condition: str
    function_error: str | None
    invoke_count: int
    first_arrival: str
    last_arrival: str
    failed_at: str
    request_id: str

    def to_dict(self) -> dict[str, Any]:
        """The notice as the incident's input carries it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Notice":
        """Read a notice of an incident's input back."""
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


def parse_notice(text: str) -> tuple[ShardRef, Notice]:
    """Read a message of the intake queue.

    Args:
        text: the invocation record as JSON; also inside an SNS envelope, for a subscription without raw delivery.

    Raises:
        MalformedNotice: with the field at fault and what was expected there.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise MalformedNotice(f"the message is not JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise MalformedNotice(f"the message is a JSON {type(body).__name__}, expected an object")
    if body.get("Type") == "Notification" and isinstance(body.get("Message"), str):
        return parse_notice(body["Message"])
    present = [name for name in _BATCH_INFO if name in body]
    if len(present) != 1:
        raise MalformedNotice(_not_a_stream_notice(body))
    batch = _Fields(body[present[0]], present[0])
    request = _Fields(body.get("requestContext"), "requestContext")
    response = body.get("responseContext") or {}
    if not isinstance(response, dict):
        raise MalformedNotice(f"responseContext is a {type(response).__name__}, expected an object")
    start, end = batch.sequence("startSequenceNumber"), batch.sequence("endSequenceNumber")
    if int(start) > int(end):
        raise MalformedNotice(f"{present[0]}: startSequenceNumber {start} comes after endSequenceNumber {end}")
    shard = ShardRef(
        Source(_BATCH_INFO[present[0]]),
        request.arn("functionArn", "lambda"),
        batch.arn("streamArn", _BATCH_INFO[present[0]]),
        batch.text("shardId"),
    )
    notice = Notice(
        start=start,
        end=end,
        size=batch.positive("batchSize"),
        condition=request.text("condition"),
        function_error=response.get("functionError"),
        invoke_count=request.positive("approximateInvokeCount"),
        first_arrival=batch.time("approximateArrivalOfFirstRecord"),
        last_arrival=batch.time("approximateArrivalOfLastRecord"),
        failed_at=_Fields(body, "the notice").time("timestamp"),
        request_id=request.text("requestId"),
    )
    return shard, notice


def _not_a_stream_notice(body: Mapping[str, Any]) -> str:
    if "requestPayload" in body:
        return (
            "this is the failure record of an asynchronous invocation: it names no shard and no sequence numbers; "
            "only event source mappings of streams can be redriven"
        )
    if body.get("Event") == "s3:TestEvent" or "Records" in body:
        return (
            "this is an S3 event notification; an event source mapping whose OnFailure destination is S3 is not "
            "supported, point it at the OnFailure topic"
        )
    return f"expected exactly one of {' and '.join(_BATCH_INFO)}, found fields: {', '.join(sorted(body)) or 'none'}"


class _Fields:
    """Typed access to an object of the notice; each failure names the field."""

    def __init__(self, fields: object, where: str) -> None:
        if not isinstance(fields, dict):
            raise MalformedNotice(f"{where} is missing or not an object")
        self._fields: dict[str, Any] = fields
        self._where = where

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, value, "a non-empty string")
        return value

    def arn(self, name: str, service: str) -> str:
        value = self.text(name)
        parts = value.split(":", 5)
        kind, found, resource = parts[-1].partition(_RESOURCE[service])
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != service or kind or not found or not resource:
            raise self._wrong(name, value, f"an ARN of {service}, {_RESOURCE[service]}…")
        return value

    def sequence(self, name: str) -> str:
        value = self._fields.get(name)
        if not is_sequence_number(value):
            raise self._wrong(name, value, "a decimal sequence number")
        return str(value)

    def positive(self, name: str) -> int:
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._wrong(name, value, "a positive whole number")
        return value

    def time(self, name: str) -> str:
        value = self.text(name)
        try:
            parse_time(value)
        except ValueError as exc:
            raise self._wrong(name, value, "an ISO 8601 time") from exc
        return value

    def _wrong(self, name: str, value: object, expected: str) -> MalformedNotice:
        return MalformedNotice(f"{self._where}.{name} is {str(value)[:100]!r}, expected {expected}")


def parse_time(text: str) -> datetime:
    """An ISO 8601 time of AWS (Kinesis: milliseconds, DynamoDB: whole seconds) as an aware datetime.

    Raises:
        ValueError: when it is none.
    """
    moment = datetime.fromisoformat(text)
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as exc:
        raise ValueError(f"{text} is no time in UTC") from exc


def format_time(moment: datetime) -> str:
    """ISO 8601, UTC, milliseconds, as everywhere in this project."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
