"""The steps of the redrive machine: an event in, a result out, each of the shape that the machine goes by."""

import json
from typing import Any

import pytest

from stream_redrive.core.errors import MalformedIncident, SourceNotSupported, VaultObjectMissing
from stream_redrive.core.notices import ShardRef, Source
from tests.support import build
from tests.support.cloud import STEPS, Cloud, Context

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:redrive:id"
NEEDS_N = {"default": {"decoder": "json", "schema": {"required": ["n"]}, "backoff": {"base_seconds": 0}}}
SUMMARY = {"target": "stream", "sent": 2, "healed": 0, "unconfirmed": 2, "failed_again": 0, "attempts": 1}


@pytest.fixture
def failed(cloud: Cloud) -> dict[str, Any]:
    """The event of an incident of two good records and a bad one."""
    cloud.set_policy(NEEDS_N)
    batch = cloud.produce([("a", b'{"n": 1}'), ("b", b"\xff"), ("c", b'{"n": 2}')])
    return {"incident": build.incident(build.notice_of(batch)).to_input(), "execution_arn": EXECUTION}


def call(cloud: Cloud, failed: dict[str, Any], *steps: str, **fields: Any) -> dict[str, Any]:
    """Call steps one after the other; the last one's result."""
    result: dict[str, Any] = {}
    for step in steps:
        result = cloud.call(step, {**failed, "target": "stream", **fields})
    return result


def test_capture_says_what_it_found(cloud: Cloud, failed: dict[str, Any]) -> None:
    assert call(cloud, failed, "CaptureRecords") == {
        "more": False,
        "outcome": "COMPLETE",
        "records": 3,
        "chunks": 1,
        "missing": 0,
        "ambiguous": 0,
    }
    assert cloud.payloads("captured/") == [b'{"n": 1}', b"\xff", b'{"n": 2}']


def test_classify_says_where_each_branch_goes(cloud: Cloud, failed: dict[str, Any]) -> None:
    assert call(cloud, failed, "CaptureRecords", "ClassifyRecords") == {
        "verdicts": {"transient": 2, "poison": 1, "held": 0},
        "processed": 0,
        "strangers": 0,
        "quarantine": True,
        "redrive": True,
        "backoff_seconds": 0,
        "target": "stream",
        "alarming": 0,
        "log_unreadable": False,
    }


def test_quarantine_says_how_many_records_it_took(cloud: Cloud, failed: dict[str, Any]) -> None:
    assert call(cloud, failed, "CaptureRecords", "ClassifyRecords", "QuarantineRecords") == {"records": 1}
    [message] = cloud.poison_messages()
    assert message["execution_arn"] == EXECUTION


def test_redrive_says_what_it_sent(cloud: Cloud, failed: dict[str, Any]) -> None:
    result = call(cloud, failed, "CaptureRecords", "ClassifyRecords", "RedriveRecords")
    assert result == {"more": False, "summary": SUMMARY}
    assert [record.data for record in cloud.stream_records()][3:] == [b'{"n": 1}', b'{"n": 2}']


def test_a_redrive_without_time_sends_nothing_and_asks_to_be_called_again(cloud: Cloud, failed: dict[str, Any]) -> None:
    call(cloud, failed, "CaptureRecords", "ClassifyRecords")
    cloud.contexts["RedriveRecords"] = Context("RedriveRecords", millis=30_000)
    first = call(cloud, failed, "RedriveRecords")
    assert first["more"] is True
    cloud.contexts.clear()
    assert call(cloud, failed, "RedriveRecords") == {"more": False, "summary": SUMMARY}
    assert len(cloud.stream_records()) == 5


def test_close_composes_the_output(cloud: Cloud, failed: dict[str, Any]) -> None:
    call(cloud, failed, "CaptureRecords", "ClassifyRecords", "QuarantineRecords")
    verdicts = {"transient": 2, "poison": 1, "held": 0}
    output = call(cloud, failed, "CloseIncident", verdicts=verdicts, redrive=SUMMARY, quarantined=1)
    assert output["incident_id"] == failed["incident"]["id"]
    assert output["capture"]["outcome"] == "COMPLETE"
    assert (output["verdicts"], output["redrive"]) == (verdicts, SUMMARY)
    assert output["quarantine"]["records"] == 1
    assert [chunk["records"] for chunk in output["quarantine"]["chunks"]] == [1]


def test_park_says_the_error_and_keeps_the_notices(cloud: Cloud, failed: dict[str, Any]) -> None:
    failure = {"Error": "AccessDenied", "Cause": "kinesis:GetRecords"}
    assert call(cloud, failed, "ParkIncident", failure=failure) == {"error": "AccessDenied"}
    [message] = cloud.poison_messages()
    assert (message["schema"], message["incident"]) == ("stream-redrive.parked/1", failed["incident"])
    assert (message["error"], message["cause"]) == ("AccessDenied", "kinesis:GetRecords")


@pytest.mark.parametrize("step", [step for step in STEPS if step != "ParkIncident"])
def test_an_incident_that_is_none_is_refused(cloud: Cloud, failed: dict[str, Any], step: str) -> None:
    for lacking in ("id", "shard_id", "notices"):
        incident = {name: value for name, value in failed["incident"].items() if name != lacking}
        with pytest.raises(MalformedIncident, match=lacking):
            call(cloud, {**failed, "incident": incident}, step, verdicts={}, redrive={}, quarantined=0)


def test_an_incident_that_is_none_is_parked_as_it_came(cloud: Cloud) -> None:
    event = {"incident": {"consumer": "orders"}, "failure": {"Error": "MalformedIncident"}, "execution_arn": EXECUTION}
    assert cloud.call("ParkIncident", event) == {"error": "MalformedIncident"}
    [message] = cloud.poison_messages()
    assert (message["incident"], message["captured"]) == ({"consumer": "orders"}, None)


def test_a_step_that_finds_no_capture_says_so(cloud: Cloud, failed: dict[str, Any]) -> None:
    for step in ("ClassifyRecords", "QuarantineRecords", "RedriveRecords", "CloseIncident"):
        with pytest.raises(VaultObjectMissing, match=failed["incident"]["id"]):
            call(cloud, failed, step, verdicts={}, redrive={}, quarantined=0)


def test_a_stream_that_this_version_cannot_read_is_named(cloud: Cloud) -> None:
    table = ShardRef(Source.DYNAMODB, build.CONSUMER, build.TABLE_STREAM_ARN, "shardId-1")
    incident = build.incident(build.notice("1", "2", 2), shard=table)
    with pytest.raises(SourceNotSupported, match=build.TABLE_STREAM_ARN):
        cloud.call("CaptureRecords", {"incident": incident.to_input()})


def test_a_step_answers_in_plain_json(cloud: Cloud, failed: dict[str, Any]) -> None:
    result = cloud.handlers["CaptureRecords"](failed, Context("CaptureRecords"))
    assert json.loads(json.dumps(result)) == result
