"""The queue poller at work: one invocation for a whole window, only what succeeded is deleted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from stream_redrive_cli.lab.mapping.queue_poller import QueuePoller
from stream_redrive_cli.lab.mapping.settings import QueueMapping
from tests.unit.lab_mapping.support import FUNCTION_ARN, FakeLambda, client_error, eventually

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Queue:
    """An intake queue with a DLQ after `max_receives`, in moto."""

    def __init__(self, client: SQSClient, *, visibility: int = 600, max_receives: int = 3) -> None:
        self.client = client
        self.dlq_url = client.create_queue(QueueName="dlq")["QueueUrl"]
        self.arn = self._arn(self.dlq_url).replace("dlq", "intake")
        redrive = {"deadLetterTargetArn": self._arn(self.dlq_url), "maxReceiveCount": max_receives}
        self.url = client.create_queue(
            QueueName="intake",
            Attributes={"VisibilityTimeout": str(visibility), "RedrivePolicy": json.dumps(redrive)},
        )["QueueUrl"]

    def _arn(self, url: str) -> str:
        return self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def put(self, *bodies: str) -> None:
        for body in bodies:
            self.client.send_message(
                QueueUrl=self.url,
                MessageBody=body,
                MessageAttributes={"kind": {"DataType": "String", "StringValue": "notice"}},
            )

    def counts(self, url: str | None = None) -> tuple[int, int]:
        """(visible, in flight)."""
        attributes = self.client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=["All"])["Attributes"]
        visible = attributes["ApproximateNumberOfMessages"]
        return int(visible), int(attributes["ApproximateNumberOfMessagesNotVisible"])


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SQSClient]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield boto3.client("sqs", region_name="us-east-1")


@contextmanager
def polling(queue: Queue, function: FakeLambda, **settings: Any) -> Iterator[QueuePoller]:
    mapping = QueueMapping("0f1e2d3c", FUNCTION_ARN, queue.arn, **settings)
    poller = QueuePoller(mapping, client=queue.client, invoker=function.invoker)
    before = set(threading.enumerate())
    poller.start()
    try:
        yield poller
    finally:
        poller.stop()
    assert set(threading.enumerate()) <= before


def bodies(event: dict[str, Any]) -> list[str]:
    return [record["body"] for record in event["Records"]]


def failing(*bad: str) -> FakeLambda:
    def handler(event: dict[str, Any]) -> dict[str, Any]:
        failed = [r["messageId"] for r in event["Records"] if r["body"] in bad]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    return FakeLambda(handler)


def accepting() -> FakeLambda:
    return failing()


def test_a_window_of_messages_is_one_invocation(sqs: SQSClient) -> None:
    queue, function = Queue(sqs), accepting()
    queue.put(*(str(number) for number in range(25)))
    with polling(queue, function, batch_size=10_000, window_seconds=1) as poller:
        eventually(lambda: poller.settled_until() is not None)
    ((event,)) = function.events
    assert sorted(bodies(event), key=int) == [str(number) for number in range(25)]
    record = event["Records"][0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == queue.arn
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"]["kind"]["stringValue"] == "notice"
    assert queue.counts() == (0, 0)
    counts = poller.tally.snapshot()
    assert (counts["read"], counts["delivered"], counts["invocations"]) == (25, 25, 1)


def test_full_batch_does_not_wait_for_its_window(sqs: SQSClient) -> None:
    queue, function = Queue(sqs), accepting()
    queue.put(*(str(number) for number in range(24)))
    with polling(queue, function, batch_size=12, window_seconds=300):
        eventually(lambda: len(function.events) == 2)
    assert [len(event["Records"]) for event in function.events] == [12, 12]


def test_batch_stays_under_6_mb(sqs: SQSClient) -> None:
    queue, function = Queue(sqs), accepting()
    queue.put(*(str(number) * 900_000 for number in range(8)))
    with polling(queue, function, batch_size=100, window_seconds=1) as poller:
        eventually(lambda: poller.settled_until() is not None)
    assert [len(event["Records"]) for event in function.events] == [6, 2]


def test_only_reported_messages_stay(sqs: SQSClient) -> None:
    queue, function = Queue(sqs), failing("b")
    queue.put("a", "b", "c")
    settings = {"partial_responses": True, "batch_size": 100, "window_seconds": 1}
    with polling(queue, function, **settings) as poller:
        eventually(lambda: poller.tally.snapshot()["delivered"] == 2)
        assert poller.settled_until() is None
    assert queue.counts() == (0, 1)


@pytest.mark.parametrize("identifier", ["", None, "unknown"])
def test_invalid_item_identifier_keeps_the_whole_batch(sqs: SQSClient, identifier: str | None) -> None:
    function = FakeLambda(lambda _: {"batchItemFailures": [{"itemIdentifier": identifier}]})
    queue = Queue(sqs)
    queue.put("a", "b")
    with polling(queue, function, partial_responses=True) as poller:
        eventually(lambda: poller.tally.snapshot()["read"] == 2)
        eventually(lambda: poller.tally.snapshot()["errors"] == poller.tally.snapshot()["invocations"] > 0)
    assert queue.counts() == (0, 2)


def test_message_that_always_fails_ends_in_the_dlq(sqs: SQSClient) -> None:
    def handler(_: dict[str, Any]) -> None:
        raise RuntimeError("boom")

    queue, function = Queue(sqs, visibility=1, max_receives=2), FakeLambda(handler)
    queue.put("a")
    with polling(queue, function) as poller:
        eventually(lambda: queue.counts(queue.dlq_url) == (1, 0))
        eventually(lambda: poller.settled_until() is not None)
    assert len(function.events) == 2
    assert queue.counts() == (0, 0)


def test_refused_invocation_leaves_the_messages(sqs: SQSClient) -> None:
    def handler(_: dict[str, Any]) -> None:
        raise client_error("TooManyRequestsException")

    queue = Queue(sqs)
    queue.put("a")
    with polling(queue, FakeLambda(handler)) as poller:
        eventually(lambda: poller.tally.snapshot()["refused"] == 1)
    assert queue.counts() == (0, 1)


def test_no_more_invocations_at_once_than_allowed(sqs: SQSClient) -> None:
    both, release = threading.Barrier(3, timeout=20), threading.Event()

    def handler(_: dict[str, Any]) -> None:
        if not release.is_set():
            both.wait()
            release.wait(20)

    queue, function = Queue(sqs), FakeLambda(handler)
    queue.put(*(str(number) for number in range(6)))
    with polling(queue, function, batch_size=1, maximum_concurrency=2) as poller:
        both.wait()
        assert poller.settled_until() is None
        release.set()
        eventually(lambda: poller.settled_until() is not None)
    assert function.most_running == 2
    assert len(function.events) == 6


def test_gathered_messages_go_back_on_stop(sqs: SQSClient) -> None:
    queue, function = Queue(sqs), accepting()
    queue.put("a", "b", "c")
    with polling(queue, function, batch_size=100, window_seconds=300) as poller:
        eventually(lambda: poller.tally.snapshot()["read"] == 3)
    assert not function.events
    assert queue.counts() == (3, 0)


def test_queue_is_settled_only_when_seen_empty(sqs: SQSClient) -> None:
    queue, function = Queue(sqs), accepting()
    with polling(queue, function) as poller:
        eventually(lambda: poller.settled_until() is not None)
        assert poller.ready
        queue.put("a")
        put_at = time.time()
        eventually(lambda: (poller.settled_until() or 0.0) > put_at)
        assert [bodies(event) for event in function.events] == [["a"]]
