"""What happens to a batch after an invocation: AWS's rules, with no clock and no AWS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stream_redrive_cli.lab.mapping.records import StreamRecord
from stream_redrive_cli.lab.mapping.settings import NO_LIMIT, StreamMapping

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring records of a lane, in order.

    `failures` counts invocations that used up an attempt; `refusals` counts those in a row that never ran.
    """

    records: tuple[StreamRecord, ...]
    failures: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function accepted every record."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The function raised, timed out, or answered a partial response that fails the whole batch."""


@dataclass(frozen=True, slots=True)
class FailedFrom:
    """The lowest sequence number that the function reported: records before it are done."""

    sequence_number: str


@dataclass(frozen=True, slots=True)
class NotRun:
    """Lambda refused the call (throttle, service error) before the function ran."""

    reason: str


Outcome = Succeeded | Failed | FailedFrom | NotRun


@dataclass(frozen=True, slots=True)
class Discard:
    """Records given up, and how often the function was invoked with them."""

    records: tuple[StreamRecord, ...]
    condition: Condition
    invoke_count: int


@dataclass(frozen=True, slots=True)
class Step:
    """What follows an invocation: every record of the batch is in exactly one of the three parts.

    `retry` is in order and goes before anything younger; `pause` is how many failures in a row to back off for
    (0: go on at once).
    """

    delivered: tuple[StreamRecord, ...] = ()
    discard: Discard | None = None
    retry: tuple[Batch, ...] = ()
    pause: int = 0


def discard_expired(batch: Batch, now: float, mapping: StreamMapping) -> tuple[Discard | None, Batch | None]:
    """Part the expired prefix from the rest; `now` in epoch seconds.

    Only the prefix: an old record behind a young one waits for its turn.
    """
    limit = mapping.maximum_record_age_seconds
    if limit == NO_LIMIT:
        return None, batch
    expired = 0
    while expired < len(batch.records) and now - batch.records[expired].arrived_at > limit:
        expired += 1
    if not expired:
        return None, batch
    # AWS reports one invocation even when there was none.
    gone = Discard(batch.records[:expired], "RecordAgeExceeded", max(1, batch.failures))
    rest = batch.records[expired:]
    return gone, replace(batch, records=rest) if rest else None


def next_step(batch: Batch, outcome: Outcome, mapping: StreamMapping) -> Step:
    """Decide what becomes of a batch after `outcome`."""
    match outcome:
        case Succeeded():
            return Step(delivered=batch.records)
        case NotRun():
            again = replace(batch, refusals=batch.refusals + 1)
            return Step(retry=(again,), pause=again.refusals)
        case Failed():
            return _after_failure(batch, mapping)
        case FailedFrom(sequence_number):
            return _after_partial_failure(batch, int(sequence_number), mapping)


def _after_partial_failure(batch: Batch, checkpoint: int, mapping: StreamMapping) -> Step:
    done = sum(1 for record in batch.records if record.order < checkpoint)
    rest = replace(batch, records=batch.records[done:], refusals=0)
    if done and mapping.bisect:
        # Split at the reported number; splitting uses up no attempt.
        return Step(delivered=batch.records[:done], retry=(rest,))
    # Reported from the first record on, a split at that number would part nothing: halve, as after an exception.
    return replace(_after_failure(rest, mapping), delivered=batch.records[:done])


def _after_failure(batch: Batch, mapping: StreamMapping) -> Step:
    size = len(batch.records)
    if mapping.bisect and size > 1:
        middle = size // 2
        halves = (batch.records[:middle], batch.records[middle:])
        return Step(retry=tuple(Batch(half, batch.failures) for half in halves))
    failures = batch.failures + 1
    if mapping.maximum_retry_attempts != NO_LIMIT and failures > mapping.maximum_retry_attempts:
        return Step(discard=Discard(batch.records, "RetryAttemptsExhausted", failures))
    return Step(retry=(Batch(batch.records, failures),), pause=failures)
