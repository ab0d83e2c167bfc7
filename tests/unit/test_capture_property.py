"""Capture under any stream, any failed ranges and any trouble: each record of the ranges once, in order, unchanged."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_redrive.core import chunks
from stream_redrive.core.capture import CaptureRecords, CaptureResult
from stream_redrive.core.errors import ServiceUnreachable
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.ports import Page
from stream_redrive.core.records import Record, StreamRecord
from tests.support.build import SHARD_ID, incident, notice_of
from tests.support.cuts import Cuts
from tests.support.memory import MemoryClock, MemoryLedger, MemoryStream, MemoryVault


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, each by its turn: reads that fail or come empty, runs that stop or are cut."""

    page_size: int
    expired_reads: frozenset[int]
    empty_reads: frozenset[int]
    stops: frozenset[int]
    cuts: dict[int, bool]


TURNS = st.frozensets(st.integers(1, 12), max_size=6)
TROUBLES = st.builds(
    Trouble,
    page_size=st.integers(1, 20),
    expired_reads=TURNS,
    empty_reads=TURNS,
    stops=TURNS,
    cuts=st.dictionaries(st.integers(1, 30), st.booleans(), max_size=3),
)
CONTENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "\u00e4\U0001f600", "d"]), st.binary(max_size=40)), min_size=1, max_size=40
)
SPANS = st.frozensets(st.tuples(st.integers(0, 39), st.integers(0, 9)), min_size=1, max_size=8)
OF_TRIMMED = st.sampled_from(["later", "nothing", "rejected"])


class TroubledStream(MemoryStream):
    """A stream with the reads of a Trouble."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(shards=2, page_size=trouble.page_size)
        self._trouble = trouble
        self._reads = 0

    def read(self, stream_arn: str, iterator: str) -> Page:
        self._reads += 1
        self.expire_next_read = self._reads in self._trouble.expired_reads
        self.empty_pages = int(self._reads in self._trouble.empty_reads)
        return super().read(stream_arn, iterator)


class StoppingClock(MemoryClock):
    """A clock on which time is up whenever its turn comes."""

    def __init__(self, stops: frozenset[int]) -> None:
        super().__init__()
        self._stops = stops
        self._asked = 0

    def remaining_seconds(self) -> float:
        self._asked += 1
        return 30.0 if self._asked in self._stops else 800.0


class Runs:
    """Runs a capture again and again until it is done."""

    def __init__(self, stream: MemoryStream, trouble: Trouble) -> None:
        cuts = Cuts(trouble.cuts)
        self.vault = MemoryVault()
        self._capture = CaptureRecords(
            cuts.guard(stream), cuts.guard(self.vault), cuts.guard(MemoryLedger()), StoppingClock(trouble.stops)
        )

    def until_done(self, failed: Incident) -> CaptureResult:
        for _ in range(60):
            try:
                result = self._capture(failed)
            except ServiceUnreachable:
                continue
            if not result.more:
                return result
        raise AssertionError("the capture never ends")

    def captured(self, failed: Incident) -> list[Record]:
        manifest = CaptureManifest.load(self.vault, failed.id)
        return [r for chunk in manifest.chunks for r in chunks.decode(self.vault.objects[chunk.key])]


def failed_batches(
    held: list[StreamRecord], spans: frozenset[tuple[int, int]]
) -> tuple[list[list[StreamRecord]], list[StreamRecord]]:
    """The batches that failed, and all records of theirs, each once, in the order of the shard."""
    cut = {(start % len(held), min(start % len(held) + more, len(held) - 1)) for start, more in spans}
    covered = {n for first, last in cut for n in range(first, last + 1)}
    return [held[first : last + 1] for first, last in sorted(cut)], [held[n] for n in sorted(covered)]


def fill(stream: MemoryStream, contents: list[tuple[str, bytes]]) -> list[StreamRecord]:
    """Produce the records; those of the first shard, of which there is always one."""
    for key, data in contents:
        stream.produce(key, data)
        stream.clock.time += timedelta(milliseconds=1500)
    while not stream.records[SHARD_ID]:
        stream.produce(f"key-{stream.clock.time}", b"filler")
        stream.clock.time += timedelta(milliseconds=1500)
    return list(stream.records[SHARD_ID])


@given(CONTENTS, SPANS, TROUBLES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_exactly_the_records_of_the_ranges_are_captured_in_order_once_and_unchanged(
    contents: list[tuple[str, bytes]], spans: frozenset[tuple[int, int]], trouble: Trouble, closed: bool
) -> None:
    stream = TroubledStream(trouble)
    batches, wanted = failed_batches(fill(stream, contents), spans)
    if closed:
        stream.closed.add(SHARD_ID)
    failed = incident(*map(notice_of, batches))
    runs = Runs(stream, trouble)
    result = runs.until_done(failed)
    captured = runs.captured(failed)
    assert [record.stream for record in captured] == wanted
    assert (result.outcome, result.records, result.missing) == ("COMPLETE", len(wanted), 0)


@given(CONTENTS, SPANS, TROUBLES, st.integers(1, 20), OF_TRIMMED)
@settings(max_examples=200, deadline=None)
def test_of_a_trimmed_shard_all_that_is_left_is_captured_and_the_rest_is_reported(
    contents: list[tuple[str, bytes]],
    spans: frozenset[tuple[int, int]],
    trouble: Trouble,
    trimmed: int,
    of_trimmed: Literal["later", "nothing", "rejected"],
) -> None:
    stream = TroubledStream(trouble)
    batches, wanted = failed_batches(fill(stream, contents), spans)
    stream.of_trimmed = of_trimmed
    stream.trim(SHARD_ID, trimmed)
    left = set(stream.records[SHARD_ID])
    failed = incident(*map(notice_of, batches))
    runs = Runs(stream, trouble)
    result = runs.until_done(failed)
    assert [record.stream for record in runs.captured(failed)] == [r for r in wanted if r in left]
    assert result.missing == sum(record not in left for batch in batches for record in batch)
    assert result.ambiguous == 0
