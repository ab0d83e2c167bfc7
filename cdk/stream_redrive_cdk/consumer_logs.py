"""The consumers' logs that the service may read."""

from aws_cdk import ArnFormat, Fn, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from stream_redrive_cdk.permissions import GrowingGrant


class ConsumerLogs:
    """Grants ClassifyRecords the consumers' logs, and to see how each consumer logs."""

    def __init__(self, classify_records: lambda_.Function) -> None:
        self._stack = Stack.of(classify_records)
        self._configuration = GrowingGrant(classify_records, ["lambda:GetFunctionConfiguration"])
        self._events = GrowingGrant(classify_records, ["logs:FilterLogEvents"])
        self._known: set[tuple[str, str | None]] = set()

    def add(self, consumer: lambda_.IFunction, log_group: logs.ILogGroup | None) -> None:
        """Grant `consumer`'s log: `log_group`, or the one that Lambda makes by default."""
        # A consumer of two streams comes twice, each time with new tokens.
        known = (consumer.function_arn, None if log_group is None else log_group.log_group_name)
        if known in self._known:
            return
        self._known.add(known)
        # By ARN: a qualifier is no part of the name, and `consumer.log_group` would add a custom resource.
        name = Fn.select(6, Fn.split(":", consumer.function_arn))
        function = self._arn("lambda", "function", name)
        group = log_group.log_group_name if log_group is not None else f"/aws/lambda/{name}"
        self._configuration.cover(function)
        self._configuration.cover(f"{function}:*")
        # Of the group's streams: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
        self._events.cover(f"{self._arn('logs', 'log-group', group)}:*")

    def _arn(self, service: str, resource: str, name: str) -> str:
        return self._stack.format_arn(
            service=service, resource=resource, resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
