"""A deployed service as the commands reach it: clients, and the names that the stack's outputs give."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ProfileNotFound

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive_cli.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})


class Deployed:
    """One deployment: an AWS account and region, and the stack in it."""

    def __init__(self, profile: str | None, region: str | None, stack: str) -> None:
        """Raises ConfigurationError when there is no such profile."""
        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except ProfileNotFound as exc:
            raise ConfigurationError(str(exc)) from exc
        self._stack = stack

    @property
    def session(self) -> boto3.Session:
        """Whose calls these are, and where they go."""
        return self._session

    def output(self, name: str) -> str:
        """An output of the stack. Raises ConfigurationError when the stack or the output is missing."""
        if name not in self._outputs:
            raise ConfigurationError(f"stack {self._stack!r} has no output {name}: is it a stack of stream-redrive?")
        return self._outputs[name]

    @cached_property
    def _outputs(self) -> dict[str, str]:
        client: CloudFormationClient = self._session.client("cloudformation", config=_CONFIG)
        with faults_of("cloudformation:DescribeStacks"):
            try:
                [stack] = client.describe_stacks(StackName=self._stack)["Stacks"]
            except ClientError as exc:
                if error_code(exc) == "ValidationError":
                    where = f"in {self._session.region_name}"
                    raise ConfigurationError(
                        f"there is no stack {self._stack!r} {where}: name it with --stack"
                    ) from exc
                raise
        return {entry["OutputKey"]: entry["OutputValue"] for entry in stack.get("Outputs", [])}

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return self._session.client("dynamodb", config=_CONFIG)

    @cached_property
    def s3(self) -> S3Client:
        return self._session.client("s3", config=_CONFIG)

    @cached_property
    def ssm(self) -> SSMClient:
        return self._session.client("ssm", config=_CONFIG)
