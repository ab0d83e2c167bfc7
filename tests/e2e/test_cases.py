"""Decisions about quarantined records, as operators take them: by the command, with IAM enforced."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.core.ports import CaseChange
from stream_redrive_cli.lab.emulator.faults import Fault
from stream_redrive_cli.lab.scenarios import SCENARIOS
from tests.e2e.conftest import COMMAND, Lab, eventually

pytestmark = pytest.mark.lab

AIR_TIME = 777
# The schedule of the sweep is a minute.
A_SWEEP = 90
PATCH = json.dumps([{"op": "replace", "path": "/air_time", "value": AIR_TIME}])


def cases(lab: Lab, person: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as after `source .lab/env`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [*COMMAND, "cases", *arguments, "--profile", person, "--output", "json"],
        env={**environment, **lab.state.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def data(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def open_cases(lab: Lab, scenario: str) -> list[dict[str, Any]]:
    consumer = f":function:{SCENARIOS[scenario].function_name}"
    found = data(cases(lab, "alice", "list"))["cases"]
    return [case for case in found if case["consumer"].endswith(consumer) and case["status"] == "open"]


def play(lab: Lab, scenario: str) -> dict[str, Any]:
    """Play a scenario whose quarantined records join no case that another test has left open; its report."""
    for case in open_cases(lab, scenario):
        digest = data(cases(lab, "alice", "plan", case["id"], "--action", "keep"))["digest"]
        word = ("--digest", digest, "--reason", "of another test", "--yes")
        data(cases(lab, "alice", "decide", case["id"], "--action", "keep", *word))
    code, report = lab.run(scenario)
    assert code == 0
    return report


def waiting_case(lab: Lab, scenario: str) -> dict[str, Any]:
    """The one open case of a scenario, once its approvers are told."""
    [case] = open_cases(lab, scenario)
    eventually(lambda: "notified" in history(lab, case["id"]), A_SWEEP)
    return dict(case)


def history(lab: Lab, case: str) -> list[str]:
    return [event["kind"] for event in data(cases(lab, "bob", "show", case, "--records", "0"))["history"]]


def sweep(lab: Lab) -> None:
    """What the schedule does once a minute; it is not waited for."""
    done = lab.clients.lambda_.invoke(FunctionName=lab.function("SweepCases")["FunctionName"])
    assert "FunctionError" not in done, done["Payload"].read()


def topic_denied(lab: Lab) -> Fault:
    """The API may not tell the approvers."""
    principal = lab.function("CasesApi")["FunctionName"]
    return Fault(service="sns", operations=("Publish",), principal=principal, code="AuthorizationError", status=403)


def record_ids(lab: Lab, case: str) -> list[str]:
    return [record["id"] for record in data(cases(lab, "bob", "show", case, "--records", "1000"))["records"]]


def state_of(lab: Lab, scenario: str, record: str) -> str:
    shard, _, number = record.partition(":")
    key = {"pk": f"RECORD#{SCENARIOS[scenario].stream_name}#{shard}#{number}", "sk": "QUARANTINE"}
    item = lab.clients.tables.Table(lab.state.outputs["LedgerTableName"]).get_item(Key=key)["Item"]
    return str(item["state"])


def on_the_queue(lab: Lab) -> set[str]:
    bodies = lab.messages(lab.state.outputs["PoisonQueueUrl"])
    records = [body["record"] for body in bodies if body["schema"] == "stream-redrive.poison/1"]
    return {f"{record['shard_id']}:{record['sequence_number']}" for record in records}


def quarantine(lab: Lab) -> set[tuple[str, str]]:
    pages = lab.clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=lab.state.outputs["VaultBucketName"], Prefix="quarantine/"
    )
    return {(entry["Key"], entry["ETag"]) for page in pages for entry in page.get("Contents", [])}


def put_since(lab: Lab, scenario: str, since: datetime) -> Iterator[dict[str, Any]]:
    """What the stream got."""
    kinesis, name = lab.clients.kinesis, SCENARIOS[scenario].stream_name
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="AT_TIMESTAMP", Timestamp=since
        )["ShardIterator"]
        while records := (page := kinesis.get_records(ShardIterator=iterator))["Records"]:
            yield from (json.loads(record["Data"]) for record in records)
            iterator = page["NextShardIterator"]


def sink(lab: Lab, scenario: str) -> dict[str, Any]:
    table = lab.clients.tables.Table(SCENARIOS[scenario].sink_table)
    page, found = table.scan(), {}
    while True:
        found |= {str(item["id"]): item for item in page["Items"]}
        if "LastEvaluatedKey" not in page:
            return found
        page = table.scan(ExclusiveStartKey=page["LastEvaluatedKey"])


def test_three_cancelled_flights_are_edited_by_two_people_and_the_others_discarded(lab: Lab) -> None:
    report = play(lab, "flights")
    case = waiting_case(lab, "flights")
    assert case["records"] == report["quarantined"] > 3
    every = record_ids(lab, case["id"])
    edited, others = every[:3], every[3:]
    assert set(every) <= on_the_queue(lab)
    before, queued, kept = sink(lab, "flights"), on_the_queue(lab), quarantine(lab)

    chosen = ("--action", "edit", "--patch", PATCH, *(word for record in edited for word in ("--only", record)))
    plan = data(cases(lab, "alice", "plan", case["id"], *chosen))
    assert (plan["records"]["eligible"], plan["records"]["left_over"], plan["people"]) == (3, len(others), 2)
    word = ("--digest", plan["digest"], "--reason", "the air time is known from the log", "--yes")
    since = datetime.now(UTC)
    assert data(cases(lab, "alice", "decide", case["id"], *chosen, *word), code=4)["status"] == "proposed"
    assert history(lab, case["id"]).count("notified") == 2
    assert cases(lab, "alice", "decide", case["id"], "--approve", *word).returncode == 254
    assert cases(lab, "mallory", "decide", case["id"], "--approve", *word).returncode == 254
    done = data(cases(lab, "bob", "decide", case["id"], "--approve", *word, "--wait"))
    assert done["status"] == "closed"
    assert (done["outcome"]["edited"], done["outcome"]["failed_again"]) == (3, 0)

    eventually(lambda: len(sink(lab, "flights")) == len(before) + 3)
    assert [flight["air_time"] for flight in put_since(lab, "flights", since)] == [AIR_TIME] * 3
    assert sink(lab, "flights").items() >= before.items()

    sweep(lab)
    rest = waiting_case(lab, "flights")
    assert (rest["previous"], rest["records"]) == (case["id"], len(others))
    plan = data(cases(lab, "bob", "plan", rest["id"], "--action", "discard"))
    word = ("--digest", plan["digest"], "--reason", "cancelled flights have no speed", "--yes")
    with lab.control.fault(topic_denied(lab)):
        proposed = cases(lab, "bob", "decide", rest["id"], "--action", "discard", *word)
    assert (proposed.returncode, "tells them later" in proposed.stderr) == (4, True)
    sweep(lab)
    assert history(lab, rest["id"]).count("notified") >= 2
    done = data(cases(lab, "alice", "decide", rest["id"], "--approve", *word, "--wait"))
    assert (done["status"], done["outcome"]) == ("closed", {"discarded": len(others)})

    assert {state_of(lab, "flights", record) for record in edited} == {"EDITED"}
    assert {state_of(lab, "flights", record) for record in others} == {"DISCARDED"}
    assert on_the_queue(lab) == queued - set(every)
    assert quarantine(lab) == kept
    assert len(sink(lab, "flights")) == len(before) + 3


def test_a_kept_pill_stays_where_it_is(lab: Lab) -> None:
    play(lab, "poison-pill")
    case = waiting_case(lab, "poison-pill")
    [pill] = record_ids(lab, case["id"])
    kept = quarantine(lab)
    plan = data(cases(lab, "alice", "plan", case["id"], "--action", "keep"))
    word = ("--digest", plan["digest"], "--reason", "evidence for the producer", "--yes")
    done = data(cases(lab, "alice", "decide", case["id"], "--action", "keep", *word, "--wait"))
    assert (done["status"], done["outcome"]) == ("closed", {"kept": 1})
    assert state_of(lab, "poison-pill", pill) == "KEPT"
    assert pill in on_the_queue(lab)
    assert quarantine(lab) == kept


def test_a_case_that_nobody_decides_expires_and_the_late_decision_is_told_so(lab: Lab) -> None:
    play(lab, "poison-pill")
    case = waiting_case(lab, "poison-pill")
    [pill] = record_ids(lab, case["id"])
    kept = quarantine(lab)
    digest = data(cases(lab, "alice", "plan", case["id"], "--action", "redrive"))["digest"]
    let_time_pass(lab, case["id"])
    eventually(lambda: "expired" in history(lab, case["id"]), A_SWEEP)
    late = ("--action", "redrive", "--digest", digest, "--reason", "at last", "--yes")
    done = cases(lab, "alice", "decide", case["id"], *late)
    assert done.returncode == 254
    assert "CaseExpired" in done.stderr
    assert state_of(lab, "poison-pill", pill) == "QUARANTINED"
    assert pill in on_the_queue(lab)
    assert quarantine(lab) == kept


def let_time_pass(lab: Lab, name: str) -> None:
    """Two weeks go by: the case's time is over."""
    table = lab.state.outputs["LedgerTableName"]
    store = DynamoCaseStore(lab.clients.dynamodb, table, LambdaClock(lambda: 900_000))
    case = store.case(name)
    assert case is not None
    past = "2026-01-01T00:00:00.000Z"
    assert store.commit(CaseChange(replace(case, revision=case.revision + 1, expires_at=past, remind_at=past)))


def test_a_stranger_sees_nothing_and_decides_nothing(lab: Lab) -> None:
    for arguments in (
        ("list",),
        ("show", "0123456789abcdef-1"),
        ("plan", "0123456789abcdef-1", "--action", "discard"),
        ("note", "0123456789abcdef-1", "hello"),
    ):
        done = cases(lab, "mallory", *arguments)
        assert (done.returncode, done.stdout) == (254, ""), done.stderr
