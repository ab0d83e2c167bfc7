"""Redrive: what a run makes of the call that the run before it left open."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream_redrive.core.errors import ServiceUnreachable
from stream_redrive.core.ports import Page, PutResult, RedrivenCopy
from stream_redrive.core.records import Lineage, Origin
from tests.support.build import SHARD_ID
from tests.support.cuts import Cuts
from tests.support.memory import MemoryClock, MemoryStream
from tests.support.redriving import (
    SETTLE_SECONDS,
    contents,
    copies,
    first_copies,
    lineages,
    redrive,
    redrive_until_done,
)
from tests.support.scene import STREAM_NAME, Scene


class DyingStream(MemoryStream):
    """A stream whose next put gets no answer, before or after it took effect."""

    dies: str | None = None
    lands: int | None = None

    def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
        dies, self.dies = self.dies, None
        if dies == "before":
            raise ServiceUnreachable("kinesis:PutRecords")
        results = super().put(stream_arn, records[: self.lands] if dies else records)
        if dies == "after":
            raise ServiceUnreachable("kinesis:PutRecords")
        return results


def dying(scene: Scene, dies: str, lands: int | None = None) -> None:
    """Put a dying stream in the place of the scene's own, with what that one holds."""
    stream = DyingStream(len(scene.stream.records), clock=scene.clock)
    stream.records, stream._numbers = scene.stream.records, scene.stream._numbers
    stream.dies, stream.lands = dies, lands
    scene.stream = stream


@pytest.mark.parametrize(("dies", "puts"), [("before", [b"0", b"1", b"2"]), ("after", [])])
def test_the_next_run_sends_exactly_what_had_not_landed(dies: str, puts: list[bytes]) -> None:
    scene = Scene(shards=3)
    produced = [scene.stream.produce(f"key-{n}", b"%d" % n) for n in range(30)]
    held = [record for record in produced if record.shard_id == SHARD_ID][:3]
    failed = scene.fail(held)
    dying(scene, dies)
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    scene.stream.calls.clear()
    assert redrive(scene, failed).summary.sent == 3
    assert scene.stream.calls.count("put") == (1 if puts else 0)
    assert contents(copies(scene, produced)) == contents(held)
    assert lineages(scene) == first_copies(held)


@pytest.mark.parametrize("lands", [0, 1, 2, 3])
def test_of_a_call_that_landed_in_part_only_the_rest_is_sent(lands: int) -> None:
    scene = Scene()
    produced = scene.produce(b"0", b"1", b"2")
    failed = scene.fail(produced)
    dying(scene, "after", lands)
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    assert redrive(scene, failed).summary.sent == 3
    assert [copy.data for copy in copies(scene, produced)] == [b"0", b"1", b"2"]
    assert lineages(scene) == first_copies(produced)


@pytest.mark.parametrize("lands", [0, 1, 2, 3])
def test_of_identical_records_that_landed_in_part_only_the_rest_is_sent(lands: int) -> None:
    scene = Scene()
    produced = scene.produce(b"same", b"same", b"same")
    failed = scene.fail(produced)
    dying(scene, "after", lands)
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    redrive(scene, failed)
    assert len(copies(scene, produced)) == 3
    assert lineages(scene) == first_copies(produced)


def test_the_originals_are_not_taken_for_their_copies_though_they_arrived_a_moment_ago() -> None:
    scene = Scene()
    produced = scene.produce(b"0", b"1")
    failed = scene.fail(produced)
    dying(scene, "before")
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    redrive(scene, failed)
    assert contents(copies(scene, produced)) == contents(produced)


def test_a_copy_that_a_fast_clock_stamped_before_the_announcement_is_found() -> None:
    scene = Scene()
    produced = scene.produce(b"0")
    scene.clock.time += timedelta(minutes=1)
    failed = scene.fail(produced)
    dying(scene, "after")
    scene.stream.clock = MemoryClock(scene.clock.time - timedelta(seconds=1.5))
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    redrive(scene, failed)
    assert len(copies(scene, produced)) == 1


def test_another_incidents_copy_of_the_same_payload_is_not_taken_for_ours() -> None:
    scene = Scene()
    produced = scene.produce(b"same")
    failed = scene.fail(produced)
    dying(scene, "before")
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    (foreign,) = scene.produce(b"same")
    scene.redriven_before(foreign, 1, Origin(SHARD_ID, "55"))
    redrive(scene, failed)
    assert len(copies(scene, [*produced, foreign])) == 1
    assert Lineage(Origin(SHARD_ID, produced[0].sequence_number), 1) in lineages(scene)


def test_an_earlier_attempts_copy_is_not_taken_for_this_ones() -> None:
    scene = Scene()
    (original,) = scene.produce(b"same")
    redrive(scene, scene.fail([original]))
    (copy,) = copies(scene, [original])
    again = scene.fail([copy])
    dying(scene, "before")
    with pytest.raises(ServiceUnreachable):
        redrive(scene, again)
    redrive(scene, again)
    assert len(copies(scene, [original])) == 2
    assert lineages(scene)[Lineage(Origin(SHARD_ID, original.sequence_number), 2)] == 1


def test_of_identical_copies_those_whose_lineage_is_written_keep_it() -> None:
    scene = Scene()
    first, second = scene.produce(b"same", b"same")
    failed = scene.fail([first, second])
    dying(scene, "after")
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    # The service may land records of one call in any order, and the bookkeeping was cut half-way.
    later = copies(scene, [first, second])[1]
    known = Lineage(Origin(SHARD_ID, first.sequence_number), 1)
    scene.ledger.record_redriven(
        STREAM_NAME, failed.id, [RedrivenCopy(Origin(SHARD_ID, later.sequence_number), known, known.origin)]
    )
    redrive(scene, failed)
    assert len(copies(scene, [first, second])) == 2
    assert lineages(scene) == first_copies([first, second])


def test_a_run_waits_until_the_call_that_was_cut_can_no_longer_land() -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"0"))
    dying(scene, "before")
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    scene.clock.time += timedelta(seconds=5)
    redrive(scene, failed)
    assert scene.clock.slept == [10]


def test_a_run_that_comes_late_enough_does_not_wait() -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"0"))
    dying(scene, "after")
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    scene.clock.time += timedelta(seconds=SETTLE_SECONDS)
    redrive(scene, failed)
    assert scene.clock.slept == []


def test_looking_for_what_landed_survives_empty_pages_expired_iterators_and_closed_shards() -> None:
    scene = Scene(shards=2)
    produced = [scene.stream.produce(f"key-{n}", b"%d" % n) for n in range(40)]
    held = [record for record in produced if record.shard_id == SHARD_ID]
    failed = scene.fail(held)
    dying(scene, "after")
    scene.stream.page_size = 3
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    scene.stream.empty_pages, scene.stream.expire_next_read = 2, True
    scene.stream.closed.add("shardId-000000000001")
    assert redrive(scene, failed).summary.sent == len(held)
    assert contents(copies(scene, produced)) == contents(held)


def test_looking_for_what_landed_ends_though_the_producers_never_pause() -> None:
    class LivelyStream(DyingStream):
        """A stream that gets another record with each read."""

        def read(self, stream_arn: str, iterator: str) -> Page:
            assert self.calls.count("read") < 100, "the reader runs after the producers for ever"
            self.clock.time += timedelta(seconds=0.2)
            self.produce("k", b"fresh")
            return super().read(stream_arn, iterator)

    scene = Scene()
    scene.stream = LivelyStream(clock=scene.clock)
    produced = scene.produce(b"0")
    failed = scene.fail(produced)
    scene.stream.dies = "after"
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    scene.stream.calls.clear()
    assert redrive(scene, failed).summary.sent == 1
    assert [copy.data for copy in copies(scene, produced)].count(b"0") == 1


def test_looking_for_what_landed_ends_though_the_reader_never_catches_up() -> None:
    class BehindStream(DyingStream):
        """A stream whose reader is always a page behind."""

        def read(self, stream_arn: str, iterator: str) -> Page:
            assert self.calls.count("read") < 100, "the reader runs after the producers for ever"
            self.clock.time += timedelta(seconds=0.2)
            for _ in range(2 * self.page_size):
                self.produce("k", b"fresh")
            return super().read(stream_arn, iterator)

    scene = Scene()
    scene.stream = BehindStream(clock=scene.clock, page_size=5)
    produced = scene.produce(b"0")
    failed = scene.fail(produced)
    scene.stream.dies = "after"
    with pytest.raises(ServiceUnreachable):
        redrive(scene, failed)
    scene.stream.calls.clear()
    assert redrive(scene, failed).summary.sent == 1
    assert [copy.data for copy in copies(scene, produced)].count(b"0") == 1


# Any call to any port, cut before or after it took effect


def test_every_single_cut_leaves_exactly_one_copy_of_each_record() -> None:
    def run(cuts: Cuts) -> None:
        scene = Scene(decoder="json")
        produced = scene.produce(b"{}", b"bad", b"[]", b"[]", b"1", b"1")
        failed = scene.fail(produced)
        scene.stream.refuse_next = {2}
        redrive_until_done(scene, failed, cuts)
        good = [record for record in produced if record.data != b"bad"]
        assert contents(copies(scene, produced)) == contents(good)
        assert lineages(scene) == first_copies(good)

    clean = Cuts()
    run(clean)
    assert clean.calls > 8
    for call in range(1, clean.calls + 1):
        for after_effect in (False, True):
            run(Cuts({call: after_effect}))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([b"same", b"other", b"third"])), min_size=1, max_size=9),
    st.dictionaries(st.integers(1, 40), st.booleans(), max_size=8),
    st.frozensets(st.integers(0, 8), max_size=4),
    st.integers(0, 2),
    st.integers(1, 4),
)
@settings(max_examples=250, deadline=None)
def test_whatever_is_cut_each_record_has_exactly_one_copy_with_one_attempt_more(
    produced_as: list[tuple[str, bytes]],
    cuts: dict[int, bool],
    refused: frozenset[int],
    attempt: int,
    page_size: int,
) -> None:
    scene = Scene(shards=2, max_attempts=9)
    scene.stream.page_size = page_size
    produced = [scene.stream.produce(key, data) for key, data in produced_as]
    held = [record for record in produced if record.shard_id == SHARD_ID]
    assume(held)
    expected = first_copies(held)
    if attempt:
        lineage = scene.redriven_before(held[0], attempt)
        expected = first_copies(held[1:]) + Counter([lineage, Lineage(lineage.origin, attempt + 1)])
    failed = scene.fail(held)
    scene.stream.refuse_next = set(refused)
    result = redrive_until_done(scene, failed, Cuts(cuts))
    assert contents(copies(scene, produced)) == contents(held)
    assert lineages(scene) == expected
    assert result.summary.sent == len(held)
