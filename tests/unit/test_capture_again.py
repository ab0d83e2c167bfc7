"""Capture: runs that end early, run again or run side by side."""

import pytest

from stream_redrive.core.errors import ServiceBusy, WriteConflict
from stream_redrive.core.ports import Page
from tests.support.build import SHARD_ID, incident, notice_of
from tests.support.capturing import Bench, streamed
from tests.support.memory import MemoryClock, MemoryStream, MemoryVault


class StoppingClock(MemoryClock):
    """A clock on which time runs out whenever it is asked."""

    def remaining_seconds(self) -> float:
        return 59.0


def test_a_run_near_its_time_limit_saves_what_it_has_and_asks_to_be_called_again() -> None:
    bench = Bench(MemoryStream(page_size=4))
    produced = bench.produce(10)
    failed = incident(notice_of(produced))
    bench.clock = StoppingClock()
    runs = [bench.capture(failed) for _ in range(3)]
    assert [(run.more, run.records, run.outcome) for run in runs] == [
        (True, 4, None),
        (True, 8, None),
        (False, 10, "COMPLETE"),
    ]
    assert streamed(bench.captured(failed)) == produced


def test_a_run_that_reached_the_end_just_in_time_is_done() -> None:
    bench = Bench()
    failed = incident(notice_of(bench.produce(3)))
    bench.clock = StoppingClock()
    assert not bench.capture(failed).more


def test_going_on_reads_nothing_again() -> None:
    bench = Bench(MemoryStream(page_size=4))
    failed = incident(notice_of(bench.produce(8)))
    clock, bench.clock = bench.clock, StoppingClock()
    bench.capture(failed)
    bench.clock = clock
    bench.stream.calls.clear()
    bench.capture(failed)
    assert bench.stream.calls == ["open_after", "read"]


def test_a_run_after_the_last_one_changes_nothing() -> None:
    bench = Bench()
    failed = incident(notice_of(bench.produce(600)))
    first = bench.capture(failed)
    objects = dict(bench.vault.objects)
    bench.stream.calls.clear()
    assert bench.capture(failed) == first
    assert bench.vault.objects == objects
    assert bench.stream.calls == []


@pytest.mark.parametrize("of_trimmed", ["later", "nothing", "rejected"])
def test_what_was_captured_stays_captured_when_the_stream_forgets_between_two_runs(of_trimmed: str) -> None:
    bench = Bench(MemoryStream(page_size=4))
    bench.stream.of_trimmed = of_trimmed  # type: ignore[assignment]
    produced = bench.produce(10)
    failed = incident(notice_of(produced))
    clock, bench.clock = bench.clock, StoppingClock()
    bench.capture(failed)
    bench.stream.trim(SHARD_ID, 6)
    bench.clock = clock
    result = bench.capture(failed)
    assert (result.records, result.missing, result.outcome) == (8, 2, "PARTIAL")
    assert streamed(bench.captured(failed)) == produced[:4] + produced[6:]


class ContestedVault(MemoryVault):
    """A vault in which another run writes each chunk a moment earlier."""

    def put_new(self, key: str, body: bytes) -> bool:
        super().put_new(key, body)
        return super().put_new(key, body)


def test_of_two_runs_at_once_one_gives_way() -> None:
    bench = Bench()
    failed = incident(notice_of(bench.produce(3)))
    bench.vault = ContestedVault()
    with pytest.raises(WriteConflict, match="00000"):
        bench.capture(failed)


class BusyStream(MemoryStream):
    def read(self, stream_arn: str, iterator: str) -> Page:
        raise ServiceBusy("kinesis:GetRecords")


def test_a_busy_service_ends_the_run_with_an_error_that_is_worth_another_run() -> None:
    bench = Bench(BusyStream())
    with pytest.raises(ServiceBusy):
        bench.capture(incident(notice_of(bench.produce(3))))
