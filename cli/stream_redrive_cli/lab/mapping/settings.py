"""What a deployed event source mapping asks for, read from the Lambda API's reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from stream_redrive.core.event_filter import EVERYTHING, RecordFilter

Source = Literal["kinesis", "dynamodb"]
StartingPosition = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]

NO_LIMIT = -1
DEFAULT_QUEUE_CONCURRENCY = 5  # AWS starts with five pollers unless ScalingConfig says otherwise


class UnsupportedMappingError(ValueError):
    """The mapping asks for what AWS would refuse, or for what this stand-in can't do."""


@dataclass(frozen=True, slots=True)
class StreamMapping:
    """The mapping of a Kinesis or DynamoDB stream. Times are seconds; -1 means no limit."""

    uuid: str
    function_arn: str
    source_arn: str
    source: Source
    batch_size: int = 100
    window_seconds: float = 0
    maximum_retry_attempts: int = NO_LIMIT
    maximum_record_age_seconds: float = NO_LIMIT
    bisect: bool = False
    partial_responses: bool = False
    parallelization_factor: int = 1
    filters: RecordFilter = EVERYTHING
    starting_position: StartingPosition = "LATEST"
    starting_timestamp: datetime | None = None
    on_failure_arn: str | None = None

    @property
    def region(self) -> str:
        return self.source_arn.split(":")[3]


@dataclass(frozen=True, slots=True)
class QueueMapping:
    """The mapping of a standard SQS queue. Times are seconds."""

    uuid: str
    function_arn: str
    source_arn: str
    batch_size: int = 10
    window_seconds: float = 0
    partial_responses: bool = False
    maximum_concurrency: int = DEFAULT_QUEUE_CONCURRENCY

    @property
    def region(self) -> str:
        return self.source_arn.split(":")[3]


def mapping_from_reply(reply: Mapping[str, Any]) -> StreamMapping | QueueMapping:
    """Read one entry of ListEventSourceMappings; absent fields get AWS's defaults.

    Raises UnsupportedMappingError for another kind of source, a value outside AWS's limits, or a feature that
    the stand-in doesn't have; FilterPatternError for a filter that AWS would refuse.
    """
    service = reply["EventSourceArn"].split(":")[2]
    if service == "sqs":
        return _queue_mapping(reply)
    if service in ("kinesis", "dynamodb"):
        return _stream_mapping(reply, service)
    raise UnsupportedMappingError(f"{reply['EventSourceArn']}: only Kinesis, DynamoDB streams and SQS are polled")


def _stream_mapping(reply: Mapping[str, Any], source: Source) -> StreamMapping:
    on_failure = reply.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    if on_failure and on_failure.split(":")[2] not in ("sns", "sqs"):
        raise UnsupportedMappingError(f"OnFailure destination {on_failure}: only SNS topics and SQS queues")
    if reply.get("TumblingWindowInSeconds"):
        raise UnsupportedMappingError("TumblingWindowInSeconds is not supported")
    max_age = _within(reply, "MaximumRecordAgeInSeconds", NO_LIMIT, NO_LIMIT, 604_800)
    if max_age != NO_LIMIT and max_age < 60:
        raise UnsupportedMappingError(f"MaximumRecordAgeInSeconds is {max_age}: AWS allows -1 or 60 to 604800")
    return StreamMapping(
        uuid=reply["UUID"],
        function_arn=reply["FunctionArn"],
        source_arn=reply["EventSourceArn"],
        source=source,
        batch_size=_within(reply, "BatchSize", 100, 1, 10_000 if source == "kinesis" else 1_000),
        window_seconds=_within(reply, "MaximumBatchingWindowInSeconds", 0, 0, 300),
        maximum_retry_attempts=_within(reply, "MaximumRetryAttempts", NO_LIMIT, NO_LIMIT, 10_000),
        maximum_record_age_seconds=max_age,
        bisect=bool(reply.get("BisectBatchOnFunctionError")),
        partial_responses=_partial_responses(reply),
        parallelization_factor=_within(reply, "ParallelizationFactor", 1, 1, 10),
        filters=RecordFilter.parse(_patterns(reply)),
        starting_position=reply.get("StartingPosition") or "LATEST",
        starting_timestamp=reply.get("StartingPositionTimestamp"),
        on_failure_arn=on_failure,
    )


def _queue_mapping(reply: Mapping[str, Any]) -> QueueMapping:
    if _patterns(reply):
        raise UnsupportedMappingError("FilterCriteria on a queue is not supported")
    if reply["EventSourceArn"].endswith(".fifo"):
        raise UnsupportedMappingError("FIFO queues are not supported")
    batch_size = _within(reply, "BatchSize", 10, 1, 10_000)
    window = _within(reply, "MaximumBatchingWindowInSeconds", 0, 0, 300)
    if batch_size > 10 and window < 1:
        raise UnsupportedMappingError("BatchSize over 10 needs MaximumBatchingWindowInSeconds of at least 1")
    concurrency = reply.get("ScalingConfig", {}).get("MaximumConcurrency")
    return QueueMapping(
        uuid=reply["UUID"],
        function_arn=reply["FunctionArn"],
        source_arn=reply["EventSourceArn"],
        batch_size=batch_size,
        window_seconds=window,
        partial_responses=_partial_responses(reply),
        maximum_concurrency=concurrency or DEFAULT_QUEUE_CONCURRENCY,
    )


def _patterns(reply: Mapping[str, Any]) -> list[str]:
    return [f["Pattern"] for f in reply.get("FilterCriteria", {}).get("Filters", []) if "Pattern" in f]


def _partial_responses(reply: Mapping[str, Any]) -> bool:
    return "ReportBatchItemFailures" in reply.get("FunctionResponseTypes", [])


def _within(reply: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = reply.get(name)
    value = default if value is None else int(value)
    if not low <= value <= high:
        raise UnsupportedMappingError(f"{name} is {value}: AWS allows {low} to {high}")
    return value
