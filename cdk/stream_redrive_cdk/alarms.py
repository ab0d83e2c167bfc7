"""The alarms: what a person must look at, each with the section of the runbook that says how."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stream_redrive_cdk.functions import METRICS_NAMESPACE

_PERIOD = Duration.minutes(5)
_RUNBOOK = "docs/operations.md"


class Alarms(Construct):
    """The alarms of one StreamRedrive; with a topic they tell it when they go off and when they are over."""

    def __init__(self, scope: Construct, construct_id: str, *, topic: sns.ITopic | None) -> None:
        super().__init__(scope, construct_id)
        self._topic = topic

    def watch_outcomes(self, service_name: str) -> None:
        """Alarm on what the functions report about incidents."""
        for metric, text, section in (
            (
                "RecordsExpired",
                "records left the stream before they could be captured",
                "records-expired",
            ),
            ("IncidentsParked", "an incident could not be finished", "incident-parked"),
            (
                "RecordsNeedingAttention",
                "a consumer fails for want of a permission, a resource or a working deployment",
                "consumer-broken",
            ),
            ("PolicyInvalid", "the policy is invalid; the last good one is in force", "policy-invalid"),
        ):
            self.alarm(
                metric,
                cloudwatch.Metric(
                    namespace=METRICS_NAMESPACE,
                    metric_name=metric,
                    dimensions_map={"service": service_name},
                    statistic="Sum",
                    period=_PERIOD,
                ),
                text,
                section,
            )

    def watch_machine(self, machine: sfn.StateMachine) -> None:
        """Alarm on executions that end badly or cannot start."""
        for name, metric, text in (
            ("ExecutionsFailed", machine.metric_failed(period=_PERIOD), "a redrive execution failed"),
            ("ExecutionsTimedOut", machine.metric_timed_out(period=_PERIOD), "a redrive execution timed out"),
            ("ExecutionsAborted", machine.metric_aborted(period=_PERIOD), "somebody stopped a redrive execution"),
            (
                "ExecutionsThrottled",
                machine.metric_throttled(period=_PERIOD),
                "Step Functions throttles redrive executions",
            ),
        ):
            self.alarm(name, metric, text, "execution-failed")

    def watch_cases(self, machine: sfn.StateMachine, sweep: lambda_.IFunction, service_name: str) -> None:
        """Alarm on cases whose workflow ends badly, and on cases that nobody decides about."""
        for name, metric, text in (
            ("CasesFailed", machine.metric_failed(period=_PERIOD), "the workflow of a case failed"),
            ("CasesTimedOut", machine.metric_timed_out(period=_PERIOD), "the workflow of a case timed out"),
            ("CasesAborted", machine.metric_aborted(period=_PERIOD), "somebody stopped the workflow of a case"),
        ):
            self.alarm(name, metric, text, "case-failed")
        self.alarm(
            "SweepErrors",
            sweep.metric_errors(period=_PERIOD),
            "SweepCases could not look after some case; its workflow may miss a decision or a reminder",
            "case-sweep-errors",
        )
        self.alarm(
            "OldestCase",
            cloudwatch.Metric(
                namespace=METRICS_NAMESPACE,
                metric_name="OldestCaseSeconds",
                dimensions_map={"service": service_name},
                statistic="Maximum",
                period=_PERIOD,
            ),
            "a case has waited for a decision for more than 7 days; it expires when the policy says so",
            "oldest-case",
            threshold=Duration.days(7).to_seconds(),
        )

    def watch_start(self, function: lambda_.IFunction) -> None:
        """Alarm on errors of the function that starts redrives."""
        self.alarm(
            "StartRedriveErrors",
            function.metric_errors(period=_PERIOD),
            "StartRedrive fails; notices wait on the intake queue",
            "start-redrive-errors",
        )

    def watch_intake(self, queue: sqs.IQueue, dead_letter_queue: sqs.IQueue) -> None:
        """Alarm on notices that wait or were given up."""
        self.alarm(
            "IntakeBacklog",
            queue.metric_approximate_age_of_oldest_message(period=_PERIOD),
            "a failure notice waits for more than 25 minutes; the stream forgets its records",
            "intake-backlog",
            # A malformed notice takes three visibility timeouts, 18 minutes, to its dead-letter queue.
            threshold=Duration.minutes(25).to_seconds(),
        )
        self.alarm(
            "IntakeDeadLetters",
            dead_letter_queue.metric_approximate_number_of_messages_visible(period=_PERIOD),
            "failure notices were refused or could not be delivered",
            "intake-dlq",
        )

    def watch_poison(self, queue: sqs.IQueue) -> None:
        """Alarm on records that wait for a person, and again before their messages run out."""
        self.alarm(
            "PoisonMessages",
            queue.metric_approximate_number_of_messages_visible(period=_PERIOD),
            "records in quarantine wait for a decision",
            "poison-queue",
        )
        self.alarm(
            "PoisonMessageAge",
            queue.metric_approximate_age_of_oldest_message(period=_PERIOD),
            "a poison message is older than 10 days; SQS deletes it after 14 (the record stays in the vault)",
            "poison-queue",
            threshold=Duration.days(10).to_seconds(),
        )

    def watch_delivery(self, construct_id: str, consumer: lambda_.IFunction) -> None:
        """Alarm on notices that Lambda could not deliver to the topic: we never hear of their records."""
        self.alarm(
            construct_id,
            consumer.metric("DestinationDeliveryFailures", statistic="Sum", period=_PERIOD),
            "Lambda could not deliver a failure notice of a protected consumer: check sns:Publish on its role",
            "delivery-failures",
        )

    def alarm(
        self, construct_id: str, metric: cloudwatch.Metric, text: str, section: str, *, threshold: float = 1
    ) -> None:
        """Go off as soon as `metric` reaches `threshold` within one period; no data is good news."""
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            metric=metric,
            threshold=threshold,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=f"stream-redrive: {text}. Runbook: {_RUNBOOK}#{section}",
        )
        if self._topic is not None:
            alarm.add_alarm_action(actions.SnsAction(self._topic))
            alarm.add_ok_action(actions.SnsAction(self._topic))
