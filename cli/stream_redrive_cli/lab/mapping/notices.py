"""The OnFailure invocation record: what AWS tells about a batch that it gave up."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stream_redrive_cli.lab.mapping.batch import Discard
from stream_redrive_cli.lab.mapping.settings import StreamMapping


@dataclass(frozen=True, slots=True)
class FailedInvocation:
    """The last invocation of a failed batch; `function_error` is None when it failed by a partial response."""

    request_id: str
    status_code: int
    executed_version: str
    function_error: str | None


def failure_notice(
    mapping: StreamMapping, shard_id: str, discard: Discard, last: FailedInvocation | None, *, now: float
) -> dict[str, Any]:
    """The notice of discarded records, in AWS's shape; `now` in epoch seconds.

    `batchSize` counts the failed batch itself: with filters or lanes the shard may hold more records between the
    two sequence numbers.
    """
    first, final = discard.records[0], discard.records[-1]
    kinesis = mapping.source == "kinesis"
    notice: dict[str, Any] = {
        "requestContext": {
            "requestId": last.request_id if last else str(uuid.uuid4()),
            "functionArn": mapping.function_arn,
            "condition": discard.condition,
            "approximateInvokeCount": discard.invoke_count,
        },
        "version": "1.0",
        "timestamp": _iso(now, "milliseconds"),
        "KinesisBatchInfo" if kinesis else "DDBStreamBatchInfo": {
            "shardId": shard_id,
            "startSequenceNumber": first.sequence_number,
            "endSequenceNumber": final.sequence_number,
            "approximateArrivalOfFirstRecord": _arrival(first.arrived_at, kinesis),
            "approximateArrivalOfLastRecord": _arrival(final.arrived_at, kinesis),
            "batchSize": len(discard.records),
            "streamArn": mapping.source_arn,
        },
    }
    # AWS leaves the response out of an age notice, even after invocations.
    if last and discard.condition != "RecordAgeExceeded":
        notice["responseContext"] = {
            "statusCode": last.status_code,
            "executedVersion": last.executed_version,
            "functionError": last.function_error,
        }
    return notice


def _arrival(epoch_seconds: float, kinesis: bool) -> str:
    return _iso(epoch_seconds, "milliseconds" if kinesis else "seconds")


def _iso(epoch_seconds: float, timespec: str) -> str:
    # Rounded first: a float such as 1702245959.28 would be cut down to .279.
    moment = datetime.fromtimestamp(round(epoch_seconds, 3), UTC)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
