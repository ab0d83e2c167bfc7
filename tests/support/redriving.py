"""Redrives of a scene's incidents, and what they left in the stream."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from stream_redrive.core.errors import ServiceBusy, ServiceUnreachable
from stream_redrive.core.incident import Incident
from stream_redrive.core.records import Lineage, Origin, StreamRecord
from stream_redrive.core.redrive import RedriveRecords, RedriveResult
from stream_redrive.core.sending import Sender
from tests.support.cuts import Cuts
from tests.support.scene import Scene

SETTLE_SECONDS = 15.0


def redrive(scene: Scene, failed: Incident, cuts: Cuts | None = None) -> RedriveResult:
    cuts = cuts or Cuts()
    stream = cuts.guard(scene.stream)
    send = Sender(cuts.guard(scene.ledger), stream, stream, scene.clock, SETTLE_SECONDS)
    return RedriveRecords(cuts.guard(scene.vault), send)(failed, "stream")


def redrive_until_done(scene: Scene, failed: Incident, cuts: Cuts | None = None) -> RedriveResult:
    for _ in range(100):
        try:
            result = redrive(scene, failed, cuts)
        except (ServiceUnreachable, ServiceBusy):
            scene.clock.limit = scene.clock.time + timedelta(minutes=15)
            continue
        if not result.more:
            return result
        scene.clock.limit = scene.clock.time + timedelta(minutes=15)
    raise AssertionError("the redrive never ends")


def copies(scene: Scene, originals: Sequence[StreamRecord]) -> list[StreamRecord]:
    """What the stream holds besides the originals."""
    return [record for held in scene.stream.records.values() for record in held if record not in originals]


def contents(records: Sequence[StreamRecord]) -> Counter[tuple[str | None, bytes]]:
    return Counter((record.partition_key, record.data) for record in records)


def lineages(scene: Scene) -> Counter[Lineage]:
    return Counter(scene.ledger.lineage.values())


def first_copies(originals: Sequence[StreamRecord]) -> Counter[Lineage]:
    return Counter(Lineage(Origin(r.shard_id, r.sequence_number), 1) for r in originals)
