"""One factory for the Lambda functions, so that what they share is said once."""

import re
from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stream_redrive_cdk.assets import FUNCTIONS
from stream_redrive_cdk.permissions import allow

METRICS_NAMESPACE = "StreamRedrive"

# Account, name and version of the public layer, the same in every region of the partition "aws".
# https://docs.aws.amazon.com/powertools/python/latest/getting-started/install/
_POWERTOOLS = "017000801446:layer:AWSLambdaPowertoolsPythonV3-python313-arm64:27"


class RedriveFunctions(Construct):
    """Makes the functions of one StreamRedrive; each has a role and a log group of its own."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        service_name: str,
        powertools_layer: lambda_.ILayerVersion | None,
        log_retention: logs.RetentionDays,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self._service_name = service_name
        self._log_retention = log_retention
        self._removal_policy = removal_policy
        self._code = lambda_.Code.from_asset(str(FUNCTIONS), exclude=["**/__pycache__", "**/*.pyc"])
        self._layer = powertools_layer or lambda_.LayerVersion.from_layer_version_arn(
            self, "Powertools", f"arn:aws:lambda:{Stack.of(self).region}:{_POWERTOOLS}"
        )

    def create(
        self,
        name: str,
        description: str,
        *,
        environment: Mapping[str, str],
        permissions: Sequence[iam.PolicyStatement],
        timeout: Duration,
        memory_mib: int = 512,
    ) -> lambda_.Function:
        """Make the function of the state `name` ("CaptureRecords"), whose handler is the file capture_records.py."""
        log_group = logs.LogGroup(
            self, f"{name}Logs", retention=self._log_retention, removal_policy=self._removal_policy
        )
        role = iam.Role(
            self,
            f"{name}Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"stream-redrive: what {name} may do",
        )
        role.add_to_policy(allow(["logs:CreateLogStream", "logs:PutLogEvents"], log_group.log_group_arn))
        for statement in permissions:
            role.add_to_policy(statement)
        return lambda_.Function(
            self,
            name,
            description=f"stream-redrive: {description}",
            code=self._code,
            handler=f"stream_redrive.handlers.{_snake_case(name)}.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            layers=[self._layer],
            role=role,
            log_group=log_group,
            timeout=timeout,
            memory_size=memory_mib,
            environment={
                "POWERTOOLS_SERVICE_NAME": self._service_name,
                "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
                "POWERTOOLS_LOG_LEVEL": "INFO",
                **environment,
            },
        )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
