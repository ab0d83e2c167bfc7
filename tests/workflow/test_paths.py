"""Every path through the redrive machine: the real ASL runs the real handlers."""

import base64
import hashlib
import json
from typing import Any

import pytest
from moto.kinesis.models import kinesis_backends

from stream_redrive.adapters import clients
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.core.errors import ServiceBusy, WriteConflict
from stream_redrive.core.ports import RedrivenCopy
from stream_redrive.core.records import Lineage, Origin
from tests.support import build
from tests.support.cloud import ENVIRONMENT, STREAM, TABLE, Cloud, Context

GOOD = [(f"key-{n}", json.dumps({"n": n}).encode()) for n in range(6)]
STEPS = ("CaptureRecords", "ClassifyRecords", "QuarantineRecords", "RedriveRecords", "CloseIncident")
NEEDS_N = {"default": {"decoder": "json", "schema": {"required": ["n"]}}}


def output_of(execution: dict[str, Any]) -> dict[str, Any]:
    assert execution["status"] == "SUCCEEDED", execution
    output: dict[str, Any] = json.loads(execution["output"])
    return output


def test_transient_records_go_back_into_the_stream(cloud: Cloud) -> None:
    batch = cloud.produce(GOOD)
    output = output_of(cloud.run(build.incident(build.notice_of(batch))))
    assert output["capture"]["outcome"] == "COMPLETE"
    assert output["verdicts"] == {"transient": 6, "poison": 0, "held": 0}
    assert output["redrive"] == {
        "target": "stream",
        "sent": 6,
        "healed": 0,
        "unconfirmed": 6,
        "failed_again": 0,
        "attempts": 1,
    }
    assert output["quarantine"] == {"records": 0, "cases": [], "chunks": []}
    assert [(r.partition_key, r.data) for r in cloud.stream_records()] == GOOD + GOOD
    assert cloud.poison_messages() == []


def test_poison_goes_to_quarantine_and_the_rest_back_into_the_stream(cloud: Cloud) -> None:
    cloud.set_policy(NEEDS_N)
    batch = cloud.produce([*GOOD[:2], ("bad", b"\x00\xff not json"), *GOOD[2:3]])
    execution = cloud.run(build.incident(build.notice_of(batch)))
    output = output_of(execution)
    assert output["verdicts"] == {"transient": 3, "poison": 1, "held": 0}
    assert output["redrive"]["sent"] == 3
    assert output["quarantine"]["records"] == 1
    assert cloud.payloads("quarantine/") == [b"\x00\xff not json"]
    [message] = cloud.poison_messages()
    assert message["schema"] == "stream-redrive.poison/1"
    assert base64.b64decode(message["payload"]["inline"]) == b"\x00\xff not json"
    assert message["record"]["sha256"] == hashlib.sha256(b"\x00\xff not json").hexdigest()
    assert "data" not in message["record"]
    assert message["verdict"]["rule"] == "payload-decode"
    assert message["execution_arn"] == execution["executionArn"]
    assert [r.data for r in cloud.stream_records()][4:] == [data for _, data in GOOD[:3]]


def test_nothing_is_sent_back_when_all_is_poison(cloud: Cloud) -> None:
    cloud.set_policy(NEEDS_N)
    batch = cloud.produce([("a", b"{}"), ("b", b"[")])
    execution = cloud.run(build.incident(build.notice_of(batch)))
    output = output_of(execution)
    assert output["redrive"]["sent"] == 0
    assert output["quarantine"]["records"] == 2
    assert len(cloud.stream_records()) == 2
    assert "NothingToRedrive" in cloud.states(execution["executionArn"])


def test_the_wait_before_a_redrive_is_random_and_grows_with_the_attempt(cloud: Cloud) -> None:
    cloud.set_policy({"default": {"backoff": {"base_seconds": 100, "factor": 3, "max_seconds": 250}}})
    ceilings = {0: 100, 1: 250}
    waits: dict[int, set[float]] = {0: set(), 1: set()}
    for attempt in (0, 1):
        for _ in range(4):
            batch = cloud.produce(GOOD[:1])
            mark_attempt(batch[0], attempt)
            cloud.slept.clear()
            output_of(cloud.run(build.incident(build.notice_of(batch))))
            [wait] = cloud.slept
            assert 0 <= wait <= ceilings[attempt]
            waits[attempt].add(wait)
    assert len(waits[0]) > 1
    assert len(waits[1]) > 1


def mark_attempt(record: build.StreamRecord, attempt: int) -> None:
    """Write into the ledger that a record is a redriven copy."""
    if attempt:
        place = Origin(record.shard_id, record.sequence_number)
        ledger = DynamoLedger(clients.dynamodb(), TABLE, LambdaClock(lambda: 1000))
        copy = RedrivenCopy(place, Lineage(Origin(record.shard_id, "1"), attempt), Origin(record.shard_id, "2"))
        ledger.record_redriven(STREAM, "earlier", [copy])


def test_a_record_over_the_attempt_cap_is_poison(cloud: Cloud) -> None:
    batch = cloud.produce(GOOD[:1])
    mark_attempt(batch[0], 3)
    output = output_of(cloud.run(build.incident(build.notice_of(batch))))
    assert output["verdicts"] == {"transient": 0, "poison": 1, "held": 0}
    [line] = cloud.lines("quarantine/")
    assert line["verdict"]["rule"] == "attempt-cap"
    assert line["lineage"] == {"origin": {"shard_id": build.SHARD_ID, "sequence_number": "1"}, "attempt": 3}


def test_a_consumer_that_fails_for_ever_sees_each_record_a_bounded_number_of_times(cloud: Cloud) -> None:
    cloud.set_policy({"default": {"max_attempts": 2}})
    failing = cloud.produce(GOOD[:3])
    runs = 0
    while failing:
        runs += 1
        before = len(cloud.stream_records())
        output_of(cloud.run(build.incident(*(build.notice_of([record]) for record in failing))))
        failing = cloud.stream_records()[before:]
        assert runs < 10
    assert runs == 3
    assert len(cloud.stream_records()) == 9
    assert sorted(cloud.payloads("quarantine/")) == sorted(data for _, data in GOOD[:3])


def test_what_nothing_tells_of_in_an_ambiguous_range_is_held_and_never_redriven(cloud: Cloud) -> None:
    batch = cloud.produce(GOOD)
    output = output_of(cloud.run(build.incident(build.notice_of(batch, size=4))))
    assert output["capture"]["outcome"] == "AMBIGUOUS"
    assert output["verdicts"] == {"transient": 2, "poison": 0, "held": 4}
    assert len(cloud.stream_records()) == 6 + 2
    assert {line["verdict"]["rule"] for line in cloud.lines("quarantine/")} == {"ambiguous-range"}


def test_an_expired_range_is_reported_with_a_message_and_in_the_output(cloud: Cloud) -> None:
    output = output_of(cloud.run(build.incident(build.notice("10", "90", size=5))))
    missing = {"start": "10", "end": "90", "size": 5, "reason": "EXPIRED", "captured_from": None}
    assert output["capture"]["outcome"] == "EXPIRED"
    assert output["capture"]["missing"] == [missing]
    assert output["capture"]["records"] == 0
    [message] = cloud.poison_messages()
    assert message["schema"] == "stream-redrive.expired/1"
    assert message["missing"] == missing


def test_a_trimmed_head_is_reported_and_the_rest_redriven(cloud: Cloud) -> None:
    batch = cloud.produce(GOOD)
    trim(build.SHARD_ID, batch[:2])
    output = output_of(cloud.run(build.incident(build.notice_of(batch))))
    assert output["capture"]["outcome"] == "PARTIAL"
    assert output["capture"]["missing"][0]["size"] == 2
    assert output["redrive"]["sent"] == 4
    assert [m["schema"] for m in cloud.poison_messages()] == ["stream-redrive.expired/1"]


def trim(shard_id: str, records: list[build.StreamRecord]) -> None:
    """Let moto's stream forget records."""
    held = kinesis_backends["123456789012"]["us-east-1"].streams[STREAM].shards[shard_id].records
    for record in records:
        del held[int(record.sequence_number)]


def test_a_stream_that_is_gone_is_reported_as_such(cloud: Cloud) -> None:
    batch = cloud.produce(GOOD)
    cloud.client("kinesis").delete_stream(StreamName=STREAM)
    output = output_of(cloud.run(build.incident(build.notice_of(batch))))
    assert output["capture"]["missing"][0]["reason"] == "SHARD_NOT_FOUND"
    assert [m["schema"] for m in cloud.poison_messages()] == ["stream-redrive.expired/1"]


def test_a_second_incident_of_the_same_notice_finds_it_claimed(cloud: Cloud) -> None:
    batch = cloud.produce(GOOD)
    first, second = build.notice_of(batch[:3]), build.notice_of(batch[3:])
    output_of(cloud.run(build.incident(first)))
    output = output_of(cloud.run(build.incident(first, second)))
    assert output["capture"]["claimed_elsewhere"] == 1
    assert output["capture"]["records"] == 3
    assert [r.data for r in cloud.stream_records()] == [data for _, data in GOOD + GOOD]


def test_capture_and_redrive_go_on_where_their_time_ran_out(cloud: Cloud) -> None:
    batch = cloud.produce([(f"key-{n}", b"%d" % n) for n in range(700)])
    notices = [build.notice_of(batch[n : n + 100]) for n in range(0, 700, 100)]
    context = cloud.contexts["CaptureRecords"] = cloud.contexts["RedriveRecords"] = Context("short", millis=30_000)
    give_time_at_the_second_call(cloud, "CaptureRecords", context)
    give_time_at_the_second_call(cloud, "RedriveRecords", context)
    execution = cloud.run(build.incident(*notices))
    output = output_of(execution)
    assert output["capture"]["records"] == 700
    assert output["redrive"]["sent"] == 700
    assert [r.data for r in cloud.stream_records()] == [b"%d" % n for n in range(700)] * 2
    states = cloud.states(execution["executionArn"])
    assert states.count("HasMoreToRedrive") == 2


def give_time_at_the_second_call(cloud: Cloud, step: str, context: Context) -> None:
    handler = cloud.handlers[step]

    def limited(event: dict[str, Any], _: Any) -> dict[str, Any]:
        result = handler(event, context)
        context.millis = 900_000
        return result

    def first(event: dict[str, Any], _: Any) -> dict[str, Any]:
        context.millis = 30_000
        cloud.handlers[step] = limited
        return limited(event, _)

    cloud.handlers[step] = first


@pytest.mark.parametrize(
    ("step", "error"),
    [*((step, ServiceBusy) for step in STEPS), *((step, WriteConflict) for step in STEPS if step != "CloseIncident")],
)
def test_a_step_that_fails_for_a_while_is_tried_again(cloud: Cloud, step: str, error: type[Exception]) -> None:
    cloud.set_policy(NEEDS_N)
    batch = cloud.produce([*GOOD[:2], ("bad", b"{}")])
    fail(cloud, step, error("for a while"), times=3)
    output = output_of(cloud.run(build.incident(build.notice_of(batch))))
    assert output["redrive"]["sent"] == 2
    assert output["quarantine"]["records"] == 1


def fail(cloud: Cloud, step: str, error: Exception, times: int) -> None:
    """Let a handler fail before it does anything."""
    handler, left = cloud.handlers[step], iter(range(times))

    def failing(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if next(left, None) is not None:
            raise error
        return handler(event, context)

    cloud.handlers[step] = failing


@pytest.mark.parametrize("step", STEPS)
def test_what_cannot_be_finished_is_parked(cloud: Cloud, step: str) -> None:
    cloud.set_policy(NEEDS_N)
    batch = cloud.produce([*GOOD[:2], ("bad", b"{}")])
    fail(cloud, step, RuntimeError("a bug"), times=1000)
    incident = build.incident(build.notice_of(batch))
    execution = cloud.run(incident)
    assert execution["status"] == "FAILED"
    assert execution["error"] == "IncidentParked"
    [parked] = [m for m in cloud.poison_messages() if m["schema"] == "stream-redrive.parked/1"]
    assert parked["incident"] == incident.to_input()
    assert parked["error"] == "RuntimeError"
    assert "a bug" in parked["cause"]
    assert parked["captured"]["prefix"].startswith("captured/orders/2026/01/05/")


@pytest.mark.parametrize("step", STEPS)
def test_a_parked_incident_is_finished_when_its_notices_come_again(cloud: Cloud, step: str) -> None:
    cloud.set_policy(NEEDS_N)
    batch = cloud.produce([*GOOD[:2], ("bad", b"{}")])
    fail(cloud, step, RuntimeError("a bug"), times=1)
    notice = build.message(
        KinesisBatchInfo__startSequenceNumber=batch[0].sequence_number,
        KinesisBatchInfo__endSequenceNumber=batch[-1].sequence_number,
    )
    event = {"Records": [{"messageId": "m-1", "body": notice, "eventSource": "aws:sqs"}]}
    statuses = []
    for _ in range(2):
        assert cloud.call("StartRedrive", event) == {"batchItemFailures": []}
        arns = cloud.client("stepfunctions").list_executions(stateMachineArn=ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"])[
            "executions"
        ]
        statuses.append({e["name"][32:]: cloud.finished(e["executionArn"])["status"] for e in arns})
    assert statuses == [{"": "FAILED"}, {"": "FAILED", "-r2": "SUCCEEDED"}]
    assert sorted(r.data for r in cloud.stream_records()[3:]) == sorted(data for _, data in GOOD[:2])
    assert cloud.payloads("quarantine/") == [b"{}"]
    schemas = sorted(m["schema"] for m in cloud.poison_messages())
    assert schemas == ["stream-redrive.parked/1", "stream-redrive.poison/1"]


def test_a_dynamodb_notice_is_parked_with_its_reason(cloud: Cloud) -> None:
    shard = build.ShardRef(build.Source.DYNAMODB, build.CONSUMER, build.TABLE_STREAM_ARN, "shardId-1")
    assert cloud.run(build.incident(build.notice("1", "2", 2), shard=shard))["status"] == "FAILED"
    [parked] = cloud.poison_messages()
    assert parked["error"] == "SourceNotSupported"
    assert build.TABLE_STREAM_ARN in parked["cause"]


def test_many_notices_ride_in_the_vault(cloud: Cloud) -> None:
    batch = cloud.produce([(f"key-{n}", b"%d" % n) for n in range(150)])
    messages = [
        {
            "messageId": f"m-{record.sequence_number}",
            "eventSource": "aws:sqs",
            "body": build.message(
                KinesisBatchInfo__startSequenceNumber=record.sequence_number,
                KinesisBatchInfo__endSequenceNumber=record.sequence_number,
                KinesisBatchInfo__batchSize=1,
            ),
        }
        for record in batch
    ]
    assert cloud.call("StartRedrive", {"Records": messages}) == {"batchItemFailures": []}
    [execution] = cloud.client("stepfunctions").list_executions(
        stateMachineArn=ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"]
    )["executions"]
    finished = cloud.finished(execution["executionArn"])
    assert json.loads(finished["input"])["incident"]["notices_ref"]["count"] == 150
    assert output_of(finished)["redrive"]["sent"] == 150
