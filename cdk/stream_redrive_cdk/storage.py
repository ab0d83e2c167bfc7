"""What outlives an incident: the vault of captured records, the ledger, the poison queue and the policy."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from stream_redrive_cdk.policy import policy_document

# The longest that SQS keeps a message; its own default is four days.
MESSAGE_RETENTION = Duration.days(14)


def create_queue(
    scope: Construct,
    construct_id: str,
    *,
    encryption_key: kms.IKey | None,
    removal_policy: RemovalPolicy,
    **settings: Any,
) -> sqs.Queue:
    """Make an encrypted queue that keeps its messages for 14 days and speaks TLS only."""
    return sqs.Queue(
        scope,
        construct_id,
        retention_period=MESSAGE_RETENTION,
        enforce_ssl=True,
        encryption=sqs.QueueEncryption.KMS if encryption_key else sqs.QueueEncryption.SQS_MANAGED,
        encryption_master_key=encryption_key,
        removal_policy=removal_policy,
        **settings,
    )


def create_poison_queue(
    scope: Construct, construct_id: str, *, encryption_key: kms.IKey | None, removal_policy: RemovalPolicy
) -> sqs.Queue:
    """Make the queue of what needs a person; FIFO, so that a step that runs again sends no message twice."""
    return create_queue(
        scope,
        construct_id,
        encryption_key=encryption_key,
        removal_policy=removal_policy,
        fifo=True,
        deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP,
        fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
    )


def create_vault(
    scope: Construct,
    construct_id: str,
    *,
    encryption_key: kms.IKey | None,
    removal_policy: RemovalPolicy,
    capture_retention: Duration,
    quarantine_retention: Duration,
) -> s3.Bucket:
    """Make the bucket of captured and quarantined records; the quarantine waits for people, so it is kept longer."""

    def expire(prefix: str, after: Duration) -> s3.LifecycleRule:
        return s3.LifecycleRule(
            id=prefix,
            prefix=f"{prefix}/",
            expiration=after,
            noncurrent_version_expiration=Duration.days(7),
            abort_incomplete_multipart_upload_after=Duration.days(7),
        )

    return s3.Bucket(
        scope,
        construct_id,
        versioned=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=encryption_key,
        bucket_key_enabled=True if encryption_key else None,
        lifecycle_rules=[
            expire("captured", capture_retention),
            expire("incidents", capture_retention),
            expire("quarantine", quarantine_retention),
            expire("cases", quarantine_retention),
        ],
        removal_policy=removal_policy,
    )


def create_ledger(
    scope: Construct,
    construct_id: str,
    *,
    encryption_key: kms.IKey | None,
    removal_policy: RemovalPolicy,
    deletion_protection: bool,
) -> dynamodb.Table:
    """Make the table of claims, lineage and intents."""
    # Not TableV2: with a customer's key it asks for the account and region of the stack at synth.
    return dynamodb.Table(
        scope,
        construct_id,
        partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
        sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute="expires_at",
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if encryption_key else dynamodb.TableEncryption.DEFAULT,
        encryption_key=encryption_key,
        deletion_protection=deletion_protection,
        removal_policy=removal_policy,
    )


def create_policy_parameter(
    scope: Construct, construct_id: str, *, name: str, policy: Mapping[str, Any] | None
) -> ssm.StringParameter:
    """Make the parameter `name` that holds the redrive policy; raises InvalidPolicyError."""
    return ssm.StringParameter(
        scope,
        construct_id,
        # Named by us: of a name that CloudFormation makes up nobody knows whether it starts with the slash that
        # an ARN leaves out.
        parameter_name=name,
        description="stream-redrive: the redrive policy, by consumer",
        string_value=policy_document(policy),
        tier=ssm.ParameterTier.INTELLIGENT_TIERING,
    )
