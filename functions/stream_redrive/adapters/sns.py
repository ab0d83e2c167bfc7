"""SNS: the topic that approvers listen to."""

from typing import TYPE_CHECKING

from stream_redrive.adapters.faults import faults_of

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class SnsApproverTopic:
    """A topic; who subscribes to it is the operator's choice."""

    def __init__(self, client: "SNSClient", topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def publish(self, subject: str, text: str) -> None:
        """Publish."""
        with faults_of("sns:Publish"):
            self._client.publish(TopicArn=self._topic_arn, Subject=subject, Message=text)
