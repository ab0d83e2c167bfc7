"""SQS: the poison queue, a FIFO queue whose deduplication makes a step that runs again send nothing twice."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stream_redrive.adapters.faults import faults_of
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import Clock, PoisonMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ENTRIES = 10
MAX_BATCH_BYTES = 1024 * 1024
# Attribute names, types and values count against the limit too.
_OVERHEAD = 1024
_MAX_ROUNDS = 8


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
