"""The users' side of the lab: a stream, a consumer and its sink table a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stream_redrive_cdk import Protection
from stream_redrive_cli.lab.directory import ACCOUNT, REGION
from stream_redrive_cli.lab.people import PEOPLE
from stream_redrive_cli.lab.scenarios import SCENARIOS, Scenario

CONSUMERS = Path(__file__).parent / "consumers"


class DemoStack(Stack):
    """Names are fixed, so that the service's stack takes consumers and streams by ARN, as users' would be."""

    def __init__(self, scope: Construct, construct_id: str, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, **kwargs)
        code = lambda_.Code.from_asset(str(CONSUMERS), exclude=["__pycache__", "*.pyc"])
        for scenario in SCENARIOS.values():
            self._add(scenario, code)
        for name in PEOPLE:
            iam.User(self, name, user_name=name)

    def _add(self, scenario: Scenario, code: lambda_.Code) -> None:
        place = Construct(self, scenario.name)
        kinesis.Stream(
            place,
            "Stream",
            stream_name=scenario.stream_name,
            shard_count=scenario.shards,
            removal_policy=RemovalPolicy.DESTROY,
        )
        sink = dynamodb.Table(
            place,
            "Sink",
            table_name=scenario.sink_table,
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            place,
            "Role",
            role_name=scenario.function_name,
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AWSLambdaBasicExecutionRole")
            ],
        )
        lambda_.Function(
            place,
            "Consumer",
            function_name=scenario.function_name,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"{scenario.consumer}.handler",
            code=code,
            role=role,
            timeout=Duration.seconds(30),
            memory_size=256,
            environment={"TABLE_NAME": scenario.sink_table},
        )
        sink.grant(role, "dynamodb:PutItem", "dynamodb:BatchWriteItem")


def protection(scenario: Scenario) -> Protection:
    """The scenario's consumer and stream as the service's stack takes them."""
    return Protection(
        consumer_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{scenario.function_name}",
        consumer_role_arn=f"arn:aws:iam::{ACCOUNT}:role/{scenario.function_name}",
        stream_arn=f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{scenario.stream_name}",
        batch_size=scenario.batch_size,
        retry_attempts=scenario.retry_attempts,
        starting_position="TRIM_HORIZON",
        accept_reports=scenario.reports,
        filters=scenario.filters,
        parallelization_factor=scenario.parallelization_factor,
        allow_probe=scenario.probe,
    )
