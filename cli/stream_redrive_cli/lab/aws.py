"""boto3 clients of the lab."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from stream_redrive_cli.lab.directory import REGION, LabState

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient, DynamoDBServiceResource
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient


class LabClients:
    """Clients that talk to one lab as its root user, whatever the caller's own environment says."""

    def __init__(self, state: LabState) -> None:
        self._session = boto3.Session(
            aws_access_key_id=state.access_key, aws_secret_access_key=state.secret_key, region_name=REGION
        )
        self._settings: dict[str, Any] = {
            "endpoint_url": state.endpoint,
            "verify": state.ca_bundle,
            "config": Config(retries={"mode": "standard", "total_max_attempts": 5}, max_pool_connections=20),
        }

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        return self._session.client("cloudformation", **self._settings)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return self._session.client("dynamodb", **self._settings)

    @cached_property
    def tables(self) -> DynamoDBServiceResource:
        return self._session.resource("dynamodb", **self._settings)

    @cached_property
    def iam(self) -> IAMClient:
        return self._session.client("iam", **self._settings)

    @cached_property
    def kinesis(self) -> KinesisClient:
        return self._session.client("kinesis", **self._settings)

    @cached_property
    def lambda_(self) -> LambdaClient:
        return self._session.client("lambda", **self._settings)

    @cached_property
    def s3(self) -> S3Client:
        return self._session.client("s3", **self._settings)

    @cached_property
    def sns(self) -> SNSClient:
        return self._session.client("sns", **self._settings)

    @cached_property
    def sqs(self) -> SQSClient:
        return self._session.client("sqs", **self._settings)

    @cached_property
    def stepfunctions(self) -> SFNClient:
        return self._session.client("stepfunctions", **self._settings)
