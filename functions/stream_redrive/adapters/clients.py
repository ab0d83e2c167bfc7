"""boto3 clients, one for each service and Lambda sandbox."""

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

_REPEATING = Config(
    connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 6}, tcp_keepalive=True
)
# A PutRecords that timed out may have landed: a blind repetition would redrive its records twice.
_ONCE = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 1})

# A consumer's invocation that timed out may still run, and a repetition would run it twice.
_INVOKING = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 1},
    tcp_keepalive=True,
)
# What only adds to the evidence is not worth a long wait.
_BRIEFLY = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})


@cache
def dynamodb() -> "DynamoDBClient":
    """The ledger's client."""
    return boto3.client("dynamodb", config=_REPEATING)


@cache
def kinesis() -> "KinesisClient":
    """The client that reads streams."""
    return boto3.client("kinesis", config=_REPEATING)


@cache
def kinesis_once() -> "KinesisClient":
    """The client that writes into streams; it never repeats a call by itself."""
    return boto3.client("kinesis", config=_ONCE)


@cache
def lambda_() -> "LambdaClient":
    """The client that looks at consumers' settings."""
    return boto3.client("lambda", config=_BRIEFLY)


@cache
def lambda_once() -> "LambdaClient":
    """The client that invokes consumers; it never repeats a call by itself."""
    return boto3.client("lambda", config=_INVOKING)


@cache
def logs() -> "CloudWatchLogsClient":
    """The client that reads the consumer's log."""
    return boto3.client("logs", config=_BRIEFLY)


@cache
def s3() -> "S3Client":
    """The vault's client."""
    return boto3.client("s3", config=_REPEATING)


@cache
def sns() -> "SNSClient":
    """The approvers' topic's client."""
    return boto3.client("sns", config=_REPEATING)


@cache
def sqs() -> "SQSClient":
    """The poison queue's client."""
    return boto3.client("sqs", config=_REPEATING)


@cache
def ssm() -> "SSMClient":
    """The policy's client."""
    return boto3.client("ssm", config=_REPEATING)


@cache
def stepfunctions() -> "SFNClient":
    """The state machines' client."""
    return boto3.client("stepfunctions", config=_REPEATING)
