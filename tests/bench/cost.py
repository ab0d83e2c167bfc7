"""What a million failed records cost on AWS, from counted calls and the prices of us-east-1."""

from collections.abc import Mapping
from dataclasses import dataclass

# USD. Lambda: arm64. Re-check before publishing a figure.
TRANSITION = 0.025 / 1_000
LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB_SECOND = 0.0000133334
PUT_UNIT = 0.014 / 1e6
SQS_REQUEST = 0.40 / 1e6
SNS_REQUEST = 0.50 / 1e6
S3_PUT = 0.005 / 1_000
S3_GET = 0.0004 / 1_000
WRITE_UNIT = 0.625 / 1e6
READ_UNIT = 0.125 / 1e6
LOG_GB = 0.50

# Nothing measured here tells how long a call takes on AWS: this is generous, and it hardly matters.
SECONDS_A_CALL = 0.025
LAMBDA_GB = 1.0
LOG_BYTES_AN_INVOCATION = 2_000


@dataclass(frozen=True)
class Part:
    """A line of the bill, for the records of one incident."""

    name: str
    usd: float


def bill(
    calls: Mapping[str, int], *, transitions: int, records: int, poison: int, notices: int, cpu_seconds: float
) -> list[Part]:
    """The bill of one incident.

    Args:
        calls: counted AWS calls by "service.Operation".
        poison: how many of the records were quarantined.
        cpu_seconds: what the functions computed.
    """
    redriven = records - poison
    seconds = cpu_seconds + SECONDS_A_CALL * sum(calls.values())
    invocations = transitions  # at most one a state
    return [
        # One item a redriven or quarantined record, one a claim (a transaction counts twice), one a cursor.
        Part(
            "DynamoDB writes",
            WRITE_UNIT * (records + 2 * notices + calls.get("dynamodb.PutItem", 0) * 2 + poison / 100),
        ),
        # A consistent read of every record's lineage.
        Part(
            "DynamoDB reads", READ_UNIT * (records + calls.get("dynamodb.GetItem", 0) + calls.get("dynamodb.Query", 0))
        ),
        Part("S3 writes", S3_PUT * (calls.get("s3.PutObject", 0) + calls.get("s3.ListObjectsV2", 0))),
        Part("S3 reads", S3_GET * calls.get("s3.GetObject", 0)),
        Part("Kinesis PUT units", PUT_UNIT * redriven),
        # Sent, received and deleted; 64 KB a request, ten messages a call at best.
        Part("SQS", SQS_REQUEST * (3 * notices + poison)),
        Part("SNS", SNS_REQUEST * notices),
        Part("Step Functions", TRANSITION * transitions),
        Part("Lambda", LAMBDA_REQUEST * invocations + LAMBDA_GB_SECOND * LAMBDA_GB * seconds),
        Part("CloudWatch Logs", LOG_GB * LOG_BYTES_AN_INVOCATION * invocations / 1e9),
    ]
