"""The case state machine, the functions that it calls, the topic of those who decide, and the sweep."""

from aws_cdk import ArnFormat, Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stream_redrive_cdk import permissions as may
from stream_redrive_cdk.assets import CASE_DEFINITION, definition
from stream_redrive_cdk.functions import RedriveFunctions
from stream_redrive_cdk.workflow import Resources

_LONG = Duration.minutes(15)
_SHORT = Duration.minutes(1)
# A task's own timeout comes first; the sweep wakes what is still waiting after this.
_REMINDER_GRACE = Duration.minutes(2)


class CaseWorkflow(Construct):
    """One execution a case: it tells those who decide, waits, carries their decision out and closes the case."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: RedriveFunctions,
        resources: Resources,
        topic: sns.ITopic | None,
        settle: Duration,
        sweep_interval: Duration,
        log_retention: logs.RetentionDays,
        removal_policy: RemovalPolicy,
    ) -> None:
        """topic: of those who decide; one is made when there is none."""
        super().__init__(scope, construct_id)
        self._functions = functions
        self._resources = resources
        self.topic: sns.ITopic = topic or sns.Topic(
            self, "ApprovalTopic", enforce_ssl=True, master_key=resources.encryption_key
        )
        self.notify_approvers = self._notify_approvers()
        self.redrive_chunk = self._redrive_chunk(settle)
        self.state_machine = self._state_machine(
            [
                self._take_over_records(),
                self.notify_approvers,
                self._review_case(),
                self.redrive_chunk,
                self._confirm_case(),
                self._settle_case(),
            ],
            log_retention,
            removal_policy,
        )
        self._executions = Stack.of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self.state_machine.state_machine_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self._let_answer(self.notify_approvers)
        self._let_run_maps()
        self.sweep_cases = self._sweep_cases()
        events.Rule(
            self,
            "SweepSchedule",
            description="stream-redrive: looks after the workflows of cases",
            schedule=events.Schedule.rate(sweep_interval),
            targets=[targets.LambdaFunction(self.sweep_cases, retry_attempts=0)],
        )

    def _take_over_records(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "TakeOverRecords",
            "gives a case the records that the one before it left over",
            environment=self._environment(),
            permissions=[
                may.read_objects(have.vault, "cases/"),
                may.use_ledger(have.ledger, "GetItem", "Query", "PutItem"),
                *may.decrypt(have.vault_key, have.encryption_key),
            ],
            timeout=_LONG,
        )

    def _notify_approvers(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "NotifyApprovers",
            "tells those who decide about a case",
            environment=self._environment(
                POLICY_PARAMETER=have.policy_parameter.parameter_name, APPROVAL_TOPIC_ARN=self.topic.topic_arn
            ),
            permissions=[
                may.read_objects(have.vault, "quarantine/"),
                may.use_ledger(have.ledger, "GetItem", "Query", "PutItem", "DeleteItem"),
                may.read_policy(have.policy_parameter),
                may.allow(["sns:Publish"], self.topic.topic_arn),
                *may.decrypt(have.vault_key),
                *may.encrypt(have.encryption_key),
            ],
            timeout=_SHORT,
        )

    def _review_case(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "ReviewCase",
            "looks at a case whose approvers have been silent",
            environment=self._environment(POLICY_PARAMETER=have.policy_parameter.parameter_name),
            permissions=[
                may.use_ledger(have.ledger, "GetItem", "PutItem", "DeleteItem"),
                may.read_policy(have.policy_parameter),
                *may.decrypt(have.encryption_key),
            ],
            timeout=_SHORT,
        )

    def _redrive_chunk(self, settle: Duration) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "RedriveChunk",
            "sends records that a person decided about",
            environment=self._environment(REDRIVE_SETTLE_SECONDS=str(settle.to_seconds())),
            permissions=[
                may.read_objects(have.vault, "quarantine/", "cases/"),
                may.use_ledger(
                    have.ledger, "GetItem", "Query", "PutItem", "DeleteItem", "BatchGetItem", "BatchWriteItem"
                ),
                *may.decrypt(have.vault_key, have.encryption_key),
            ],
            timeout=_LONG,
            memory_mib=1024,
        )

    def _confirm_case(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "ConfirmCase",
            "finds out which redriven records of a case failed again",
            environment=self._environment(POLICY_PARAMETER=have.policy_parameter.parameter_name),
            permissions=[
                may.read_objects(have.vault, "quarantine/", "cases/"),
                may.use_ledger(have.ledger, "GetItem", "Query", "BatchGetItem", "PutItem"),
                may.read_policy(have.policy_parameter),
                *may.decrypt(have.vault_key, have.encryption_key),
            ],
            timeout=_LONG,
        )

    def _settle_case(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "SettleCase",
            "marks a case's records, takes their messages off the poison queue and closes the case",
            environment=self._environment(POISON_QUEUE_URL=have.poison_queue.queue_url),
            permissions=[
                may.read_objects(have.vault, "quarantine/", "cases/"),
                may.use_ledger(
                    have.ledger, "GetItem", "Query", "UpdateItem", "BatchWriteItem", "PutItem", "DeleteItem"
                ),
                may.search(have.poison_queue),
                *may.decrypt(have.vault_key, have.encryption_key),
            ],
            timeout=_LONG,
            memory_mib=1024,
        )

    def _sweep_cases(self) -> lambda_.Function:
        have, machine = self._resources, self.state_machine.state_machine_arn
        return self._functions.create(
            "SweepCases",
            "tells workflows and approvers of cases what they have missed, and starts workflows that are not there",
            environment=self._environment(
                CASE_STATE_MACHINE_ARN=machine,
                REMINDER_GRACE_SECONDS=str(_REMINDER_GRACE.to_seconds()),
                APPROVAL_TOPIC_ARN=self.topic.topic_arn,
            ),
            permissions=[
                may.use_ledger(have.ledger, "GetItem", "Query", "BatchGetItem", "PutItem", "DeleteItem"),
                may.allow(["states:StartExecution", "states:ListExecutions"], machine),
                may.allow(["states:DescribeExecution"], self._executions),
                may.allow(["states:SendTaskSuccess", "states:SendTaskFailure"], machine),
                may.allow(["sns:Publish"], self.topic.topic_arn),
                *may.encrypt(have.encryption_key),
            ],
            timeout=Duration.minutes(5),
        )

    def _environment(self, **own: str) -> dict[str, str]:
        have = self._resources
        return {"VAULT_BUCKET": have.vault.bucket_name, "LEDGER_TABLE": have.ledger.table_name, **own}

    def _state_machine(
        self,
        called: list[lambda_.Function],
        log_retention: logs.RetentionDays,
        removal_policy: RemovalPolicy,
    ) -> sfn.StateMachine:
        have = self._resources
        log_group = logs.LogGroup(self, "CaseLogs", retention=log_retention, removal_policy=removal_policy)
        role = iam.Role(
            self,
            "CaseRole",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
            description="stream-redrive: what the case state machine may do",
        )
        role.add_to_policy(may.allow(["lambda:InvokeFunction"], *(function.function_arn for function in called)))
        role.add_to_policy(may.read_objects(have.vault, "cases/"))
        for statement in may.decrypt(have.vault_key):
            role.add_to_policy(statement)
        return sfn.StateMachine(
            self,
            "Case",
            definition_body=sfn.DefinitionBody.from_string(definition(CASE_DEFINITION)),
            definition_substitutions={
                "InvokeAndWaitArn": f"arn:{Aws.PARTITION}:states:::lambda:invoke.waitForTaskToken",
                "GetObjectArn": f"arn:{Aws.PARTITION}:states:::s3:getObject",
                **{f"{function.node.id}Arn": function.function_arn for function in called},
            },
            role=role,
            tracing_enabled=True,
            # Without execution data: a state's input holds the task token.
            logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=False),
        )

    # A policy of its own where a role needs the machine that needs the role: the machine doesn't wait for it.

    def _let_answer(self, function: lambda_.Function) -> None:
        assert function.role is not None  # every function of ours has one
        answer = may.allow(["states:SendTaskSuccess"], self.state_machine.state_machine_arn)
        iam.Policy(self, "AnswerTasks", roles=[function.role], statements=[answer])

    def _let_run_maps(self) -> None:
        map_runs = Stack.of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self.state_machine.state_machine_name}/*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        iam.Policy(
            self,
            "RunMaps",
            roles=[self.state_machine.role],
            statements=[
                may.allow(["states:StartExecution"], self.state_machine.state_machine_arn),
                may.allow(["states:DescribeExecution", "states:StopExecution"], map_runs),
            ],
        )
