"""The event source mappings of protected consumers, and what their roles need for them."""

import hashlib
from typing import Any

from aws_cdk import Annotations, Fn, Stack, Token
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from stream_redrive_cdk.alarms import Alarms
from stream_redrive_cdk.permissions import allow, decrypt, encrypt

# What Lambda does in the consumer's name when it polls a stream.
# https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
_POLL_STREAM = (
    "kinesis:DescribeStream",
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
)


# Where a consumer's failure reports go; read by stream_redrive.reporting.
REPORTS_VARIABLE = "STREAM_REDRIVE_LEDGER_TABLE"


class ConsumerMappings(Construct):
    """The mappings of one StreamRedrive.

    They and the policies of the consumers' roles live here, not beside the consumer: then a consumer of another
    stack knows nothing of this one, and the two stacks never depend on each other both ways.
    """

    def __init__(self, scope: Construct, construct_id: str, *, topic: sns.ITopic, alarms: Alarms) -> None:
        super().__init__(scope, construct_id)
        self._topic = topic
        self._alarms = alarms

    def add(
        self,
        *,
        consumer: lambda_.IFunction,
        stream: kinesis.IStream,
        stream_key: kms.IKey | None,
        **settings: Any,
    ) -> lambda_.EventSourceMapping:
        """Make the mapping of `consumer` on `stream`; `settings` are those of lambda.EventSourceMapping."""
        name = _stable_id(consumer, stream)
        if self.node.try_find_child(name) is not None:
            raise ValueError(f"{consumer.node.path} is already protected on {stream.node.path}")
        mapping = lambda_.EventSourceMapping(
            self,
            name,
            target=consumer,
            event_source_arn=stream.stream_arn,
            bisect_batch_on_error=True,
            **settings,
        )
        resource = mapping.node.default_child
        assert isinstance(resource, lambda_.CfnEventSourceMapping)
        # By ARN: the name of a function imported by a qualified ARN loses its alias or version.
        resource.function_name = consumer.function_arn
        # Not by `on_failure`, which would write into the consumer's own stack.
        resource.destination_config = lambda_.CfnEventSourceMapping.DestinationConfigProperty(
            on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=self._topic.topic_arn)
        )
        if consumer.role is None:
            self._ask_for_permissions(consumer, stream, stream_key)
        else:
            policy = iam.Policy(
                self,
                f"{name}Access",
                roles=[consumer.role],
                statements=[
                    allow(_POLL_STREAM, stream.stream_arn),
                    allow(["sns:Publish"], self._topic.topic_arn),
                    *decrypt(stream_key),
                    *encrypt(self._topic.master_key),
                ],
            )
            # Lambda checks the role when the mapping is made.
            mapping.node.add_dependency(policy)
        alarm = f"DeliveryFailures{_digest(consumer.function_arn)}"
        if self._alarms.node.try_find_child(alarm) is None:
            self._alarms.watch_delivery(alarm, consumer)
        return mapping

    def let_report(self, consumer: lambda_.IFunction, ledger: dynamodb.ITable, key: kms.IKey | None) -> None:
        """Let `consumer` write its own failure reports into `ledger`, and nothing else."""
        name = f"{consumer.node.id}{_digest(consumer.node.addr)}Reports"
        if self.node.try_find_child(name) is not None:
            return
        # The name that the function's own environment gives it: a qualifier is no part of it.
        function = Fn.select(6, Fn.split(":", consumer.function_arn))
        write = allow(["dynamodb:BatchWriteItem"], ledger.table_arn)
        write.add_condition("ForAllValues:StringLike", {"dynamodb:LeadingKeys": [f"REPORT#{function}#*"]})
        owner = consumer.lambda_ if isinstance(consumer, lambda_.Alias | lambda_.Version) else consumer
        # In another stack the variable would make that stack depend on this one, which depends on it already.
        if isinstance(owner, lambda_.Function) and Stack.of(owner) == Stack.of(self):
            owner.add_environment(REPORTS_VARIABLE, ledger.table_name)
        else:
            Annotations.of(self).add_info(
                f"Set {REPORTS_VARIABLE} in the environment of {_readable(consumer.function_arn, consumer.node.path)} "
                f"to {_readable(ledger.table_name, 'the ledger (output LedgerTableName)')}: without it the consumer "
                "reports nothing."
            )
        if consumer.role is None:
            wanted = [
                f"dynamodb:BatchWriteItem on {_readable(ledger.table_arn, 'the ledger (output LedgerTableName)')}, "
                "where dynamodb:LeadingKeys is like REPORT#<function name>#*"
            ]
            if key is not None:
                wanted.append(f"kms:Decrypt, kms:GenerateDataKey on {_readable(key.key_arn, 'the key of the ledger')}")
            Annotations.of(self).add_warning_v2(
                f"stream-redrive:reports-{_digest(consumer.function_arn)}",
                f"The role of the imported consumer {_readable(consumer.function_arn, consumer.node.path)} is not "
                f"known here. Add to it: {'; '.join(wanted)}. Without it the consumer's reports are refused, and "
                "nothing else changes. Or import the consumer with its role.",
            )
            return
        iam.Policy(self, name, roles=[consumer.role], statements=[write, *encrypt(key)])

    def _ask_for_permissions(
        self, consumer: lambda_.IFunction, stream: kinesis.IStream, stream_key: kms.IKey | None
    ) -> None:
        wanted = [
            f"{', '.join(_POLL_STREAM)} on {_readable(stream.stream_arn, 'the stream')}",
            f"sns:Publish on {_readable(self._topic.topic_arn, 'the topic (output OnFailureTopicArn)')}",
        ]
        if stream_key is not None:
            wanted.append(f"kms:Decrypt on {_readable(stream_key.key_arn, 'the key of the stream')}")
        if self._topic.master_key is not None:
            wanted.append(
                "kms:Decrypt, kms:GenerateDataKey on "
                + _readable(self._topic.master_key.key_arn, "the key of the topic")
            )
        Annotations.of(self).add_warning_v2(
            f"stream-redrive:consumer-role-{_digest(consumer.function_arn)}",
            f"The role of the imported consumer {_readable(consumer.function_arn, consumer.node.path)} is not known "
            f"here. Add to it: {'; '.join(wanted)}. Without the stream Lambda refuses the mapping; without the topic "
            "its failure notices are dropped, and their records are lost to the redrive. Or import the consumer "
            "with its role.",
        )


def _stable_id(consumer: lambda_.IFunction, stream: kinesis.IStream) -> str:
    # Not by order of calls: a mapping with a new logical id would be replaced and start over on its stream.
    digest = _digest(f"{consumer.node.addr}/{stream.node.addr}")
    return f"{consumer.node.id}{stream.node.id}{digest}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _readable(value: str, otherwise: str) -> str:
    return otherwise if Token.is_unresolved(value) else value
