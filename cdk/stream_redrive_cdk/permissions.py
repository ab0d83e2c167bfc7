"""The permissions of the functions, by hand: each statement names the calls that are made and nothing else."""

from collections.abc import Sequence

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm


def allow(actions: Sequence[str], *resources: str) -> iam.PolicyStatement:
    """Allow `actions` on exactly `resources`."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resources))


class GrowingGrant:
    """One statement that covers more resources over time: a statement a resource would fill the policy."""

    def __init__(self, function: lambda_.IFunction, actions: Sequence[str]) -> None:
        self._function = function
        self._statement = iam.PolicyStatement(actions=list(actions))

    def cover(self, arn: str) -> None:
        """Cover one resource more."""
        first = not self._statement.has_resource
        self._statement.add_resources(arn)
        if first:
            self._function.add_to_role_policy(self._statement)


def read_objects(vault: s3.IBucket, *prefixes: str) -> iam.PolicyStatement:
    """Allow reading the vault's objects below each of `prefixes` (`captured/`)."""
    return allow(["s3:GetObject"], *(vault.arn_for_objects(f"{prefix}*") for prefix in prefixes))


def write_objects(vault: s3.IBucket, *prefixes: str) -> iam.PolicyStatement:
    """Allow writing objects below each of `prefixes`."""
    return allow(["s3:PutObject"], *(vault.arn_for_objects(f"{prefix}*") for prefix in prefixes))


def list_objects(vault: s3.IBucket, prefix: str) -> iam.PolicyStatement:
    """Allow listing the vault below `prefix` only."""
    return iam.PolicyStatement(
        actions=["s3:ListBucket"],
        resources=[vault.bucket_arn],
        conditions={"StringLike": {"s3:prefix": f"{prefix}*"}},
    )


def use_ledger(ledger: dynamodb.ITable, *operations: str) -> iam.PolicyStatement:
    """Allow `operations` ("PutItem") on the ledger."""
    return allow([f"dynamodb:{operation}" for operation in operations], ledger.table_arn)


def send_messages(queue: sqs.IQueue) -> iam.PolicyStatement:
    """Allow sending to `queue`."""
    return allow(["sqs:SendMessage"], queue.queue_arn)


def poll(queue: sqs.IQueue) -> iam.PolicyStatement:
    """Allow what Lambda does in the function's name when it polls `queue` for it."""
    return allow(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], queue.queue_arn)


def search(queue: sqs.IQueue) -> iam.PolicyStatement:
    """Allow taking messages off `queue` and giving others back."""
    actions = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes")
    return allow([f"sqs:{action}" for action in actions], queue.queue_arn)


def read_policy(parameter: ssm.IParameter) -> iam.PolicyStatement:
    """Allow reading the policy and its earlier versions: the last good one stays in force."""
    return allow(["ssm:GetParameter", "ssm:GetParameterHistory"], parameter.parameter_arn)


def list_mappings() -> iam.PolicyStatement:
    """Allow asking for the settings of consumers' event source mappings."""
    # On every resource: AWS knows no narrower one.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
    return allow(["lambda:ListEventSourceMappings"], "*")


def decrypt(*keys: kms.IKey | None) -> list[iam.PolicyStatement]:
    """Allow reading what is encrypted with `keys`; nothing for what has no key."""
    return _use_keys(["kms:Decrypt"], keys)


def encrypt(*keys: kms.IKey | None) -> list[iam.PolicyStatement]:
    """Allow writing what is encrypted with `keys`; nothing for what has no key.

    SQS, SNS and a bucket with a bucket key ask a writer for kms:Decrypt as well: they check the data key.
    """
    return _use_keys(["kms:Decrypt", "kms:GenerateDataKey"], keys)


def _use_keys(actions: Sequence[str], keys: Sequence[kms.IKey | None]) -> list[iam.PolicyStatement]:
    arns = dict.fromkeys(key.key_arn for key in keys if key is not None)
    return [allow(actions, *arns)] if arns else []
