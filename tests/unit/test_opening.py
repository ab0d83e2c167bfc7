"""Opening: every case that an incident opened gets one workflow, and a case that has one gets no other."""

import json
from dataclasses import replace

from stream_redrive.core.cases import CaseStatus
from stream_redrive.core.incident import Incident
from stream_redrive.core.opening import OpenCases
from stream_redrive.core.ports import CaseChange, HandOver
from tests.support.memory import MemoryExecutions
from tests.support.scene import Scene

TWO_KINDS = {"decoder": "json", "schema": {"required": ["n"]}, "approval": {"reminder_hours": 2}}


def quarantined() -> tuple[Scene, Incident]:
    scene = Scene(**TWO_KINDS)
    failed = scene.fail(scene.produce(b"bad", b"{}"))
    scene.quarantine(failed)
    return scene, failed


def test_each_case_is_started_under_its_name_with_the_time_until_the_reminder() -> None:
    scene, failed = quarantined()
    executions = MemoryExecutions()
    scene.clock.sleep(60)
    ids = OpenCases(scene.cases, executions, scene.clock)(failed)
    assert sorted(ids) == sorted(scene.cases.all)
    assert len(ids) == 2
    assert {name: json.loads(body) for name, body in executions.started.items()} == {
        name: {"case_id": name, "wait_seconds": 2 * 3600 - 60} for name in ids
    }
    assert list(scene.cases.hand_overs()) == []


def test_a_case_that_was_started_by_a_run_that_was_cut_is_not_started_again() -> None:
    scene, failed = quarantined()
    executions = MemoryExecutions()
    for name in scene.cases.all:
        executions.start(name, "as the run before this one started it")
    before = dict(executions.started)
    OpenCases(scene.cases, executions, scene.clock)(failed)
    assert executions.started == before
    assert list(scene.cases.hand_overs()) == []


def test_a_case_that_an_earlier_incident_opened_is_left_to_it() -> None:
    scene, failed = quarantined()
    OpenCases(scene.cases, MemoryExecutions(), scene.clock)(failed)
    later = scene.fail(scene.produce(b"bad"))
    scene.quarantine(later)
    executions = MemoryExecutions()
    assert len(OpenCases(scene.cases, executions, scene.clock)(later)) == 1
    assert executions.started == {}


def test_what_other_incidents_and_decisions_wait_for_is_left_to_them() -> None:
    scene, failed = quarantined()
    [case] = [c for c in scene.cases.all.values() if c.rule == "payload-decode"]
    decided = CaseChange(
        replace(case, status=CaseStatus.DECIDED, revision=case.revision + 1), hand_overs=[HandOver.DECIDED]
    )
    assert scene.cases.commit(decided)
    other = scene.fail(scene.produce(b"bad"))
    scene.quarantine(other)
    OpenCases(scene.cases, MemoryExecutions(), scene.clock)(failed)
    [opened] = set(scene.cases.joined(other.id).values())
    assert sorted(scene.cases.hand_overs()) == sorted([(case.id, HandOver.DECIDED), (opened, HandOver.START)])


def test_an_incident_without_quarantine_starts_nothing() -> None:
    scene = Scene()
    assert OpenCases(scene.cases, MemoryExecutions(), scene.clock)(scene.fail(scene.produce(b"{}"))) == []
