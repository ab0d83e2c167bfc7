"""Polls a queue and invokes its function with whole batches, as Lambda's SQS mapping does."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from stream_redrive.core.responses import WholeBatchFailed
from stream_redrive_cli.lab.mapping.batch import NotRun
from stream_redrive_cli.lab.mapping.counters import Tally
from stream_redrive_cli.lab.mapping.destinations import queue_url
from stream_redrive_cli.lab.mapping.invocation import FunctionInvoker
from stream_redrive_cli.lab.mapping.records import event_payload, fitting, queue_event
from stream_redrive_cli.lab.mapping.settings import QueueMapping

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger(__name__)

_CALL_LIMIT = 10  # messages in a call to SQS
_LONG_POLL_SECONDS = 1  # short, so that a stop isn't kept waiting
_PAUSE_AFTER_ERROR_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Message:
    message_id: str
    receipt_handle: str
    event_json: str


class QueuePoller:
    """One queue mapping at work: one thread gathers, up to `maximum_concurrency` invoke.

    What fails stays in the queue until its visibility timeout ends; the queue itself moves it to its DLQ.
    """

    def __init__(
        self,
        mapping: QueueMapping,
        *,
        client: SQSClient,
        invoker: FunctionInvoker,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.mapping = mapping
        self.tally = Tally()
        self._client = client
        self._invoker = invoker
        self._clock = clock
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._queue_url: str | None = None
        self._settled_until: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"mapping-{mapping.uuid[:8]}-queue")

    @property
    def ready(self) -> bool:
        return self._queue_url is not None

    def settled_until(self) -> float | None:
        """The epoch second at which the queue was last seen empty with nothing in flight; None since then if
        a message came."""
        with self._changed:
            return None if self._in_flight else self._settled_until

    def start(self) -> None:
        """Begin in threads of its own. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End all threads; invocations in flight are waited for, messages merely gathered go back."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(self.mapping.maximum_concurrency, thread_name_prefix=self._thread.name) as pool:
            held: deque[_Message] = deque()
            while self._wait_for_slot():
                try:
                    url = self._queue_url = self._queue_url or queue_url(self._client, self.mapping.source_arn)
                    self._gather(url, held)
                    if self._stop.is_set():
                        break
                    batch = self._take(held)
                    if batch:
                        with self._changed:
                            self._in_flight += 1
                        pool.submit(self._deliver, url, batch)
                    else:
                        self._look_whether_empty(url)
                except (ClientError, BotoCoreError) as exc:
                    _log.warning("%s: %s", self.mapping.source_arn, exc)
                    self._stop.wait(_PAUSE_AFTER_ERROR_SECONDS)
            if self._queue_url:
                self._give_back(self._queue_url, held)

    def _wait_for_slot(self) -> bool:
        # A message that waits for a slot would use up its visibility timeout: gather only when one is free.
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or self._in_flight < self.mapping.maximum_concurrency)
        return not self._stop.is_set()

    def _gather(self, url: str, held: deque[_Message]) -> None:
        """Receive until a batch is full or the window, which begins with the first message, ends."""
        deadline = time.monotonic() + self.mapping.window_seconds if held else None
        while not self._stop.is_set() and not self._is_full(held):
            left = _LONG_POLL_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            messages = self._receive(
                url,
                most=min(_CALL_LIMIT, self.mapping.batch_size - len(held)),
                # Whole seconds only: a rest under one second is waited for here.
                wait=min(_LONG_POLL_SECONDS, int(left)),
            )
            held.extend(messages)
            if deadline is None:
                if not messages or not self.mapping.window_seconds:
                    return
                deadline = time.monotonic() + self.mapping.window_seconds
            elif not messages and left < _LONG_POLL_SECONDS:
                self._stop.wait(max(0.0, deadline - time.monotonic()))

    def _receive(self, url: str, *, most: int, wait: int) -> list[_Message]:
        reply = self._client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = [self._message(message) for message in reply.get("Messages", [])]
        if messages:
            self._settled_until = None
            self.tally.add("read", len(messages))
        return messages

    def _message(self, message: Mapping[str, Any]) -> _Message:
        event = queue_event(message, queue_arn=self.mapping.source_arn)
        return _Message(event["messageId"], event["receiptHandle"], json.dumps(event))

    def _fitting(self, held: deque[_Message]) -> int:
        return fitting((len(message.event_json) + 1 for message in held), most=self.mapping.batch_size)

    def _is_full(self, held: deque[_Message]) -> bool:
        size = self._fitting(held)
        return size == self.mapping.batch_size or size < len(held)

    def _take(self, held: deque[_Message]) -> list[_Message]:
        return [held.popleft() for _ in range(self._fitting(held))]

    def _deliver(self, url: str, batch: Sequence[_Message]) -> None:
        try:
            self._delete(url, self._accepted(batch))
        except (ClientError, BotoCoreError) as exc:
            _log.warning("%s: not deleted, they will come again: %s", self.mapping.source_arn, exc)
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _accepted(self, batch: Sequence[_Message]) -> list[_Message]:
        result = self._invoker.invoke(event_payload(message.event_json for message in batch))
        if isinstance(result, NotRun):
            self.tally.add("refused")
            _log.info("%s was not invoked: %s", self.mapping.function_arn, result.reason)
            return []
        self.tally.add("invocations")
        known = {message.message_id for message in batch}
        try:
            failed = result.failed_items(known, partial_responses=self.mapping.partial_responses)
        except WholeBatchFailed as exc:
            _log.info("%s failed a batch of %d: %s", self.mapping.function_arn, len(batch), exc)
            failed = frozenset(known)
        if failed:
            self.tally.add("errors")
        return [message for message in batch if message.message_id not in failed]

    def _delete(self, url: str, messages: Sequence[_Message]) -> None:
        for start in range(0, len(messages), _CALL_LIMIT):
            some = messages[start : start + _CALL_LIMIT]
            reply = self._client.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message.receipt_handle} for number, message in enumerate(some)
                ],
            )
            for refused in reply.get("Failed", []):
                _log.warning("%s: not deleted, it will come again: %s", self.mapping.source_arn, refused)
            self.tally.add("delivered", len(reply.get("Successful", [])))

    def _give_back(self, url: str, held: Sequence[_Message]) -> None:
        for message in held:
            try:
                self._client.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=message.receipt_handle, VisibilityTimeout=0
                )
            except (ClientError, BotoCoreError) as exc:
                _log.warning("%s: comes back after its visibility timeout: %s", self.mapping.source_arn, exc)

    def _look_whether_empty(self, url: str) -> None:
        asked_at = self._clock()
        attributes = self._client.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        self._settled_until = None if any(int(value) for value in attributes.values()) else asked_at
