"""Captured records in the shape of Lambda's event."""

import base64

from stream_redrive.core.events import kinesis_entry
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support.build import SHARD_ID, STREAM_ARN

BINARY = bytes(range(256))
NUMBER = "000049545115243490985018280067714973144582180062593244200961"
ROLE = "arn:aws:iam::123456789012:role/orders"


def record(key: str | None = "Ключ-✈") -> Record:
    stream = StreamRecord(SHARD_ID, NUMBER, key, "2018-12-17T22:10:50.987Z", BINARY)
    return Record(STREAM_ARN, stream, Lineage(Origin(SHARD_ID, NUMBER), 0))


def test_an_entry_is_what_lambda_hands_to_the_function() -> None:
    assert kinesis_entry(record(), ROLE) == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "Ключ-✈",
            "sequenceNumber": NUMBER,  # leading zeros kept
            "data": base64.b64encode(BINARY).decode(),
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{SHARD_ID}:{NUMBER}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": ROLE,
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
    }


def test_a_record_of_a_stream_that_distributes_by_itself_has_an_empty_key() -> None:
    assert kinesis_entry(record(key=None))["kinesis"]["partitionKey"] == ""
