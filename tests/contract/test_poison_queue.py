"""What every poison queue does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.sqs import SqsPoisonQueue
from stream_redrive.core.ports import PoisonMessage, PoisonQueue
from tests.support.cloud import ENVIRONMENT, QUEUE
from tests.support.memory import MemoryClock, MemoryPoisonQueue

QUEUE_URL = ENVIRONMENT["POISON_QUEUE_URL"]


@dataclass
class Queues:
    """A poison queue, and what came out of it: pairs of body and attributes, sorted."""

    queue: PoisonQueue
    received: Callable[[], list[tuple[str, dict[str, str]]]]


@pytest.fixture
def queues(implementation: str) -> Queues:
    if implementation == "memory":
        memory = MemoryPoisonQueue()
        return Queues(memory, lambda: sorted((m.body, dict(m.attributes)) for m in memory.messages.values()))
    boto3.client("sqs").create_queue(QueueName=QUEUE, Attributes={"FifoQueue": "true"})
    return Queues(SqsPoisonQueue(clients.sqs(), QUEUE_URL, MemoryClock()), receive)


def receive() -> list[tuple[str, dict[str, str]]]:
    """Nothing is deleted: a message that waited for another of its group would not come."""
    sqs, found = boto3.client("sqs"), []
    request: Any = {"QueueUrl": QUEUE_URL, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    while batch := sqs.receive_message(**request).get("Messages"):
        for message in batch:
            attributes = message.get("MessageAttributes", {})
            found.append((message["Body"], {name: value["StringValue"] for name, value in attributes.items()}))
    return sorted(found)


def message(number: int, **attributes: str) -> PoisonMessage:
    return PoisonMessage(f"key-{number}", f"body-{number:03}", attributes)


def test_a_message_arrives_with_its_attributes(queues: Queues) -> None:
    queues.queue.send([PoisonMessage("key", '{"größe": "✓"}', {"consumer": "orders", "rule": "too old"})])
    assert queues.received() == [('{"größe": "✓"}', {"consumer": "orders", "rule": "too old"})]


def test_nothing_is_sent_when_there_is_nothing(queues: Queues) -> None:
    queues.queue.send([])
    assert queues.received() == []


def test_a_step_that_runs_again_sends_nothing_twice(queues: Queues) -> None:
    for _ in range(2):
        queues.queue.send([message(n, rule="held") for n in range(3)])
    assert queues.received() == [(f"body-{n:03}", {"rule": "held"}) for n in range(3)]


def test_a_message_twice_in_one_call_arrives_once(queues: Queues) -> None:
    queues.queue.send([message(1), message(2), message(1)])
    assert [body for body, _ in queues.received()] == ["body-001", "body-002"]


def test_equal_bodies_of_different_keys_are_different_messages(queues: Queues) -> None:
    queues.queue.send([PoisonMessage("one", "same"), PoisonMessage("two", "same")])
    assert [body for body, _ in queues.received()] == ["same", "same"]


def test_a_key_may_be_long_and_hold_any_character(queues: Queues) -> None:
    queues.queue.send([PoisonMessage("✓ " * 500 + end, end) for end in ("a", "b", "a")])
    assert [body for body, _ in queues.received()] == ["a", "b"]


def test_any_number_of_messages_arrives(queues: Queues) -> None:
    queues.queue.send([message(n) for n in range(47)])
    assert [body for body, _ in queues.received()] == [f"body-{n:03}" for n in range(47)]


def test_messages_of_any_size_arrive(queues: Queues) -> None:
    bodies = sorted(f"{n}{'ü' * (n * 60_000)}" for n in range(9))
    queues.queue.send([PoisonMessage(body, body) for body in bodies])
    assert [body for body, _ in queues.received()] == bodies


def test_what_is_wanted_leaves_the_queue_and_nothing_else(queues: Queues) -> None:
    queues.queue.send([message(n, case_id="mine" if n % 3 else "other") for n in range(30)])
    removal = queues.queue.remove(lambda body, attributes: attributes["case_id"] == "mine" and body != "body-001", 30)
    assert (removal.removed, removal.complete) == (19, True)
    left = [body for body, _ in queues.received()]
    assert left == ["body-000", "body-001", *(f"body-{n:03}" for n in range(3, 30, 3))]


def test_a_search_ends_with_the_last_message_that_there_can_be(queues: Queues) -> None:
    queues.queue.send([message(n, case_id="mine") for n in range(4)])
    assert queues.queue.remove(lambda body, _: body == "body-000", 1).complete
    assert [body for body, _ in queues.received()] == ["body-001", "body-002", "body-003"]


def test_a_search_of_an_empty_queue_finds_nothing(queues: Queues) -> None:
    removal = queues.queue.remove(lambda body, attributes: True, 5)
    assert (removal.removed, removal.complete) == (0, True)
