"""The way in: failure notices from the topic, over a queue, to StartRedrive."""

from aws_cdk import Annotations, Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stream_redrive_cdk.storage import create_queue

# The largest batch of an event source mapping on a standard queue.
_BATCH_SIZE = 10_000
_MAX_RECEIVES = 3


class Intake(Construct):
    """The OnFailure topic, the intake queue with its dead-letter queue, and the subscription between them.

    The dead-letter queue takes notices that StartRedrive refused three times, and those that SNS could not
    deliver.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        topic: sns.ITopic | None,
        visibility: Duration,
        encryption_key: kms.IKey | None,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic: sns.ITopic = topic or sns.Topic(self, "OnFailureTopic", enforce_ssl=True, master_key=encryption_key)
        self.dead_letter_queue = create_queue(
            self, "DeadLetterQueue", encryption_key=encryption_key, removal_policy=removal_policy
        )
        self.queue = create_queue(
            self,
            "Queue",
            encryption_key=encryption_key,
            removal_policy=removal_policy,
            visibility_timeout=visibility,
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letter_queue, max_receive_count=_MAX_RECEIVES),
        )
        sns.Subscription(
            self,
            "Subscription",
            topic=self.topic,
            protocol=sns.SubscriptionProtocol.SQS,
            endpoint=self.queue.queue_arn,
            raw_message_delivery=True,
            dead_letter_queue=self.dead_letter_queue,
        )
        self.queue.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("sns.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.queue.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": self.topic.topic_arn}},
            )
        )
        if encryption_key is not None:
            self._let_sns_write(encryption_key)

    def feed(self, function: lambda_.IFunction, *, window: Duration) -> lambda_.EventSourceMapping:
        """Let Lambda call `function` with the notices that arrive within `window`."""
        return lambda_.EventSourceMapping(
            self,
            "Mapping",
            target=function,
            event_source_arn=self.queue.queue_arn,
            batch_size=_BATCH_SIZE,
            max_batching_window=window,
            report_batch_item_failures=True,
            # Two at a time keep the notices of an outage together in few groups; it is also AWS's minimum.
            max_concurrency=2,
        )

    def _let_sns_write(self, key: kms.IKey) -> None:
        # By account and not by topic: a key of another stack would otherwise depend on this one, and this on it.
        added = key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("sns.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in a key's policy: the key itself
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        if not added.statement_added:
            Annotations.of(self).add_warning_v2(
                "stream-redrive:key-policy",
                "The policy of the imported encryption key can't be changed from here. Let the service "
                "sns.amazonaws.com use kms:Decrypt and kms:GenerateDataKey in it, or no failure notice reaches "
                "the intake queue.",
            )
