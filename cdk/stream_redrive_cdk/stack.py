"""The thin stack that app.py deploys: the service, in front of consumers and streams that exist already."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Annotations, CfnOutput, Duration, Environment, Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct

from stream_redrive_cdk.construct import StreamRedrive
from stream_redrive_cdk.protection import Protection


class StreamRedriveStack(Stack):
    """A StreamRedrive with the stack outputs that the command line reads."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        protect: Sequence[Protection] = (),
        alarm_topic_arn: str | None = None,
        env: Environment | None = None,
        **options: Any,
    ) -> None:
        """Deploy the service for the pairs in `protect`; `options` are those of StreamRedrive.

        alarm_topic_arn: of a topic that is told about alarms.
        """
        super().__init__(
            scope, construct_id, env=env, description="Self-healing redrive for failed Lambda stream batches"
        )
        if alarm_topic_arn is not None:
            options["alarm_topic"] = sns.Topic.from_topic_arn(self, "AlarmTopic", alarm_topic_arn)
        self.redrive = StreamRedrive(self, "StreamRedrive", **options)
        self._streams: dict[str, kinesis.IStream] = {}
        self._consumers: dict[str, lambda_.IFunction] = {}
        self._log_groups: dict[str, logs.ILogGroup] = {}
        for protection in protect:
            self._protect(protection)
        if not protect:
            Annotations.of(self).add_info(
                "No consumer is protected yet. Pass a stream and its consumer: "
                "-c stream_arn=arn:aws:kinesis:… -c consumer_arn=arn:aws:lambda:…"
            )
        for name, value in (
            ("OnFailureTopicArn", self.redrive.on_failure_topic.topic_arn),
            ("IntakeQueueUrl", self.redrive.intake_queue.queue_url),
            ("RedriveStateMachineArn", self.redrive.state_machine.state_machine_arn),
            ("CaseStateMachineArn", self.redrive.case_state_machine.state_machine_arn),
            ("ApprovalTopicArn", self.redrive.approval_topic.topic_arn),
            ("VaultBucketName", self.redrive.vault.bucket_name),
            ("PoisonQueueUrl", self.redrive.poison_queue.queue_url),
            ("LedgerTableName", self.redrive.ledger.table_name),
            ("ApiUrl", self.redrive.api_url),
            ("PolicyParameterName", self.redrive.policy_parameter.parameter_name),
        ):
            CfnOutput(self, name, value=value)

    def _protect(self, protection: Protection) -> None:
        self.redrive.protect(
            consumer=self._consumer(protection),
            stream=self._stream(protection),
            batch_size=protection.batch_size,
            max_batching_window=Duration.seconds(protection.max_batching_window_seconds),
            retry_attempts=protection.retry_attempts,
            max_record_age=Duration.seconds(protection.max_record_age_seconds),
            parallelization_factor=protection.parallelization_factor,
            report_batch_item_failures=protection.report_batch_item_failures,
            filters=[lambda_.FilterCriteria.filter(pattern) for pattern in protection.filters] or None,
            starting_position=lambda_.StartingPosition[protection.starting_position],
            read_log=protection.read_log,
            log_group=self._log_group(protection),
        )
        if protection.accept_reports:
            self.redrive.accept_reports(self._consumer(protection))
        if protection.allow_probe:
            self.redrive.allow_probe(self._consumer(protection))

    def _stream(self, protection: Protection) -> kinesis.IStream:
        arn = protection.stream_arn
        if arn not in self._streams:
            label = _label("Stream", arn, len(self._streams))
            key_arn = protection.stream_key_arn
            key = kms.Key.from_key_arn(self, f"{label}Key", key_arn) if key_arn else None
            self._streams[arn] = kinesis.Stream.from_stream_attributes(self, label, stream_arn=arn, encryption_key=key)
        return self._streams[arn]

    def _consumer(self, protection: Protection) -> lambda_.IFunction:
        arn = protection.consumer_arn
        if arn not in self._consumers:
            label = _label("Consumer", arn, len(self._consumers))
            role_arn = protection.consumer_role_arn
            role = iam.Role.from_role_arn(self, f"{label}Role", role_arn) if role_arn else None
            self._consumers[arn] = lambda_.Function.from_function_attributes(self, label, function_arn=arn, role=role)
        return self._consumers[arn]

    def _log_group(self, protection: Protection) -> logs.ILogGroup | None:
        name = protection.log_group_name
        if name is not None and name not in self._log_groups:
            label = f"LogGroup{len(self._log_groups)}"
            self._log_groups[name] = logs.LogGroup.from_log_group_name(self, label, name)
        return None if name is None else self._log_groups[name]


def _label(kind: str, arn: str, position: int) -> str:
    # By ARN and not by position, so that a pair more or less does not replace the mappings of the others.
    if Token.is_unresolved(arn):
        return f"{kind}{position}"
    return f"{kind}-{arn.replace('/', ':').split(':', 6)[-1]}"
