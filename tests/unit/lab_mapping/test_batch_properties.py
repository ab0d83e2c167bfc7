"""The promises of retries and bisect, for any batch, any consumer and any settings with finite retries."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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
from stream_redrive_cli.lab.mapping.settings import StreamMapping
from tests.unit.lab_mapping.support import mapping, records

SIZES = st.integers(min_value=1, max_value=40)


@dataclass
class Consumer:
    """Fails on its poison; now and then it is throttled or fails for no reason."""

    poison: frozenset[int]
    partial: bool = False
    whims: deque[str] = field(default_factory=deque)

    def __call__(self, batch: Batch) -> Outcome:
        whim = self.whims.popleft() if self.whims else "none"
        if whim == "throttle":
            return NotRun("throttled")
        if whim == "outage":
            return Failed()
        bad = [r for r in batch.records if r.order in self.poison]
        if not bad:
            return Succeeded()
        return FailedFrom(min(bad, key=lambda r: r.order).sequence_number) if self.partial else Failed()


@dataclass
class Run:
    """What came of a batch."""

    delivered: list[int] = field(default_factory=list)
    discards: list[Discard] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    ran: int = 0


def work_off(batch: Batch, consumer: Consumer, settings: StreamMapping) -> Run:
    """Each invocation takes a second; the records arrived at 0."""
    run, now = Run(), 0
    todo = deque([batch])
    while todo:
        expired, current = discard_expired(todo.popleft(), now, settings)
        if expired:
            run.discards.append(expired)
            run.ends += [r.order for r in expired.records]
        if current is None:
            continue
        outcome = consumer(current)
        now += 1
        run.ran += not isinstance(outcome, NotRun)
        step = next_step(current, outcome, settings)
        run.delivered += [r.order for r in step.delivered]
        run.ends += [r.order for r in step.delivered]
        if step.discard:
            run.discards.append(step.discard)
            run.ends += [r.order for r in step.discard.records]
        todo.extendleft(reversed(step.retry))
        assert run.ran < 50_000, "the batch never ends"
    return run


@st.composite
def cases(draw: st.DrawFn, /, **fixed: Any) -> tuple[Batch, Consumer, StreamMapping]:
    batch = Batch(records(draw(SIZES)))
    poison = draw(st.sets(st.sampled_from([r.order for r in batch.records])))
    whims = draw(st.lists(st.sampled_from(["none", "throttle", "outage"]), max_size=30))
    partial = fixed.pop("partial", None)
    settings: dict[str, Any] = {
        "maximum_retry_attempts": draw(st.integers(0, 6)),
        "maximum_record_age_seconds": draw(st.sampled_from([-1, 60])),
        "bisect": draw(st.booleans()),
    }
    consumer = Consumer(
        frozenset(poison),
        draw(st.booleans()) if partial is None else partial,
        deque(whims) if fixed.pop("whims", True) else deque(),
    )
    return batch, consumer, mapping(**settings | fixed)


@given(cases())
def test_every_record_ends_delivered_or_in_exactly_one_notice(
    case: tuple[Batch, Consumer, StreamMapping],
) -> None:
    batch, consumer, settings = case
    run = work_off(batch, consumer, settings)
    noticed = [r.order for discard in run.discards for r in discard.records]
    assert Counter(run.delivered + noticed) == Counter(r.order for r in batch.records)
    assert not consumer.poison & set(run.delivered)


@given(cases())
def test_records_are_settled_in_order(case: tuple[Batch, Consumer, StreamMapping]) -> None:
    batch, consumer, settings = case
    assert work_off(batch, consumer, settings).ends == [r.order for r in batch.records]


@given(cases())
def test_a_notice_covers_neighbouring_records(case: tuple[Batch, Consumer, StreamMapping]) -> None:
    batch, consumer, settings = case
    for discard in work_off(batch, consumer, settings).discards:
        numbers = [r.order for r in discard.records]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


@given(cases(bisect=True, maximum_record_age_seconds=-1, whims=False))
def test_with_bisect_each_poison_pill_is_alone_in_its_notice(
    case: tuple[Batch, Consumer, StreamMapping],
) -> None:
    batch, consumer, settings = case
    run = work_off(batch, consumer, settings)
    assert all(len(discard.records) == 1 for discard in run.discards)
    assert {discard.records[0].order for discard in run.discards} == consumer.poison
    assert set(run.delivered) == {r.order for r in batch.records} - consumer.poison
    assert all(d.invoke_count == settings.maximum_retry_attempts + 1 for d in run.discards)


@given(cases(maximum_record_age_seconds=-1))
def test_the_number_of_invocations_is_bounded(case: tuple[Batch, Consumer, StreamMapping]) -> None:
    batch, consumer, settings = case
    size, attempts = len(batch.records), settings.maximum_retry_attempts + 1
    run = work_off(batch, consumer, settings)
    if settings.bisect:
        # A tree with one leaf a record: fewer splits than records, and each leaf has its attempts.
        assert run.ran <= 2 * size - 1 + size * settings.maximum_retry_attempts
    else:
        assert run.ran <= attempts


@given(cases(bisect=False, partial=False, maximum_record_age_seconds=-1, whims=False))
def test_without_bisect_a_notice_covers_innocent_records_too(
    case: tuple[Batch, Consumer, StreamMapping],
) -> None:
    batch, consumer, settings = case
    run = work_off(batch, consumer, settings)
    expected = [batch.records] if consumer.poison else []
    assert [discard.records for discard in run.discards] == expected
