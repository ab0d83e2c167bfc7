"""One app with a stack for each way to use the construct: a single synth serves all tests."""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from stream_redrive_cdk import Protection, StreamRedrive, StreamRedriveStack

ACCOUNT = "arn:aws:lambda:us-east-1:111122223333:function"
ORDERS = f"{ACCOUNT}:orders:live"
REFUNDS = f"{ACCOUNT}:refunds"
ORDERS_STREAM = "arn:aws:kinesis:us-east-1:111122223333:stream/orders"
REFUNDS_STREAM = "arn:aws:kinesis:us-east-1:111122223333:stream/refunds"
STREAM_KEY = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000000"


def consumer(scope: cdk.Stack, name: str) -> lambda_.Function:
    """Make a consumer such as a user has one."""
    return lambda_.Function(
        scope,
        name,
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler="index.handler",
        code=lambda_.Code.from_inline("def handler(event, context): pass"),
    )


def build(outdir: Path) -> cdk.App:
    """Make the app; it writes to `outdir`."""
    app = cdk.App(outdir=str(outdir), analytics_reporting=False)
    StreamRedriveStack(app, "Bare")
    StreamRedriveStack(
        app,
        "Plain",
        protect=[
            Protection(
                consumer_arn=ORDERS, consumer_role_arn="arn:aws:iam::111122223333:role/orders", stream_arn=ORDERS_STREAM
            ),
            Protection(
                consumer_arn=REFUNDS,
                consumer_role_arn="arn:aws:iam::111122223333:role/service/refunds",
                stream_arn=REFUNDS_STREAM,
                stream_key_arn=STREAM_KEY,
                batch_size=500,
                max_batching_window_seconds=5,
                retry_attempts=7,
                max_record_age_seconds=120,
                parallelization_factor=4,
                report_batch_item_failures=False,
                filters=({"data": {"kind": ["refund"]}},),
                starting_position="LATEST",
                accept_reports=True,
                log_group_name="shop/refunds",
                allow_probe=True,
            ),
        ],
    )
    StreamRedriveStack(app, "Unknown", protect=[Protection(consumer_arn=ORDERS, stream_arn=ORDERS_STREAM)])
    StreamRedriveStack(app, "Short", removal_policy=cdk.RemovalPolicy.DESTROY, intake_window=cdk.Duration.seconds(1))
    _encrypted(app)
    _own(app)
    _twice(app)
    _across_stacks(app)
    return app


def _encrypted(app: cdk.App) -> None:
    stack = cdk.Stack(app, "Encrypted")
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    redrive = StreamRedrive(stack, "Redrive", encryption_key=key)
    stream = kinesis.Stream(stack, "Stream", encryption=kinesis.StreamEncryption.KMS)
    redrive.protect(consumer=consumer(stack, "Orders"), stream=stream)


def _own(app: cdk.App) -> None:
    stack = cdk.Stack(app, "Own")
    vault_key = kms.Key(stack, "VaultKey", enable_key_rotation=True)
    topic_key = kms.Key(stack, "TopicKey", enable_key_rotation=True)
    redrive = StreamRedrive(
        stack,
        "Redrive",
        policy={"default": {"max_attempts": 5}},
        vault_bucket=s3.Bucket(stack, "Bucket", encryption_key=vault_key, encryption=s3.BucketEncryption.KMS),
        encryption_key=kms.Key.from_key_arn(stack, "ImportedKey", STREAM_KEY),
        on_failure_topic=sns.Topic(stack, "Notices", master_key=topic_key),
        alarm_topic=sns.Topic(stack, "OnCall"),
        approval_topic=sns.Topic(stack, "Approvers"),
        case_sweep_interval=cdk.Duration.minutes(5),
        service_name="payments-redrive",
        settle=cdk.Duration.seconds(2),
    )
    redrive.protect(consumer=consumer(stack, "Orders"), stream=kinesis.Stream(stack, "Stream"))


def _twice(app: cdk.App) -> None:
    stack = cdk.Stack(app, "Twice")
    stream = kinesis.Stream(stack, "Stream", encryption=kinesis.StreamEncryption.UNENCRYPTED)
    first, second = StreamRedrive(stack, "First"), StreamRedrive(stack, "Second")
    first.protect(consumer=consumer(stack, "Orders"), stream=stream)
    first.protect(consumer=consumer(stack, "Refunds"), stream=stream)
    second.watch(stream)
    returns = consumer(stack, "Returns")
    second.read_log(returns)
    lambda_.EventSourceMapping(
        stack,
        "HandMade",
        target=returns,
        event_source_arn=stream.stream_arn,
        starting_position=lambda_.StartingPosition.LATEST,
        on_failure=second.on_failure,
    )


def _across_stacks(app: cdk.App) -> None:
    theirs = cdk.Stack(app, "Theirs")
    stream = kinesis.Stream(theirs, "Stream")
    alias = consumer(theirs, "Orders").add_alias("live")
    redrive = StreamRedrive(cdk.Stack(app, "Ours"), "Redrive")
    redrive.protect(consumer=alias, stream=stream)
