"""A lane of a shard: batches of its own, one at a time, in order."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from stream_redrive.core.responses import WholeBatchFailed
from stream_redrive_cli.lab.mapping.backoff import Backoff
from stream_redrive_cli.lab.mapping.batch import (
    Batch,
    Discard,
    Failed,
    FailedFrom,
    NotRun,
    Outcome,
    Succeeded,
    discard_expired,
    next_step,
)
from stream_redrive_cli.lab.mapping.counters import Tally
from stream_redrive_cli.lab.mapping.destinations import NoticeCourier
from stream_redrive_cli.lab.mapping.invocation import FunctionInvoker, Invocation
from stream_redrive_cli.lab.mapping.notices import FailedInvocation, failure_notice
from stream_redrive_cli.lab.mapping.progress import ShardProgress
from stream_redrive_cli.lab.mapping.records import StreamRecord, event_payload, fitting
from stream_redrive_cli.lab.mapping.settings import StreamMapping

_log = logging.getLogger(__name__)


def lane_of(lane_key: str, lanes: int) -> int:
    """The lane that keeps the order of this key."""
    return zlib.crc32(lane_key.encode()) % lanes


class Lane:
    """Gathers a lane's records into batches and works each off to its end before it takes the next."""

    def __init__(
        self,
        mapping: StreamMapping,
        shard_id: str,
        *,
        invoker: FunctionInvoker,
        courier: NoticeCourier,
        progress: ShardProgress,
        tally: Tally,
        backoff: Backoff,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mapping = mapping
        self._shard_id = shard_id
        self._invoker = invoker
        self._courier = courier
        self._progress = progress
        self._tally = tally
        self._backoff = backoff
        self._stop = stop
        self._clock = clock
        self._changed = threading.Condition()
        self._buffer: deque[tuple[StreamRecord, float]] = deque()
        self._closed = False

    def offer(self, records: Sequence[StreamRecord]) -> None:
        """Take over records, in order. Returns at once."""
        now = time.monotonic()
        with self._changed:
            self._buffer.extend((record, now) for record in records)
            self._changed.notify()

    def close(self) -> None:
        """No more records will be offered: end after those that are left."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        """Work until stopped or closed; what is unsettled then is read again from the checkpoint."""
        while batch := self._next_batch():
            self._work_off(batch)

    def _next_batch(self) -> Batch | None:
        with self._changed:
            while not self._stop.is_set():
                size = fitting((record.payload_bytes for record, _ in self._buffer), most=self._mapping.batch_size)
                patience = self._patience(size)
                if size and patience <= 0:
                    taken = [self._buffer.popleft()[0] for _ in range(size)]
                    return Batch(tuple(taken))
                if self._closed and not size:
                    return None
                self._changed.wait(patience if size else None)
        return None

    def _patience(self, size: int) -> float:
        """Seconds until the window of the buffered records ends; none left when a batch is full."""
        full = size == self._mapping.batch_size or size < len(self._buffer)
        if not size or full:
            return 0.0
        ((_, since),) = islice(self._buffer, 1)
        return since + self._mapping.window_seconds - time.monotonic()

    def _work_off(self, batch: Batch) -> None:
        todo = deque([batch])
        last: FailedInvocation | None = None
        while todo and not self._stop.is_set():
            whole = todo.popleft()
            expired, current = discard_expired(whole, self._clock(), self._mapping)
            if expired and not self._give_up(expired, last if whole.failures else None):
                return
            if current is None:
                continue
            outcome, last = self._invoke(current, last)
            step = next_step(current, outcome, self._mapping)
            self._tally.add("delivered", len(step.delivered))
            self._progress.settle(step.delivered)
            if step.discard and not self._give_up(step.discard, last):
                return
            todo.extendleft(reversed(step.retry))
            self._stop.wait(self._backoff.seconds(step.pause))

    def _invoke(self, batch: Batch, last: FailedInvocation | None) -> tuple[Outcome, FailedInvocation | None]:
        result = self._invoker.invoke(event_payload(record.event_json for record in batch.records))
        if isinstance(result, NotRun):
            self._tally.add("refused")
            _log.info("%s was not invoked: %s", self._mapping.function_arn, result.reason)
            return result, last
        self._tally.add("invocations")
        outcome = self._outcome(result, batch)
        if not isinstance(outcome, Succeeded):
            self._tally.add("errors")
        invocation = FailedInvocation(
            result.request_id, result.status_code, result.executed_version, result.function_error
        )
        return outcome, invocation

    def _outcome(self, invocation: Invocation, batch: Batch) -> Outcome:
        known = {record.sequence_number for record in batch.records}
        try:
            failed = invocation.failed_items(known, partial_responses=self._mapping.partial_responses)
        except WholeBatchFailed as exc:
            _log.info("%s failed a batch of %d: %s", self._mapping.function_arn, len(known), exc)
            return Failed()
        return FailedFrom(min(failed, key=int)) if failed else Succeeded()

    def _give_up(self, discard: Discard, last: FailedInvocation | None) -> bool:
        notice = failure_notice(self._mapping, self._shard_id, discard, last, now=self._clock())
        if not self._courier.deliver(notice):
            return False
        self._tally.add("discarded", len(discard.records))
        self._progress.settle(discard.records)
        return True
