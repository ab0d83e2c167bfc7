"""Redrive: what is sent, how often, and where a run that ends early leaves off."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from stream_redrive.core.errors import ServiceBusy, VaultObjectMissing, WriteConflict
from stream_redrive.core.ports import PutResult, RedriveCursor
from stream_redrive.core.records import Lineage, Origin
from tests.support.build import SHARD_ID, incident, notice, notice_of
from tests.support.memory import MemoryLedger, MemoryStream
from tests.support.redriving import contents, copies, first_copies, lineages, redrive
from tests.support.scene import STREAM_NAME, Scene

# What is sent


@pytest.mark.parametrize(
    ("key", "data"),
    [("k", b""), ("\u00e4\U0001f600" * 128, bytes(range(256))), ("k", b"\xf3\x89\x9a\xc2"), ("k", bytes(1024 * 1024))],
    ids=["empty", "unicode key", "aggregate", "1 MiB"],
)
def test_a_record_goes_back_byte_for_byte_under_its_own_key(key: str, data: bytes) -> None:
    scene = Scene()
    (original,) = scene.produce(data, key=key)
    failed = scene.fail([original])
    scene.clock.time += timedelta(minutes=1)
    assert redrive(scene, failed).summary.sent == 1
    (copy,) = copies(scene, [original])
    assert (copy.partition_key, copy.data) == (key, data)


def test_only_transient_records_go_back() -> None:
    scene = Scene(decoder="json")
    produced = scene.produce(b"{}", b"bad", b"[]", b"bad")
    redrive(scene, scene.fail(produced))
    assert [copy.data for copy in copies(scene, produced)] == [b"{}", b"[]"]


def test_of_an_ambiguous_range_only_what_was_surely_in_the_batch_is_redriven() -> None:
    scene = Scene()
    produced = [scene.produce(data, key=f"k{data!r}")[0] for data in (b"1", b"2", b"3", b"4", b"5")]
    failed = incident(notice(produced[0].sequence_number, produced[-1].sequence_number, 3))
    scene.capture(failed)
    scene.classify(failed)
    assert redrive(scene, failed).summary.sent == 2
    assert [copy.data for copy in copies(scene, produced)] == [b"1", b"5"]


def test_a_record_that_was_processed_already_is_not_redriven() -> None:
    scene = Scene(probe={"enabled": True})
    produced = scene.produce(b"1", b"2")
    failed = incident(*(notice_of([record]) for record in produced))
    scene.capture(failed)
    result = scene.classify(failed)
    assert (result.redrive, result.processed, result.verdicts["transient"]) == (False, 2, 2)
    assert redrive(scene, failed).summary.sent == 0
    assert copies(scene, produced) == []


def test_sent_is_never_called_healed() -> None:
    scene = Scene()
    result = redrive(scene, scene.fail(scene.produce(b"1", b"2")))
    assert result.to_dict() == {
        "more": False,
        "summary": {
            "target": "stream",
            "sent": 2,
            "healed": 0,
            "unconfirmed": 2,
            "failed_again": 0,
            "attempts": 1,
        },
    }


def test_with_nothing_to_send_nothing_is_put_and_no_attempt_is_counted() -> None:
    scene = Scene(default="held")
    result = redrive(scene, scene.fail(scene.produce(b"1")))
    assert (result.more, result.summary.sent, result.summary.attempts) == (False, 0, 0)
    assert "put" not in scene.stream.calls


def test_a_copy_keeps_its_origin_and_counts_one_attempt_more() -> None:
    scene = Scene()
    fresh, copied = scene.produce(b"fresh", b"copied")
    earlier = scene.redriven_before(copied, 2, Origin("shardId-000000000009", "77"))
    redrive(scene, scene.fail([fresh, copied]))
    assert [
        scene.ledger.lineage[STREAM_NAME, Origin(SHARD_ID, c.sequence_number)] for c in copies(scene, [fresh, copied])
    ] == [
        Lineage(Origin(SHARD_ID, fresh.sequence_number), 1),
        Lineage(earlier.origin, 3),
    ]


def test_records_are_put_in_calls_of_five_hundred() -> None:
    scene = Scene()
    produced = scene.produce(*(b"%d" % n for n in range(1_001)))
    failed = scene.fail(produced)
    assert redrive(scene, failed).summary.sent == 1_001
    assert scene.stream.calls.count("put") == 3
    assert [copy.data for copy in copies(scene, produced)] == [record.data for record in produced]


def test_a_run_after_the_last_one_sends_nothing_and_says_the_same() -> None:
    scene = Scene()
    produced = scene.produce(b"1", b"2")
    failed = scene.fail(produced)
    first = redrive(scene, failed)
    assert redrive(scene, failed) == first
    assert len(copies(scene, produced)) == 2


def test_an_incident_that_is_not_classified_cannot_be_redriven() -> None:
    scene = Scene()
    failed = incident(notice_of(scene.produce(b"1")))
    scene.capture(failed)
    with pytest.raises(VaultObjectMissing):
        redrive(scene, failed)


# Records that the stream refuses


def test_only_the_records_that_were_refused_are_put_again() -> None:
    scene = Scene()
    produced = scene.produce(b"0", b"1", b"2", b"3")
    failed = scene.fail(produced)
    scene.stream.refuse_next = {1, 3}
    assert redrive(scene, failed).summary.sent == 4
    assert [copy.data for copy in copies(scene, produced)] == [b"0", b"2", b"1", b"3"]
    assert lineages(scene) == first_copies(produced)


def test_refused_records_ride_with_the_next_call() -> None:
    scene = Scene()
    produced = scene.produce(*(b"%d" % n for n in range(700)))
    failed = scene.fail(produced)
    scene.stream.refuse_next = set(range(300))
    redrive(scene, failed)
    assert scene.stream.calls.count("put") == 2
    assert lineages(scene) == first_copies(produced)


class RefusingStream(MemoryStream):
    """A stream that refuses every record while it is told to."""

    refusing = True

    def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
        if self.refusing:
            self.refuse_next = set(range(len(records)))
        return super().put(stream_arn, records)


def test_a_stream_that_refuses_for_ever_ends_the_run_and_the_next_one_loses_and_doubles_nothing() -> None:
    scene = Scene()
    scene.stream = RefusingStream(clock=scene.clock)
    produced = scene.produce(b"0", b"1", b"2")
    failed = scene.fail(produced)
    with pytest.raises(ServiceBusy):
        redrive(scene, failed)
    assert copies(scene, produced) == []
    scene.stream.refusing = False
    assert redrive(scene, failed).summary.sent == 3
    assert contents(copies(scene, produced)) == contents(produced)
    assert lineages(scene) == first_copies(produced)


def test_between_two_refusals_a_run_waits_longer_and_longer() -> None:
    scene = Scene()
    scene.stream = RefusingStream(clock=scene.clock)
    failed = scene.fail(scene.produce(b"0"))
    with pytest.raises(ServiceBusy):
        redrive(scene, failed)
    assert scene.clock.slept == sorted(scene.clock.slept)
    assert scene.clock.slept[0] < 1 < scene.clock.slept[-1] <= 10
    assert sum(scene.clock.slept) > 20


# Runs that end early


def test_a_run_near_its_time_limit_asks_to_be_called_again_and_the_next_one_goes_on() -> None:
    class SlowStream(MemoryStream):
        def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
            results = super().put(stream_arn, records)
            self.clock.sleep(700)
            return results

    scene = Scene()
    scene.stream = SlowStream(clock=scene.clock)
    produced = scene.produce(*(b"%d" % n for n in range(1_200)))
    failed = scene.fail(produced)
    runs = []
    for _ in range(3):
        scene.clock.limit = scene.clock.time + timedelta(seconds=750)
        runs.append(redrive(scene, failed))
    assert [(run.more, run.summary.sent) for run in runs] == [(True, 500), (True, 1_000), (False, 1_200)]
    assert [copy.data for copy in copies(scene, produced)] == [record.data for record in produced]


def test_refused_records_are_not_forgotten_when_the_time_is_up() -> None:
    class LastStream(MemoryStream):
        def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
            results = super().put(stream_arn, records)
            self.clock.sleep(890)
            return results

    scene = Scene()
    scene.stream = LastStream(clock=scene.clock)
    produced = scene.produce(b"0", b"1", b"2")
    failed = scene.fail(produced)
    scene.stream.refuse_next = {0, 2}
    assert redrive(scene, failed).more
    scene.clock.limit = scene.clock.time + timedelta(minutes=15)
    assert redrive(scene, failed).summary.sent == 3
    assert contents(copies(scene, produced)) == contents(produced)


def test_two_runs_at_once_cannot_both_go_on() -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"0"))

    class Overtaken(MemoryLedger):
        def redrive_cursor(self, incident_id: str) -> RedriveCursor | None:
            cursor = super().redrive_cursor(incident_id)
            self.save_redrive_cursor(incident_id, cursor or RedriveCursor())
            return cursor

    scene.ledger = Overtaken()
    with pytest.raises(WriteConflict):
        redrive(scene, failed)
    assert "put" not in scene.stream.calls
