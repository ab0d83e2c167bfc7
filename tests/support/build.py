"""Builders of the things that tests speak of, with values that a reader needn't care about."""

import json
from collections.abc import Sequence
from typing import Any

from stream_redrive.core.incident import Incident, earliest_failure, incident_id
from stream_redrive.core.notices import Notice, ShardRef, Source
from stream_redrive.core.records import StreamRecord

CONSUMER = "arn:aws:lambda:us-east-1:123456789012:function:orders"
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream"
TABLE_STREAM_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
SHARD_ID = "shardId-000000000000"
SHARD = ShardRef(Source.KINESIS, CONSUMER, STREAM_ARN, SHARD_ID)
ARRIVED = "2026-01-05T11:59:00.000Z"
FAILED = "2026-01-05T12:00:00.000Z"


def notice(start: str, end: str, size: int = 1, **fields: Any) -> Notice:
    """A notice of a range."""
    defaults: dict[str, Any] = {
        "condition": "RetryAttemptsExhausted",
        "function_error": "Unhandled",
        "invoke_count": 4,
        "first_arrival": ARRIVED,
        "last_arrival": ARRIVED,
        "failed_at": FAILED,
        "request_id": "00000000-0000-0000-0000-000000000000",
    }
    return Notice(start=start, end=end, size=size, **{**defaults, **fields})


def notice_of(records: Sequence[StreamRecord], **fields: Any) -> Notice:
    """The notice of a failed batch of these records."""
    found = {"size": len(records), "first_arrival": records[0].arrived_at, "last_arrival": records[-1].arrived_at}
    return notice(records[0].sequence_number, records[-1].sequence_number, **{**found, **fields})


def incident(*notices: Notice, shard: ShardRef = SHARD) -> Incident:
    """The incident of these notices."""
    return Incident(incident_id(shard, notices), shard, earliest_failure(notices), notices, None)


def invocation_record(**changes: Any) -> dict[str, Any]:
    """A failure notice as the event source mapping sends it. changes: "a.b" paths written as a__b; None removes."""
    body: dict[str, Any] = {
        "requestContext": {
            "requestId": "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5",
            "functionArn": CONSUMER,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 4,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2023-12-10T22:06:23.446Z",
        "KinesisBatchInfo": {
            "shardId": SHARD_ID,
            "startSequenceNumber": "49646809892315476128906837425834764297423455321132531714",
            "endSequenceNumber": "49646809892315476128906837425837182149062699208482160642",
            "approximateArrivalOfFirstRecord": "2023-12-10T22:05:59.280Z",
            "approximateArrivalOfLastRecord": "2023-12-10T22:05:59.352Z",
            "batchSize": 3,
            "streamArn": STREAM_ARN,
        },
    }
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        target = body
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[leaf]
        else:
            target[leaf] = value
    return body


def message(**changes: Any) -> str:
    """The same as text."""
    return json.dumps(invocation_record(**changes))
