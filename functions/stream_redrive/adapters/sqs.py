"""SQS: the poison queue, a FIFO queue whose deduplication makes a step that runs again send nothing twice."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stream_redrive.adapters.faults import faults_of
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import Clock, PoisonMessage, Removal

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ENTRIES = 10
MAX_BATCH_BYTES = 1024 * 1024
# Attribute names, types and values count against the limit too.
_OVERHEAD = 1024
_MAX_ROUNDS = 8
# A message that a search has received comes back after this by itself; a search that takes longer would meet it again.
_HIDDEN_SECONDS = 300
_SEARCH_SECONDS = 240
# Long polling asks every server of the queue: an empty answer means that there is nothing.
LONG_POLL_SECONDS = 1


class SqsPoisonQueue:
    """The poison queue."""

    def __init__(self, client: "SQSClient", queue_url: str, clock: Clock) -> None:
        self._client = client
        self._queue_url = queue_url
        self._clock = clock

    def send(self, messages: Sequence[PoisonMessage]) -> None:
        """SendMessageBatch; entries that the service refuses for now are sent again."""
        for batch in _packed(messages):
            waiting = {str(index): _entry(str(index), message) for index, message in enumerate(batch)}
            for attempt in range(_MAX_ROUNDS):
                entries: Any = list(waiting.values())
                with faults_of("sqs:SendMessageBatch"):
                    reply = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
                for sent in reply.get("Successful", []):
                    del waiting[sent["Id"]]
                if not waiting:
                    break
                self._clock.sleep(min(0.1 * 2**attempt, 5))
            else:
                reasons = {failed.get("Code", "") for failed in reply.get("Failed", [])}
                raise ServiceBusy(f"sqs:SendMessageBatch refused {len(waiting)} messages: {', '.join(sorted(reasons))}")

    def remove(self, wanted: Callable[[str, Mapping[str, str]], bool], most: int) -> Removal:
        """ReceiveMessage until the queue has no more to give: what is not wanted stays hidden meanwhile."""
        until = self._clock.now() + timedelta(seconds=min(_SEARCH_SECONDS, self._clock.remaining_seconds() / 2))
        others: list[str] = []
        removed = 0
        try:
            while removed < most and self._clock.now() < until:
                found = self._receive()
                if not found:
                    return Removal(removed, complete=self._hidden() <= len(others))
                gone = [m["ReceiptHandle"] for m in found if wanted(m["Body"], _attributes(m))]
                others += [m["ReceiptHandle"] for m in found if m["ReceiptHandle"] not in gone]
                self._delete(gone)
                removed += len(gone)
        finally:
            self._give_back(others)
        return Removal(removed, complete=removed >= most)

    def _receive(self) -> Sequence[Any]:
        with faults_of("sqs:ReceiveMessage"):
            reply = self._client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=MAX_ENTRIES,
                VisibilityTimeout=_HIDDEN_SECONDS,
                WaitTimeSeconds=LONG_POLL_SECONDS,
                MessageAttributeNames=["All"],
            )
        return reply.get("Messages", [])

    def _hidden(self) -> int:
        """About how many messages somebody has received and neither deleted nor given back, this search included."""
        with faults_of("sqs:GetQueueAttributes"):
            reply = self._client.get_queue_attributes(
                QueueUrl=self._queue_url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
            )
        return int(reply["Attributes"]["ApproximateNumberOfMessagesNotVisible"])

    def _delete(self, handles: Sequence[str]) -> None:
        entries: Any = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(handles)]
        if entries:
            with faults_of("sqs:DeleteMessageBatch"):
                reply = self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            if failed := reply.get("Failed"):
                raise ServiceBusy(f"sqs:DeleteMessageBatch left {len(failed)} messages: {failed[0].get('Code')}")

    def _give_back(self, handles: Sequence[str]) -> None:
        for start in range(0, len(handles), MAX_ENTRIES):
            entries: Any = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for index, handle in enumerate(handles[start : start + MAX_ENTRIES])
            ]
            # One that is refused comes back by itself when its time is up.
            with faults_of("sqs:ChangeMessageVisibilityBatch"):
                self._client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)


def _attributes(message: Any) -> dict[str, str]:
    return {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}


def _entry(entry_id: str, message: PoisonMessage) -> dict[str, Any]:
    digest = hashlib.sha256(message.key.encode()).hexdigest()
    return {
        "Id": entry_id,
        "MessageBody": message.body,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
        },
        # A group of its own: no message waits for another.
        "MessageGroupId": digest,
        "MessageDeduplicationId": digest,
    }


def _packed(messages: Sequence[PoisonMessage]) -> Iterator[list[PoisonMessage]]:
    batch: list[PoisonMessage] = []
    size = 0
    for message in messages:
        weight = len(message.body.encode()) + _OVERHEAD
        if batch and (len(batch) == MAX_ENTRIES or size + weight > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += weight
    if batch:
        yield batch
