"""Delivers failure notices to a mapping's OnFailure destination."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from stream_redrive_cli.lab.mapping.backoff import Backoff
from stream_redrive_cli.lab.mapping.counters import Tally

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger(__name__)


class Destination(Protocol):
    """Takes one message. Raises botocore's errors."""

    def send(self, body: str) -> None: ...


class TopicDestination:
    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def send(self, body: str) -> None:
        self._client.publish(TopicArn=self._topic_arn, Message=body)


class QueueDestination:
    def __init__(self, client: SQSClient, queue_arn: str) -> None:
        self._client = client
        self._queue_arn = queue_arn

    def send(self, body: str) -> None:
        url = queue_url(self._client, self._queue_arn)
        self._client.send_message(QueueUrl=url, MessageBody=body)


def queue_url(client: SQSClient, queue_arn: str) -> str:
    """The queue's URL. Raises QueueDoesNotExist."""
    account, name = queue_arn.split(":")[4:]
    return client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]


class NoticeCourier:
    """Tries until the destination has the notice: in the lab, a notice that gets lost is a bug to see."""

    def __init__(self, destination: Destination | None, tally: Tally, backoff: Backoff, stop: threading.Event) -> None:
        self._destination = destination
        self._tally = tally
        self._backoff = backoff
        self._stop = stop

    def deliver(self, notice: Mapping[str, Any]) -> bool:
        """Whether the notice is delivered (or nobody wants it); False only when the poller stops before."""
        if self._destination is None:
            return True
        body = json.dumps(notice)
        failures = 0
        while not self._stop.is_set():
            try:
                self._destination.send(body)
            except (ClientError, BotoCoreError) as exc:
                failures += 1
                self._tally.add("notice_failures")
                _log.error("failure notice not delivered (try %d): %s", failures, exc)
                self._stop.wait(self._backoff.seconds(failures))
            else:
                self._tally.add("notices")
                return True
        return False
