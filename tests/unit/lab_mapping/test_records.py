"""Records in the shape of Lambda's events."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stream_redrive_cli.lab.mapping.records import (
    MAX_PAYLOAD_BYTES,
    dynamodb_event,
    event_payload,
    fitting,
    kinesis_event,
    queue_event,
    stream_record,
)
from tests.unit.lab_mapping.support import ROLE_ARN, STREAM_ARN

TABLE_STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2023-12-10T00:00:00.000"
BINARY = bytes(range(256))


def test_kinesis_record() -> None:
    record = {
        "SequenceNumber": "000049545115243490985018280067714973144582180062593244200961",
        "ApproximateArrivalTimestamp": datetime(2018, 12, 17, 22, 10, 50, 987_000, tzinfo=UTC),
        "Data": BINARY,
        "PartitionKey": "Ключ-✈",
    }
    event = kinesis_event(record, shard_id="shardId-000000000006", stream_arn=STREAM_ARN, invoke_identity_arn=ROLE_ARN)
    assert event == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "Ключ-✈",
            "sequenceNumber": record["SequenceNumber"],
            "data": base64.b64encode(BINARY).decode(),
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000006:{record['SequenceNumber']}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": ROLE_ARN,
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
    }
    serialised = stream_record(event)
    assert serialised.sequence_number == record["SequenceNumber"]  # leading zeros kept
    assert json.loads(event_payload([serialised.event_json])) == {"Records": [event]}


def dynamodb_record(**keys: Any) -> dict[str, Any]:
    return {
        "eventID": "1",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": datetime(2023, 12, 10, 22, 5, 59, tzinfo=UTC),
            "Keys": keys or {"id": {"S": "a"}},
            "NewImage": {"raw": {"B": BINARY}, "set": {"BS": [b"\xff"]}, "list": {"L": [{"B": b"\x00"}]}},
            "SequenceNumber": "111",
            "SizeBytes": 26,
            "StreamViewType": "NEW_IMAGE",
        },
    }


def test_dynamodb_record() -> None:
    event = dynamodb_event(dynamodb_record(), stream_arn=TABLE_STREAM)
    assert event["eventSourceARN"] == TABLE_STREAM
    assert event["dynamodb"]["ApproximateCreationDateTime"] == 1702245959
    assert event["dynamodb"]["NewImage"] == {
        "raw": {"B": base64.b64encode(BINARY).decode()},
        "set": {"BS": ["/w=="]},
        "list": {"L": [{"B": "AA=="}]},
    }
    assert json.loads(stream_record(event).event_json) == event


def test_dynamodb_lane_is_the_items_key_whatever_its_order() -> None:
    one = dynamodb_event(dynamodb_record(a={"S": "1"}, b={"N": "2"}), stream_arn=TABLE_STREAM)
    same = dynamodb_event(dynamodb_record(b={"N": "2"}, a={"S": "1"}), stream_arn=TABLE_STREAM)
    other = dynamodb_event(dynamodb_record(a={"S": "1"}, b={"N": "3"}), stream_arn=TABLE_STREAM)
    assert stream_record(one).lane_key == stream_record(same).lane_key != stream_record(other).lane_key


def test_queue_message() -> None:
    message = {
        "MessageId": "m-1",
        "ReceiptHandle": "handle",
        "Body": '{"a": "ü"}',
        "MD5OfBody": "abc",
        "Attributes": {"ApproximateReceiveCount": "1"},
        "MessageAttributes": {
            "text": {"DataType": "String", "StringValue": "x"},
            "blob": {"DataType": "Binary", "BinaryValue": b"\xff"},
        },
    }
    event = queue_event(message, queue_arn="arn:aws:sqs:eu-west-1:123456789012:intake")
    assert event == {
        "messageId": "m-1",
        "receiptHandle": "handle",
        "body": '{"a": "ü"}',
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {
            "text": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "blob": {"binaryValue": "/w==", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfBody": "abc",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:intake",
        "awsRegion": "eu-west-1",
    }


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([], 100, 0),
        ([10] * 5, 100, 5),
        ([10] * 5, 3, 3),
        ([MAX_PAYLOAD_BYTES // 2] * 3, 100, 1),
        ([MAX_PAYLOAD_BYTES // 3] * 3, 100, 2),
        ([MAX_PAYLOAD_BYTES * 2, 1], 100, 1),  # goes alone, for Lambda to refuse
    ],
)
def test_an_invocation_holds_a_batch_of_at_most_6_mb(sizes: list[int], most: int, expected: int) -> None:
    assert fitting(sizes, most=most) == expected
