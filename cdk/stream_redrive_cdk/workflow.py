"""The redrive state machine, its functions and the one that starts it, with the permissions of each."""

from dataclasses import dataclass

from aws_cdk import ArnFormat, Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stream_redrive_cdk import permissions as may
from stream_redrive_cdk.assets import REDRIVE_DEFINITION, definition
from stream_redrive_cdk.functions import RedriveFunctions

_LONG = Duration.minutes(15)
_SHORT = Duration.minutes(1)


@dataclass(frozen=True)
class Resources:
    """What the functions work on, with the keys that encrypt it."""

    vault: s3.IBucket
    ledger: dynamodb.ITable
    policy_parameter: ssm.IStringParameter
    intake_queue: sqs.IQueue
    poison_queue: sqs.IQueue
    encryption_key: kms.IKey | None

    @property
    def vault_key(self) -> kms.IKey | None:
        return self.vault.encryption_key


class RedriveWorkflow(Construct):
    """The redrive state machine, the function that starts it, and those that it calls."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: RedriveFunctions,
        resources: Resources,
        case_machine: sfn.IStateMachine,
        settle: Duration,
        log_retention: logs.RetentionDays,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self._functions = functions
        self._resources = resources
        self.capture_records = self._capture_records()
        self.classify_records = self._classify_records()
        self.redrive_records = self._redrive_records(settle)
        self.state_machine = self._state_machine(
            [
                self.capture_records,
                self.classify_records,
                self._quarantine_records(),
                self._open_cases(case_machine),
                self.redrive_records,
                self._close_incident(),
                self._park_incident(),
            ],
            log_retention,
            removal_policy,
        )
        self.start_redrive = self._start_redrive()

    def _capture_records(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "CaptureRecords",
            "copies the failed records from the stream into the vault",
            environment={"VAULT_BUCKET": have.vault.bucket_name, "LEDGER_TABLE": have.ledger.table_name},
            permissions=[
                may.write_objects(have.vault, "captured/", "incidents/"),
                # The records of a case's redrive that is under way look like what is captured.
                may.read_objects(have.vault, "captured/", "incidents/", "quarantine/", "cases/"),
                may.list_objects(have.vault, "captured/"),
                may.use_ledger(have.ledger, "PutItem", "GetItem", "BatchGetItem", "Query"),
                *may.encrypt(have.vault_key),
                *may.decrypt(have.encryption_key),
            ],
            timeout=_LONG,
            memory_mib=1024,
        )

    def _classify_records(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "ClassifyRecords",
            "gives each captured record a verdict",
            environment={
                "VAULT_BUCKET": have.vault.bucket_name,
                "LEDGER_TABLE": have.ledger.table_name,
                "POLICY_PARAMETER": have.policy_parameter.parameter_name,
            },
            permissions=[
                may.read_objects(have.vault, "captured/", "incidents/"),
                may.write_objects(have.vault, "incidents/"),
                may.read_policy(have.policy_parameter),
                may.use_ledger(have.ledger, "Query", "PutItem"),
                may.list_mappings(),
                *may.encrypt(have.vault_key),
                *may.decrypt(have.encryption_key),
            ],
            timeout=_LONG,
            memory_mib=1024,
        )

    def _quarantine_records(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "QuarantineRecords",
            "puts poison and held records into quarantine",
            environment={
                "VAULT_BUCKET": have.vault.bucket_name,
                "LEDGER_TABLE": have.ledger.table_name,
                "POISON_QUEUE_URL": have.poison_queue.queue_url,
                "POLICY_PARAMETER": have.policy_parameter.parameter_name,
            },
            permissions=[
                may.read_objects(have.vault, "captured/", "incidents/", "quarantine/"),
                may.write_objects(have.vault, "quarantine/", "incidents/"),
                may.send_messages(have.poison_queue),
                may.use_ledger(
                    have.ledger, "Query", "GetItem", "BatchGetItem", "BatchWriteItem", "PutItem", "UpdateItem"
                ),
                may.read_policy(have.policy_parameter),
                *may.encrypt(have.vault_key, have.encryption_key),
            ],
            timeout=_LONG,
        )

    def _open_cases(self, case_machine: sfn.IStateMachine) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "OpenCases",
            "starts the workflow of each case that records have opened",
            environment={
                "LEDGER_TABLE": have.ledger.table_name,
                "CASE_STATE_MACHINE_ARN": case_machine.state_machine_arn,
            },
            permissions=[
                may.use_ledger(have.ledger, "Query", "GetItem", "DeleteItem"),
                may.allow(["states:StartExecution"], case_machine.state_machine_arn),
                *may.decrypt(have.encryption_key),
            ],
            timeout=_LONG,
        )

    def _redrive_records(self, settle: Duration) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "RedriveRecords",
            "sends the transient records to their target again",
            environment={
                "VAULT_BUCKET": have.vault.bucket_name,
                "LEDGER_TABLE": have.ledger.table_name,
                "REDRIVE_SETTLE_SECONDS": str(settle.to_seconds()),
            },
            permissions=[
                may.read_objects(have.vault, "captured/", "incidents/"),
                may.use_ledger(have.ledger, "GetItem", "PutItem", "DeleteItem", "BatchGetItem", "BatchWriteItem"),
                *may.decrypt(have.vault_key, have.encryption_key),
            ],
            timeout=_LONG,
            memory_mib=1024,
        )

    def _close_incident(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "CloseIncident",
            "accounts for every record of the incident",
            environment={"VAULT_BUCKET": have.vault.bucket_name},
            permissions=[may.read_objects(have.vault, "incidents/"), *may.decrypt(have.vault_key)],
            timeout=_SHORT,
        )

    def _park_incident(self) -> lambda_.Function:
        have = self._resources
        return self._functions.create(
            "ParkIncident",
            "hands an incident that could not be finished to a person",
            environment={
                "VAULT_BUCKET": have.vault.bucket_name,
                "POISON_QUEUE_URL": have.poison_queue.queue_url,
            },
            permissions=[may.send_messages(have.poison_queue), *may.encrypt(have.encryption_key)],
            timeout=_SHORT,
        )

    def _start_redrive(self) -> lambda_.Function:
        have = self._resources
        executions = Stack.of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self.state_machine.state_machine_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return self._functions.create(
            "StartRedrive",
            "groups failure notices and starts a redrive a group",
            environment={
                "REDRIVE_STATE_MACHINE_ARN": self.state_machine.state_machine_arn,
                "VAULT_BUCKET": have.vault.bucket_name,
            },
            permissions=[
                may.allow(["states:StartExecution"], self.state_machine.state_machine_arn),
                may.allow(["states:DescribeExecution"], executions),
                may.write_objects(have.vault, "incidents/"),
                may.poll(have.intake_queue),
                *may.encrypt(have.vault_key),
                *may.decrypt(have.encryption_key),
            ],
            timeout=_SHORT,
        )

    def _state_machine(
        self,
        called: list[lambda_.Function],
        log_retention: logs.RetentionDays,
        removal_policy: RemovalPolicy,
    ) -> sfn.StateMachine:
        log_group = logs.LogGroup(self, "RedriveLogs", retention=log_retention, removal_policy=removal_policy)
        role = iam.Role(
            self,
            "RedriveRole",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
            description="stream-redrive: what the redrive state machine may do",
        )
        role.add_to_policy(may.allow(["lambda:InvokeFunction"], *(function.function_arn for function in called)))
        # The construct adds X-Ray and log delivery to the role: AWS has no resource-level permission for those.
        return sfn.StateMachine(
            self,
            "Redrive",
            definition_body=sfn.DefinitionBody.from_string(definition(REDRIVE_DEFINITION)),
            definition_substitutions={f"{function.node.id}Arn": function.function_arn for function in called},
            role=role,
            tracing_enabled=True,
            # Without execution data: states' inputs hold references, but an error text may quote a record.
            logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=False),
        )
