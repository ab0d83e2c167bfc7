"""Records in the exact shape in which Lambda hands them to a function."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stream_redrive.core.events import kinesis_entry
from stream_redrive.core.notices import format_time
from stream_redrive.core.records import Lineage, Origin, Record
from stream_redrive.core.records import StreamRecord as Captured

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024  # of a synchronous invocation
_ENVELOPE_BYTES = len('{"Records":[]}')


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A record of a stream, its event entry serialised once for all its invocations.

    `arrived_at` is in epoch seconds; `lane_key` is what order is kept for (partition key, item key).
    """

    sequence_number: str
    arrived_at: float
    lane_key: str
    event_json: str

    @property
    def order(self) -> int:
        """The sequence number as a number: as strings "9" comes after "10"."""
        return int(self.sequence_number)

    @property
    def payload_bytes(self) -> int:
        return len(self.event_json) + 1  # ASCII JSON, and a comma


def kinesis_event(
    record: Mapping[str, Any], *, shard_id: str, stream_arn: str, invoke_identity_arn: str
) -> dict[str, Any]:
    """The event entry of a record as boto3's GetRecords returns it (bytes and datetime)."""
    stream = Captured(
        shard_id=shard_id,
        sequence_number=record["SequenceNumber"],
        partition_key=record.get("PartitionKey"),
        arrived_at=format_time(record["ApproximateArrivalTimestamp"]),
        data=record["Data"],
    )
    lineage = Lineage(Origin(shard_id, stream.sequence_number), 0)
    return kinesis_entry(Record(stream_arn, stream, lineage), invoke_identity_arn)


def dynamodb_event(record: Mapping[str, Any], *, stream_arn: str) -> dict[str, Any]:
    """The event entry of a record as boto3's DynamoDB Streams GetRecords returns it."""
    plain: dict[str, Any] = _plain(record)
    return {**plain, "eventSourceARN": stream_arn}


def stream_record(event: Mapping[str, Any]) -> StreamRecord:
    """Serialise an event entry of either kind of stream."""
    if event["eventSource"] == "aws:kinesis":
        body = event["kinesis"]
        sequence_number, arrived_at = body["sequenceNumber"], body["approximateArrivalTimestamp"]
        lane_key = body["partitionKey"]
    else:
        body = event["dynamodb"]
        sequence_number, arrived_at = body["SequenceNumber"], body["ApproximateCreationDateTime"]
        lane_key = json.dumps(body.get("Keys"), sort_keys=True)
    return StreamRecord(sequence_number, arrived_at, lane_key, json.dumps(event))


def queue_event(message: Mapping[str, Any], *, queue_arn: str) -> dict[str, Any]:
    """The event entry of a message as boto3's ReceiveMessage returns it."""
    event = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {
            name: _queue_attribute(value) for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
    if "MD5OfMessageAttributes" in message:
        event["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return event


def event_payload(entries: Iterable[str]) -> bytes:
    """The whole event from serialised entries."""
    return ('{"Records":[' + ",".join(entries) + "]}").encode("ascii")


def fitting(sizes: Iterable[int], *, most: int) -> int:
    """How many entries from the front go into one invocation: at least one, at most `most`, up to 6 MB."""
    total, count = _ENVELOPE_BYTES, 0
    for size in sizes:
        total += size
        if count and (total > MAX_PAYLOAD_BYTES or count == most):
            break
        count += 1
    return count


def _queue_attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    attribute: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        attribute["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        attribute["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode("ascii")
    return attribute


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return int(value.timestamp())
    return value
