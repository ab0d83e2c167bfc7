"""Quarantine: bytes first, then a message a record, then the ledger; and the report of what expired."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import ServiceUnreachable, VaultObjectMissing
from stream_redrive.core.incident import Incident
from stream_redrive.core.ports import PoisonMessage
from stream_redrive.core.quarantine import MAX_INLINE_BYTES, QuarantineManifest
from stream_redrive.core.records import Origin, Record
from tests.support.build import CONSUMER, SHARD_ID, STREAM_ARN, incident, notice_of
from tests.support.cuts import Cuts
from tests.support.memory import MemoryPoisonQueue
from tests.support.scene import EXECUTION_ARN, STREAM_NAME, Scene


def lines(scene: Scene, manifest: QuarantineManifest) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for chunk in manifest.chunks
        for line in gzip.decompress(scene.vault.get(chunk.key)).splitlines()
    ]


def bodies(scene: Scene, schema: str = "poison") -> list[dict[str, Any]]:
    every = [json.loads(message.body) for message in scene.queue.messages.values()]
    return [body for body in every if body["schema"] == f"stream-redrive.{schema}/1"]


def test_poison_and_held_records_are_kept_with_their_verdict_and_the_others_are_not() -> None:
    scene = Scene(decoder="json")
    produced = scene.produce(b"{}", b"bad\xff", b"[]", b"worse")
    failed = scene.fail(produced)
    manifest = scene.quarantine(failed)
    assert manifest.records == 2
    kept = lines(scene, manifest)
    assert [Record.from_line(line).stream for line in kept] == [produced[1], produced[3]]
    assert [(line["verdict"]["class"], line["verdict"]["rule"]) for line in kept] == [("poison", "payload-decode")] * 2
    [case] = manifest.cases
    assert [line["case_id"] for line in kept] == [case, case]
    assert set(kept[0]["verdict"]) == {
        "class",
        "rule",
        "reason",
        "policy_version",
        "evidence",
        "fingerprint",
        "alarm",
    }


def test_a_quarantine_chunk_lies_beside_the_captured_chunk_it_is_a_part_of() -> None:
    scene = Scene(decoder="json")
    produced = scene.produce(*([b"{}"] * 500), *([b"bad"] * 3))
    failed = scene.fail(produced)
    (chunk,) = scene.quarantine(failed).chunks
    assert (chunk.bucket, chunk.key, chunk.records) == ("vault", VaultKeys(failed).quarantine_chunk(1), 3)


def test_the_manifest_in_the_vault_is_what_the_step_returned() -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(*[b"x"] * 501))
    result = scene.quarantine(failed)
    assert [chunk.records for chunk in result.chunks] == [500, 1]
    assert QuarantineManifest.load(scene.vault, failed) == result


def test_each_record_has_a_message_that_says_what_it_is_and_where_its_bytes_are() -> None:
    scene = Scene(default="held")
    produced = scene.produce(b"\x00first", b"second")
    failed = scene.fail(produced)
    (chunk,) = scene.quarantine(failed).chunks
    first, second = bodies(scene)
    line = lines(scene, QuarantineManifest.load(scene.vault, failed))[0]
    assert first == {
        "schema": "stream-redrive.poison/1",
        "record": {name: value for name, value in line.items() if name not in ("data", "verdict")},
        "payload": {
            "inline": base64.b64encode(b"\x00first").decode(),
            "s3": {"bucket": "vault", "key": chunk.key, "line": 0},
        },
        "verdict": line["verdict"],
        "case_id": line["case_id"],
        "execution_arn": EXECUTION_ARN,
    }
    assert second["payload"]["s3"]["line"] == 1
    assert [dict(m.attributes) for m in scene.queue.messages.values()] == [
        {"consumer": CONSUMER, "rule": "default", "case_id": line["case_id"]}
    ] * 2
    assert scene.cases.case(line["case_id"]) is not None


@pytest.mark.parametrize(("size", "inline"), [(0, True), (MAX_INLINE_BYTES, True), (MAX_INLINE_BYTES + 1, False)])
def test_only_a_small_payload_rides_in_the_message(size: int, inline: bool) -> None:
    scene = Scene(default="held")
    scene.quarantine(scene.fail(scene.produce(bytes(size))))
    (body,) = bodies(scene)
    assert ("inline" in body["payload"]) is inline
    assert "data" not in body["record"]


def test_the_largest_message_fits_the_queue() -> None:
    scene = Scene(default="held")
    scene.quarantine(scene.fail(scene.produce(bytes(MAX_INLINE_BYTES), key="\U0001f600" * 256)))
    (message,) = scene.queue.messages.values()
    assert len(message.body.encode()) < 256 * 1024


def test_the_ledger_knows_each_record_its_rule_and_its_line() -> None:
    scene = Scene(default="held", max_attempts=3)
    fresh, copied = scene.produce(b"fresh", b"copied")
    lineage = scene.redriven_before(copied, 3, Origin("shardId-000000000009", "77"))
    failed = scene.fail([fresh], [copied])
    (chunk,) = scene.quarantine(failed).chunks
    held = scene.ledger.quarantined[STREAM_NAME, Origin(SHARD_ID, copied.sequence_number)]
    assert (held.origin, held.rule, held.verdict) == (lineage.origin, "attempt-cap", "poison")
    assert (held.chunk_key, held.line) == (chunk.key, 1)
    assert held.case == lines(scene, QuarantineManifest.load(scene.vault, failed))[1]["case_id"]
    assert len(scene.ledger.quarantined) == 2


def test_an_expired_range_is_a_message_with_its_exact_range() -> None:
    scene = Scene()
    produced = scene.produce(b"0", b"1", b"2")
    failed = incident(notice_of(produced))
    scene.stream.trim(SHARD_ID, 2)
    scene.capture(failed)
    scene.classify(failed)
    assert scene.quarantine(failed).records == 0
    (message,) = scene.queue.messages.values()
    assert json.loads(message.body) == {
        "schema": "stream-redrive.expired/1",
        "incident_id": failed.id,
        "consumer": CONSUMER,
        "stream_arn": STREAM_ARN,
        "shard_id": SHARD_ID,
        "missing": {
            "start": produced[0].sequence_number,
            "end": produced[2].sequence_number,
            "size": 2,
            "reason": "EXPIRED",
            "captured_from": produced[2].sequence_number,
        },
        "execution_arn": EXECUTION_ARN,
    }
    assert dict(message.attributes) == {"consumer": CONSUMER, "rule": "expired"}


def test_every_expired_notice_has_its_own_message() -> None:
    scene = Scene()
    produced = scene.produce(*[b"x"] * 4)
    failed = incident(notice_of(produced[:1]), notice_of(produced[1:3]), notice_of(produced[3:]))
    scene.stream.trim(SHARD_ID, 3)
    scene.capture(failed)
    scene.classify(failed)
    scene.quarantine(failed)
    assert [body["missing"]["size"] for body in bodies(scene, "expired")] == [1, 2]


def test_with_only_good_records_there_is_nothing_to_keep() -> None:
    scene = Scene()
    manifest = scene.quarantine(scene.fail(scene.produce(b"{}")))
    assert (manifest.records, manifest.chunks, scene.queue.messages) == (0, (), {})


def test_an_incident_that_is_not_classified_cannot_be_quarantined() -> None:
    scene = Scene()
    failed = incident(notice_of(scene.produce(b"x")))
    scene.capture(failed)
    with pytest.raises(VaultObjectMissing):
        scene.quarantine(failed)


def test_a_chunk_that_is_done_is_sent_to_nobody_again_even_after_the_queue_forgot_it() -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(b"x", b"y"))
    first = scene.quarantine(failed)
    scene.queue.messages.clear()
    assert scene.quarantine(failed) == first
    assert scene.queue.messages == {}


def test_an_expired_range_is_reported_once_even_after_the_queue_forgot_it() -> None:
    scene = Scene()
    failed = incident(notice_of(scene.produce(b"x")))
    scene.stream.trim(SHARD_ID, 1)
    scene.capture(failed)
    scene.classify(failed)
    scene.quarantine(failed)
    scene.queue.messages.clear()
    scene.quarantine(failed)
    assert scene.queue.messages == {}


def test_the_bytes_are_in_the_vault_before_any_message_says_so() -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(b"x"))
    vault = scene.vault

    class WatchedQueue(MemoryPoisonQueue):
        def send(self, messages: Sequence[PoisonMessage]) -> None:
            for message in messages:
                assert json.loads(message.body)["payload"]["s3"]["key"] in vault.objects
            super().send(messages)

    scene.queue = WatchedQueue()
    scene.quarantine(failed)
    assert len(scene.queue.messages) == 1


def _messy() -> tuple[Scene, Incident]:
    scene = Scene(decoder="json")
    produced = scene.produce(b"lost", *([b"{}", b"bad"] * 300), b"{}")
    failed = incident(notice_of(produced[:1]), notice_of(produced[1:]))
    scene.stream.trim(SHARD_ID, 1)
    scene.capture(failed)
    scene.classify(failed)
    return scene, failed


def _end_state(scene: Scene, failed: Incident) -> object:
    return (
        QuarantineManifest.load(scene.vault, failed),
        scene.vault.objects,
        scene.queue.messages,
        scene.ledger.quarantined,
        scene.ledger.done,
        scene.cases.all,
        {name: (scene.cases.pieces(name), scene.cases.events(name)) for name in scene.cases.all},
    )


def test_every_single_cut_leads_to_the_same_end_state() -> None:
    clean, (scene, failed) = Cuts(), _messy()
    scene.quarantine(failed, clean)
    expected = _end_state(scene, failed)
    assert len(scene.queue.messages) == 301
    assert clean.calls > 10
    for call in range(1, clean.calls + 1):
        for after_effect in (False, True):
            scene, failed = _messy()
            with pytest.raises(ServiceUnreachable):
                scene.quarantine(failed, Cuts({call: after_effect}))
            scene.quarantine(failed)
            assert _end_state(scene, failed) == expected


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.dictionaries(st.integers(1, 25), st.booleans()))
@settings(max_examples=60, deadline=None)
def test_every_poison_record_is_kept_byte_for_byte_with_one_message_whatever_is_cut(
    payloads: list[bytes], cut: dict[int, bool]
) -> None:
    scene = Scene(default="held")
    produced = scene.produce(*payloads)
    failed = scene.fail(produced)
    cuts = Cuts(cut)
    for _ in range(len(cut) + 1):
        try:
            manifest = scene.quarantine(failed, cuts)
            break
        except ServiceUnreachable:
            continue
    assert [Record.from_line(line).stream for line in lines(scene, manifest)] == produced
    assert [base64.b64decode(body["payload"]["inline"]) for body in bodies(scene)] == payloads
    assert len(scene.ledger.quarantined) == len(produced)
