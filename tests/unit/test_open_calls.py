"""Copies whose lineage isn't written yet: they keep their count of attempts, whenever they are captured."""

from datetime import timedelta

import pytest

from stream_redrive.core.errors import ServiceUnreachable
from stream_redrive.core.incident import Incident
from stream_redrive.core.records import Lineage, Origin, StreamRecord
from tests.support.build import incident, notice_of
from tests.support.cuts import Cuts
from tests.support.redriving import copies, lineages, redrive, redrive_until_done
from tests.support.scene import STREAM_NAME, Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def cut_before_the_bookkeeping(scene: Scene, failed: Incident) -> None:
    """Redrive, and die between PutRecords and what follows it."""
    calls = scene.stream.calls.count("put")
    for number in range(1, 100):
        if scene.stream.calls.count("put") > calls:
            return
        with pytest.raises(ServiceUnreachable):
            redrive(scene, failed, Cuts({number: True}))
    raise AssertionError("nothing was put")


def captured_lineage(scene: Scene, batch: list[StreamRecord]) -> list[Lineage]:
    again = incident(notice_of(batch))
    scene.capture(again)
    return [record.lineage for record in scene.records(again)]


def test_a_copy_that_fails_before_its_lineage_is_written_keeps_its_origin_and_attempt(scene: Scene) -> None:
    originals = scene.produce(b"one", b"two")
    scene.redriven_before(originals[1], attempt=2)
    failed = scene.fail(originals)
    cut_before_the_bookkeeping(scene, failed)
    assert captured_lineage(scene, copies(scene, originals)) == [
        Lineage(Origin(originals[0].shard_id, originals[0].sequence_number), 1),
        Lineage(Origin(originals[1].shard_id, "1"), 3),
    ]


def test_the_lineage_that_is_written_later_is_the_same(scene: Scene) -> None:
    originals = scene.produce(b"one", b"two")
    failed = scene.fail(originals)
    cut_before_the_bookkeeping(scene, failed)
    early = captured_lineage(scene, copies(scene, originals))
    redrive_until_done(scene, failed)
    assert len(copies(scene, originals)) == 2
    assert lineages(scene) == dict.fromkeys(early, 1)


def test_a_producers_record_is_an_original(scene: Scene) -> None:
    originals = scene.produce(b"one", b"two")
    failed = scene.fail(originals)
    cut_before_the_bookkeeping(scene, failed)
    other_payload, other_key = scene.stream.produce("k", b"three"), scene.stream.produce("other", b"one")
    scene.clock.time += timedelta(minutes=10)
    much_later = scene.stream.produce("k", b"one")
    for record in (other_payload, other_key, much_later):
        place = Origin(record.shard_id, record.sequence_number)
        assert captured_lineage(scene, [record]) == [Lineage(place, 0)]


def test_a_redrive_that_is_done_leaves_nothing_open(scene: Scene) -> None:
    failed = scene.fail(scene.produce(b"one"))
    redrive_until_done(scene, failed)
    assert scene.ledger.open_redrives(STREAM_NAME) == []
