"""What happens to a batch after an invocation, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from stream_redrive_cli.lab.mapping.batch import (
    Batch,
    Discard,
    Failed,
    FailedFrom,
    NotRun,
    Step,
    Succeeded,
    discard_expired,
    next_step,
)
from tests.unit.lab_mapping.support import mapping, record, records

FOUR = records(4)  # 9, 10, 11, 12


def test_success_delivers_the_whole_batch() -> None:
    assert next_step(Batch(FOUR), Succeeded(), mapping()) == Step(delivered=FOUR)


def test_failed_batch_is_retried_whole_without_bisect() -> None:
    step = next_step(Batch(FOUR), Failed(), mapping(maximum_retry_attempts=2))
    assert step == Step(retry=(Batch(FOUR, failures=1),), pause=1)


@pytest.mark.parametrize("retries", [0, 1, 5, 10_000])
def test_n_retries_are_n_plus_one_invocations(retries: int) -> None:
    settings = mapping(maximum_retry_attempts=retries)
    last = next_step(Batch(FOUR, failures=retries), Failed(), settings)
    assert last == Step(discard=Discard(FOUR, "RetryAttemptsExhausted", retries + 1))
    if retries:
        assert next_step(Batch(FOUR, failures=retries - 1), Failed(), settings).retry


def test_endless_retries_never_give_up() -> None:
    step = next_step(Batch(FOUR, failures=99_999), Failed(), mapping(maximum_retry_attempts=-1))
    assert step.retry == (Batch(FOUR, failures=100_000),)


def test_bisect_halves_at_once_and_uses_up_no_retry() -> None:
    step = next_step(Batch(FOUR), Failed(), mapping(bisect=True, maximum_retry_attempts=0))
    assert step == Step(retry=(Batch(FOUR[:2]), Batch(FOUR[2:])))


def test_bisect_at_size_one_retries_as_usual() -> None:
    settings = mapping(bisect=True, maximum_retry_attempts=1)
    assert next_step(Batch(FOUR[:1]), Failed(), settings).retry == (Batch(FOUR[:1], failures=1),)
    assert next_step(Batch(FOUR[:1], failures=1), Failed(), settings).discard == Discard(
        FOUR[:1], "RetryAttemptsExhausted", 2
    )


def test_throttle_is_no_retry() -> None:
    step = next_step(Batch(FOUR, failures=3), NotRun("throttled"), mapping(maximum_retry_attempts=3, bisect=True))
    assert step == Step(retry=(Batch(FOUR, failures=3, refusals=1),), pause=1)


def test_throttles_in_a_row_back_off_longer_and_a_run_ends_the_row() -> None:
    again = next_step(Batch(FOUR, refusals=4), NotRun("throttled"), mapping())
    assert again.pause == 5
    assert next_step(again.retry[0], Failed(), mapping()).retry == (Batch(FOUR, failures=1),)


def test_partial_response_is_a_checkpoint() -> None:
    step = next_step(Batch(FOUR), FailedFrom("11"), mapping(maximum_retry_attempts=2))
    assert step == Step(delivered=FOUR[:2], retry=(Batch(FOUR[2:], failures=1),), pause=1)


def test_partial_response_with_no_retry_left_discards_from_the_checkpoint() -> None:
    step = next_step(Batch(FOUR, failures=2), FailedFrom("11"), mapping(maximum_retry_attempts=2))
    assert step == Step(delivered=FOUR[:2], discard=Discard(FOUR[2:], "RetryAttemptsExhausted", 3))


def test_partial_response_with_bisect_splits_at_the_reported_number() -> None:
    step = next_step(Batch(FOUR), FailedFrom("12"), mapping(bisect=True, maximum_retry_attempts=0))
    assert step == Step(delivered=FOUR[:3], retry=(Batch(FOUR[3:]),))


def test_partial_response_from_the_first_record_with_bisect_halves() -> None:
    step = next_step(Batch(FOUR), FailedFrom("9"), mapping(bisect=True, maximum_retry_attempts=0))
    assert step == Step(retry=(Batch(FOUR[:2]), Batch(FOUR[2:])))


@pytest.mark.parametrize(
    ("arrivals", "expired"),
    [
        ([100, 100, 100], 0),
        ([39, 100, 100], 1),
        ([39, 39, 39], 3),
        ([40, 100, 100], 0),  # exactly at the limit is still young enough
        ([100, 39, 100], 0),  # an old record behind a young one waits
        ([39, 100, 39], 1),
    ],
)
def test_only_the_expired_prefix_is_discarded(arrivals: list[float], expired: int) -> None:
    batch = Batch(tuple(record(n, arrived_at=at) for n, at in enumerate(arrivals)), failures=3)
    gone, rest = discard_expired(batch, 100.0, mapping(maximum_record_age_seconds=60))
    assert gone == (Discard(batch.records[:expired], "RecordAgeExceeded", 3) if expired else None)
    assert rest == (Batch(batch.records[expired:], failures=3) if expired < 3 else None)


def test_expired_batch_that_never_ran_reports_one_invocation() -> None:
    gone, _ = discard_expired(Batch(FOUR), 1_000.0, mapping(maximum_record_age_seconds=60))
    assert gone is not None
    assert gone.invoke_count == 1


def test_without_an_age_limit_nothing_expires() -> None:
    batch = Batch(FOUR)
    assert discard_expired(batch, 1e12, mapping()) == (None, batch)


@pytest.mark.parametrize("settings", [{}, {"bisect": True}])
def test_sequence_numbers_compare_as_numbers(settings: dict[str, Any]) -> None:
    # As strings "10" comes before "9".
    step = next_step(Batch(FOUR), FailedFrom("10"), mapping(**settings))
    assert [r.order for r in step.delivered] == [9]
