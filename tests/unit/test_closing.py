"""The end of an incident: the account it gives, and the message it leaves when it can't be finished."""

import json
from typing import Any

import pytest

from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.closing import CloseIncident, ParkIncident
from stream_redrive.core.errors import VaultObjectMissing
from stream_redrive.core.incident import Incident
from stream_redrive.core.quarantine import QuarantineManifest
from tests.support.build import CONSUMER, SHARD_ID, incident, notice, notice_of
from tests.support.memory import MemoryPoisonQueue
from tests.support.scene import EXECUTION_ARN, Scene

REDRIVE = {"target": "stream", "sent": 2, "healed": 0, "unconfirmed": 2, "failed_again": 0, "attempts": 1}
VERDICTS = {"transient": 2, "poison": 1, "held": 0}


def close(scene: Scene, failed: Incident, quarantined: int = 0) -> dict[str, Any]:
    return CloseIncident(scene.vault)(failed, VERDICTS, REDRIVE, quarantined)


def quarantine(scene: Scene, failed: Incident) -> int:
    return scene.quarantine(failed).records


def test_the_output_accounts_for_every_record_as_the_contract_says() -> None:
    scene = Scene(decoder="json")
    produced = scene.produce(b"{}", b"bad", b"{}", b"lost")
    failed = incident(notice_of(produced[:3]))
    scene.capture(failed)
    scene.classify(failed)
    keys = VaultKeys(failed)
    assert close(scene, failed, quarantine(scene, failed)) == {
        "incident_id": failed.id,
        "capture": {
            "outcome": "COMPLETE",
            "records": 3,
            "chunks": [{"bucket": "vault", "key": keys.captured_chunk(0), "records": 3}],
            "missing": [],
        },
        "verdicts": VERDICTS,
        "redrive": REDRIVE,
        "quarantine": {
            "records": 1,
            "cases": list(scene.cases.all),
            "chunks": [{"bucket": "vault", "key": keys.quarantine_chunk(0), "records": 1}],
        },
    }


def test_what_a_probe_had_processed_is_healed_and_strangers_are_counted() -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"{}", b"{}"))
    nothing_sent = {**REDRIVE, "sent": 0, "unconfirmed": 0, "attempts": 0}
    output = CloseIncident(scene.vault)(failed, VERDICTS, nothing_sent, 0, processed=2, strangers=3)
    assert output["redrive"] == {**nothing_sent, "healed": 2}
    assert output["capture"]["strangers"] == 3


def test_what_is_missing_is_named_with_its_range_and_reason() -> None:
    scene = Scene()
    produced = scene.produce(b"0", b"1", b"2")
    failed = incident(notice_of(produced))
    scene.stream.trim(SHARD_ID, 1)
    scene.capture(failed)
    output = close(scene, failed)["capture"]
    assert output["outcome"] == "PARTIAL"
    assert output["missing"] == [
        {
            "start": produced[0].sequence_number,
            "end": produced[2].sequence_number,
            "size": 1,
            "reason": "EXPIRED",
            "captured_from": produced[1].sequence_number,
        }
    ]


def test_notices_that_belong_to_another_incident_are_counted() -> None:
    scene = Scene()
    produced = scene.produce(b"0", b"1")
    scene.fail(produced[:1])
    late = scene.fail(produced[:1], produced[1:])
    assert close(scene, late)["capture"]["claimed_elsewhere"] == 1


def test_an_incident_with_nothing_in_quarantine_needs_no_manifest_of_it() -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"0"))
    assert close(scene, failed)["quarantine"] == {"records": 0, "cases": [], "chunks": []}


def test_an_incident_whose_quarantine_left_no_manifest_is_not_closed() -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"0"))
    with pytest.raises(VaultObjectMissing):
        close(scene, failed, quarantined=1)


def _many(scene: Scene, count: int) -> Incident:
    scene.stream.page_size = 1
    failed = incident(*(notice_of([record]) for record in scene.produce(*[b"x"] * count)))
    scene.clock.limit = scene.clock.time
    while scene.capture(failed).more:
        pass
    scene.classify(failed)
    return failed


@pytest.mark.parametrize("count", [100, 101])
def test_more_than_a_hundred_chunks_are_named_by_a_reference_to_their_list(count: int) -> None:
    scene = Scene(default="held")
    failed = _many(scene, count)
    output = close(scene, failed, quarantine(scene, failed))
    for part, name in (("capture", "capture.json"), ("quarantine", "quarantine.json")):
        if count <= 100:
            assert len(output[part]["chunks"]) == count
        else:
            assert "chunks" not in output[part]
            reference = output[part]["chunks_ref"]
            assert reference == {"bucket": "vault", "key": f"incidents/{failed.id}/{name}", "count": count}
            assert len(json.loads(scene.vault.get(reference["key"]))["chunks"]) == count


def test_more_than_a_hundred_missing_ranges_are_named_by_a_reference_too() -> None:
    scene = Scene()
    failed = incident(*(notice_of([record]) for record in scene.produce(*[b"x"] * 101)))
    scene.stream.trim(SHARD_ID, 101)
    scene.capture(failed)
    output = close(scene, failed)["capture"]
    assert "missing" not in output
    assert output["missing_ref"]["count"] == 101
    assert len(json.loads(scene.vault.get(output["missing_ref"]["key"]))["missing"]) == 101


def test_the_largest_output_fits_between_two_states() -> None:
    scene = Scene(default="held")
    failed = _many(scene, 100)
    assert len(json.dumps(close(scene, failed, quarantine(scene, failed)))) < 64 * 1024


# Parking


def park(failed: Incident, failure: dict[str, Any], queue: MemoryPoisonQueue | None = None) -> dict[str, Any]:
    queue = queue or MemoryPoisonQueue()
    answer = ParkIncident(queue, "vault")(failed.to_input(), failure, EXECUTION_ARN)
    (message,) = queue.messages.values()
    assert dict(message.attributes) == {"consumer": CONSUMER, "rule": "parked"}
    body: dict[str, Any] = json.loads(message.body)
    assert answer == {"error": body["error"]}
    return body


def test_a_parked_incident_keeps_its_notices_where_its_chunks_are_and_the_error() -> None:
    failed = incident(notice("1", "5", 5))
    body = park(failed, {"Error": "AccessDenied", "Cause": "kinesis:GetRecords"})
    assert Incident.from_input(body["incident"]) == failed
    assert body == {
        "schema": "stream-redrive.parked/1",
        "incident": failed.to_input(),
        "captured": {"bucket": "vault", "prefix": VaultKeys(failed).captured},
        "error": "AccessDenied",
        "cause": "kinesis:GetRecords",
        "execution_arn": EXECUTION_ARN,
    }


@pytest.mark.parametrize(
    ("failure", "error", "cause"),
    [
        ({}, "Unknown", ""),
        ({"Error": "E", "Cause": None}, "E", "None"),
        ({"Error": "E", "Cause": {"a": 1}}, "E", "{'a': 1}"),
    ],
)
def test_a_failure_of_any_shape_is_parked(failure: dict[str, Any], error: str, cause: str) -> None:
    body = park(incident(notice("1", "5")), failure)
    assert (body["error"], body["cause"]) == (error, cause)


def test_the_largest_parked_incident_fits_the_queue() -> None:
    digits = 10**127
    failed = incident(*(notice(str(digits + n), str(digits + n)) for n in range(100)))
    body = park(failed, {"Error": "E", "Cause": "\u00e4" * 100_000})
    assert len(json.dumps(body)) < 256 * 1024


def test_parking_again_in_the_same_execution_sends_no_second_message() -> None:
    queue, failed = MemoryPoisonQueue(), incident(notice("1", "5"))
    for _ in range(2):
        park(failed, {"Error": "E"}, queue)


def test_an_incident_that_is_started_again_and_parked_again_sends_a_message_of_its_own() -> None:
    queue, failed = MemoryPoisonQueue(), incident(notice("1", "5"))
    for execution in ("one", "two"):
        ParkIncident(queue, "vault")(failed.to_input(), {"Error": "E"}, execution)
    assert len(queue.messages) == 2


def test_an_input_that_describes_no_incident_is_parked_as_it_is() -> None:
    queue = MemoryPoisonQueue()
    ParkIncident(queue, "vault")({"surprise": 1}, {"Error": "MalformedIncident"}, EXECUTION_ARN)
    [message] = queue.messages.values()
    body = json.loads(message.body)
    assert (body["incident"], body["captured"], body["error"]) == ({"surprise": 1}, None, "MalformedIncident")
    assert message.attributes["consumer"] == "unknown"


@pytest.mark.parametrize("count", [100, 101])
def test_more_than_a_hundred_cases_are_named_by_a_reference_too(count: int) -> None:
    scene = Scene()
    failed = scene.fail(scene.produce(b"x"))
    key = VaultKeys(failed).quarantine_manifest
    cases = tuple(f"{number:016}-1" for number in range(count))
    scene.vault.put(key, QuarantineManifest(count, (), cases).encode())
    output = close(scene, failed, count)["quarantine"]
    if count <= 100:
        assert output["cases"] == list(cases)
    else:
        assert output["cases_ref"] == {"bucket": "vault", "key": key, "count": count}
