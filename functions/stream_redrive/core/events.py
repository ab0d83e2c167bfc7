"""Captured records in the shape in which Lambda hands them to a function."""

import base64
from typing import Any

from stream_redrive.core.notices import parse_time
from stream_redrive.core.records import Record


def kinesis_entry(record: Record, invoke_identity_arn: str = "") -> dict[str, Any]:
    """The record as an entry of the event's Records.

    https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html

    Args:
        invoke_identity_arn: the role that the mapping reads the stream with; "" where it isn't known.
    """
    stream = record.stream
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": stream.partition_key or "",
            "sequenceNumber": stream.sequence_number,
            "data": base64.b64encode(stream.data).decode("ascii"),
            "approximateArrivalTimestamp": round(parse_time(stream.arrived_at).timestamp(), 3),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{stream.shard_id}:{stream.sequence_number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": invoke_identity_arn,
        "awsRegion": record.stream_arn.split(":")[3],
        "eventSourceARN": record.stream_arn,
    }
