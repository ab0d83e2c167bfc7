"""The construct that users put in their own stacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Duration, Names, RemovalPolicy, Token
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stream_redrive_cdk import storage
from stream_redrive_cdk.alarms import Alarms
from stream_redrive_cdk.api import CasesApi
from stream_redrive_cdk.cases import CaseWorkflow
from stream_redrive_cdk.consumer_logs import ConsumerLogs
from stream_redrive_cdk.functions import RedriveFunctions
from stream_redrive_cdk.intake import Intake
from stream_redrive_cdk.mapping import ConsumerMappings
from stream_redrive_cdk.permissions import GrowingGrant
from stream_redrive_cdk.streams import WatchedStreams
from stream_redrive_cdk.workflow import RedriveWorkflow, Resources

_UNQUALIFIED_PARTS = 7  # arn:aws:lambda:<region>:<account>:function:<name>


class StreamRedrive(Construct):
    """Heals the failed batches of the consumers it protects and keeps their poison records safe.

    ::

        redrive = StreamRedrive(self, "Redrive")
        redrive.protect(consumer=function, stream=stream)

    docs/construct.md describes every option.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        policy: Mapping[str, Any] | None = None,
        vault_bucket: s3.IBucket | None = None,
        encryption_key: kms.IKey | None = None,
        on_failure_topic: sns.ITopic | None = None,
        alarm_topic: sns.ITopic | None = None,
        approval_topic: sns.ITopic | None = None,
        case_sweep_interval: Duration | None = None,
        intake_window: Duration | None = None,
        intake_visibility: Duration | None = None,
        settle: Duration | None = None,
        service_name: str | None = None,
        capture_retention: Duration | None = None,
        quarantine_retention: Duration | None = None,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        powertools_layer: lambda_.ILayerVersion | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
        deletion_protection: bool | None = None,
    ) -> None:
        """Make the service; it protects nothing until `protect` or `watch` is called.

        policy: `{"default": {…}, "consumers": {"<function name or ARN>": {…}}}`; raises InvalidPolicyError.
        vault_bucket: your own bucket for captured records; its lifecycle and policy stay yours.
        encryption_key: encrypts vault, queues, topic and ledger, where they are not your own.
        on_failure_topic: your own topic, for failure notices that come from elsewhere as well.
        alarm_topic: is told when an alarm goes off and when it is over.
        approval_topic: your own topic of those who decide about poison records; subscribe them to it.
        case_sweep_interval: how often workflows of cases are looked after (default 1 minute).
        intake_window: how long notices are gathered before a redrive starts (1 to 300 s, default 20 s).
        intake_visibility: how long a notice is hidden from other readers (default 6 min; AWS wants at least
            the 60 s that StartRedrive may take).
        settle: how long a cut PutRecords may still land before a rerun counts what did (default 15 s).
        service_name: the dimension `service` of the metrics; unique a construct by default.
        capture_retention, quarantine_retention: default 90 and 365 days, in the vault made here.
        powertools_layer: needed outside the partition `aws`, whose public layer is the default.
        removal_policy: of vault, ledger, queues and log groups.
        deletion_protection: of the ledger; by default on where it is retained.
        """
        super().__init__(scope, construct_id)
        window = intake_window or Duration.seconds(20)
        if not 1 <= window.to_seconds() <= 300:
            raise ValueError(f"intake_window is {window.to_seconds()} s; an SQS mapping takes 1 to 300 s")
        if deletion_protection is None:
            deletion_protection = removal_policy == RemovalPolicy.RETAIN
        unique_name = Names.unique_resource_name(self, separator="-", max_length=64)
        self.service_name = service_name or unique_name

        self._intake = Intake(
            self,
            "Intake",
            topic=on_failure_topic,
            visibility=intake_visibility or Duration.minutes(6),
            encryption_key=encryption_key,
            removal_policy=removal_policy,
        )
        self._vault: s3.IBucket = vault_bucket or storage.create_vault(
            self,
            "Vault",
            encryption_key=encryption_key,
            removal_policy=removal_policy,
            capture_retention=capture_retention or Duration.days(90),
            quarantine_retention=quarantine_retention or Duration.days(365),
        )
        self._encryption_key = encryption_key
        self._ledger = storage.create_ledger(
            self,
            "Ledger",
            encryption_key=encryption_key,
            removal_policy=removal_policy,
            deletion_protection=deletion_protection,
        )
        self._poison_queue = storage.create_poison_queue(
            self, "PoisonQueue", encryption_key=encryption_key, removal_policy=removal_policy
        )
        self._policy_parameter = storage.create_policy_parameter(
            self, "Policy", name=f"/stream-redrive/{unique_name}/policy", policy=policy
        )
        functions = RedriveFunctions(
            self,
            "Functions",
            service_name=self.service_name,
            powertools_layer=powertools_layer,
            log_retention=log_retention,
            removal_policy=removal_policy,
        )
        resources = Resources(
            vault=self._vault,
            ledger=self._ledger,
            policy_parameter=self._policy_parameter,
            intake_queue=self._intake.queue,
            poison_queue=self._poison_queue,
            encryption_key=encryption_key,
        )
        self._cases = CaseWorkflow(
            self,
            "Cases",
            functions=functions,
            resources=resources,
            topic=approval_topic,
            settle=settle or Duration.seconds(15),
            sweep_interval=case_sweep_interval or Duration.minutes(1),
            log_retention=log_retention,
            removal_policy=removal_policy,
        )
        self._workflow = RedriveWorkflow(
            self,
            "Workflow",
            functions=functions,
            resources=resources,
            case_machine=self._cases.state_machine,
            settle=settle or Duration.seconds(15),
            log_retention=log_retention,
            removal_policy=removal_policy,
        )
        self._intake.feed(self._workflow.start_redrive, window=window)
        self._api = CasesApi(
            self,
            "Api",
            functions=functions,
            resources=resources,
            case_machine=self._cases.state_machine,
            topic=self._cases.topic,
            log_retention=log_retention,
            removal_policy=removal_policy,
        )

        alarms = Alarms(self, "Alarms", topic=alarm_topic)
        alarms.watch_outcomes(self.service_name)
        alarms.watch_machine(self._workflow.state_machine)
        alarms.watch_cases(self._cases.state_machine, self._cases.sweep_cases, self.service_name)
        alarms.watch_start(self._workflow.start_redrive)
        alarms.watch_intake(self._intake.queue, self._intake.dead_letter_queue)
        alarms.watch_poison(self._poison_queue)

        self._streams = WatchedStreams(
            capture_records=self._workflow.capture_records,
            redriving=[self._workflow.redrive_records, self._cases.redrive_chunk],
        )
        self._logs = ConsumerLogs(self._workflow.classify_records)
        self._probed = GrowingGrant(self._workflow.classify_records, ["lambda:InvokeFunction"])
        self._mappings = ConsumerMappings(self, "Consumers", topic=self._intake.topic, alarms=alarms)

    def protect(
        self,
        *,
        consumer: lambda_.IFunction,
        stream: kinesis.IStream,
        stream_key: kms.IKey | None = None,
        batch_size: int = 100,
        max_batching_window: Duration | None = None,
        retry_attempts: int = 3,
        max_record_age: Duration | None = None,
        parallelization_factor: int = 1,
        report_batch_item_failures: bool = True,
        filters: Sequence[Mapping[str, Any]] | None = None,
        starting_position: lambda_.StartingPosition = lambda_.StartingPosition.TRIM_HORIZON,
        read_log: bool = True,
        log_group: logs.ILogGroup | None = None,
    ) -> lambda_.EventSourceMapping:
        """Let Lambda feed `consumer` (a function, alias or version) from `stream`, and heal what fails.

        Adds an event source mapping that bisects failed batches, retries a finite number of times and reports
        what still fails to us; grants the consumer's role what that mapping needs. An imported consumer without
        a role gets a warning that says what to add to it.

        stream_key: the key of an encrypted stream, when `stream` itself does not know it.
        max_record_age: when Lambda gives up on a record (default 6 h; keep it well below the stream's retention,
            or records are gone before they can be captured).
        parallelization_factor, filters: with either, a failed range holds records that were not in the failed
            batch; what can't be told apart is held for a person.
        report_batch_item_failures: whether the consumer's reply names the records that failed.
        starting_position: TRIM_HORIZON (default: nothing is skipped) or LATEST.
        read_log, log_group: as `read_log` does; a policy's `log` decides whether the log is read.

        Returns the mapping. Raises ValueError when this consumer is already protected on this stream.
        """
        key = stream_key or stream.encryption_key
        mapping = self._mappings.add(
            consumer=consumer,
            stream=stream,
            stream_key=key,
            batch_size=batch_size,
            max_batching_window=max_batching_window,
            retry_attempts=retry_attempts,
            max_record_age=max_record_age or Duration.hours(6),
            parallelization_factor=parallelization_factor,
            report_batch_item_failures=report_batch_item_failures,
            filters=filters,
            starting_position=starting_position,
        )
        self.watch(stream, stream_key=key)
        if read_log:
            self.read_log(consumer, log_group=log_group)
        return mapping

    def watch(self, stream: kinesis.IStream, *, stream_key: kms.IKey | None = None) -> None:
        """Let the service read `stream` and write to it, for a mapping of your own that uses `on_failure`."""
        self._streams.add(stream, stream_key or stream.encryption_key)

    def read_log(self, consumer: lambda_.IFunction, *, log_group: logs.ILogGroup | None = None) -> None:
        """Let the service look into the log of `consumer` for why its records failed; `protect` does so by itself.

        log_group: where the consumer logs, when that is not `/aws/lambda/<function name>`.
        """
        self._logs.add(consumer, log_group)

    def accept_reports(self, consumer: lambda_.IFunction) -> None:
        """Let `consumer` report why its records failed, with `stream_redrive.reporting` in its code.

        Grants its role to write its own reports into the ledger, and sets the variable that switches them on. For
        an imported consumer, which can't be given a variable from here, the synthesis says which one to set.
        """
        self._mappings.let_report(consumer, self._ledger, self._encryption_key)

    def allow_probe(self, consumer: lambda_.IFunction) -> None:
        """Let the service invoke `consumer` to find out which of its failed records fail, where the policy says so.

        Name it as it is protected: an alias or a version is granted alone, a function with all that it has of them.
        """
        qualified = isinstance(consumer, lambda_.Alias | lambda_.Version) or _is_qualified(consumer.function_arn)
        self._probed.cover(consumer.function_arn)
        if not qualified:
            self._probed.cover(f"{consumer.function_arn}:*")

    def grant_viewer(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` see the cases and their records, masked."""
        self._api.grant_look(grantee)

    def grant_operator(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` see all of a case, payloads too, plan, write notes, and decide if the policy lists it.

        With an empty `approval.approvers` every operator decides.
        """
        self._api.grant_look(grantee)
        self._api.grant_act(grantee)

    @property
    def api_url(self) -> str:
        """Where people's requests about cases go; they are signed for `execute-api`."""
        return self._api.url

    @property
    def on_failure(self) -> lambda_.IEventSourceDlq:
        """The OnFailure destination for a mapping of your own; its stream also needs `watch`."""
        return event_sources.SnsDlq(self._intake.topic)

    @property
    def on_failure_topic(self) -> sns.ITopic:
        """The topic that takes failure notices."""
        return self._intake.topic

    @property
    def intake_queue(self) -> sqs.IQueue:
        """The queue between the topic and StartRedrive."""
        return self._intake.queue

    @property
    def poison_queue(self) -> sqs.IQueue:
        """The queue of what needs a person: poison, held and expired records, parked incidents."""
        return self._poison_queue

    @property
    def vault(self) -> s3.IBucket:
        """The bucket of captured and quarantined records."""
        return self._vault

    @property
    def ledger(self) -> dynamodb.ITable:
        """The table of claims, lineage and intents."""
        return self._ledger

    @property
    def state_machine(self) -> sfn.IStateMachine:
        """The redrive state machine: one execution an incident."""
        return self._workflow.state_machine

    @property
    def case_state_machine(self) -> sfn.IStateMachine:
        """The case state machine: one execution a case."""
        return self._cases.state_machine

    @property
    def approval_topic(self) -> sns.ITopic:
        """The topic of those who decide about poison records; nobody is subscribed to one that is made here."""
        return self._cases.topic

    @property
    def policy_parameter(self) -> ssm.IStringParameter:
        """The parameter that holds the redrive policy."""
        return self._policy_parameter


def _is_qualified(function_arn: str) -> bool:
    return not Token.is_unresolved(function_arn) and len(function_arn.split(":")) > _UNQUALIFIED_PARTS
