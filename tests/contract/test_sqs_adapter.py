"""What SQS answers and moto doesn't."""

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from stream_redrive.adapters import clients
from stream_redrive.adapters.sqs import SqsPoisonQueue
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import PoisonMessage
from tests.support.cloud import ENVIRONMENT
from tests.support.memory import MemoryClock
from tests.support.wire import Answer, Wire, reply

pytestmark = pytest.mark.usefixtures("pauses")
MIB = 1024 * 1024


def queue(*answers: Answer) -> tuple[SqsPoisonQueue, Wire, MemoryClock]:
    client, clock = clients.sqs(), MemoryClock()
    return SqsPoisonQueue(client, ENVIRONMENT["POISON_QUEUE_URL"], clock), Wire(client, *answers), clock


def refusing(*ids: int) -> Answer:
    """Take all messages that are asked for but these."""

    def answer(request: AWSPreparedRequest) -> AWSResponse:
        body: Any = request.body
        entries = json.loads(body)["Entries"]
        taken = [entry["Id"] for entry in entries if int(entry["Id"]) not in ids]
        left = [entry["Id"] for entry in entries if int(entry["Id"]) in ids]
        sorted_out: dict[str, Any] = {
            "Successful": [{"Id": n, "MessageId": "m", "MD5OfMessageBody": "d"} for n in taken]
        }
        if left:
            sorted_out["Failed"] = [{"Id": n, "SenderFault": False, "Code": "InternalError"} for n in left]
        return reply(sorted_out)(request)

    return answer


def bodies(request: dict[str, Any]) -> list[str]:
    return [entry["MessageBody"] for entry in request["Entries"]]


def messages(*texts: str) -> list[PoisonMessage]:
    return [PoisonMessage(f"key-{n}", text) for n, text in enumerate(texts)]


def test_messages_that_the_queue_refuses_for_now_are_sent_again_and_no_others() -> None:
    sqs, wire, clock = queue(refusing(1, 3), refusing(1), refusing())
    sqs.send(messages("a", "b", "c", "d"))
    assert [bodies(request) for request in wire.requests] == [["a", "b", "c", "d"], ["b", "d"], ["b"]]
    assert clock.slept[0] < clock.slept[1]


def test_messages_that_are_refused_for_ever_are_given_up_with_the_reason() -> None:
    sqs, wire, _ = queue(refusing(1))
    with pytest.raises(ServiceBusy, match="refused 1 messages: InternalError"):
        sqs.send(messages("a", "b"))
    assert len(wire.requests) > 3


def test_ten_messages_go_a_call() -> None:
    sqs, wire, clock = queue(refusing())
    sqs.send(messages(*(str(n) for n in range(23))))
    assert [len(request["Entries"]) for request in wire.requests] == [10, 10, 3]
    assert clock.slept == []


def test_a_call_stays_below_a_mebibyte_counted_in_bytes() -> None:
    texts = ["ü" * 200_000, "x" * 400_000, "ü" * 150_000, "x" * 1_000_000, "y" * 46_500, "z"]
    sqs, wire, _ = queue(refusing())
    sqs.send(messages(*texts))
    assert [text for request in wire.requests for text in bodies(request)] == texts
    assert [len(request["Entries"]) for request in wire.requests] == [2, 1, 2, 1]
    assert all(sum(len(text.encode()) for text in bodies(request)) < MIB for request in wire.requests)


def test_attributes_count_against_the_mebibyte_too() -> None:
    body = "x" * (MIB // 2 - 300)
    attributes = {"consumer": "c" * 400, "rule": "r"}
    sqs, wire, _ = queue(refusing())
    sqs.send([PoisonMessage(str(n), body, attributes) for n in range(2)])
    assert len(wire.requests) == 2


def test_each_message_is_a_group_of_its_own() -> None:
    sqs, wire, _ = queue(refusing())
    sqs.send(messages("a", "b", "c"))
    [request] = wire.requests
    assert len({entry["MessageGroupId"] for entry in request["Entries"]}) == 3
    assert all(entry["MessageGroupId"] == entry["MessageDeduplicationId"] for entry in request["Entries"])
