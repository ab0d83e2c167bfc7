"""Counting billed state transitions from the emulator's history."""

from __future__ import annotations

import json
from typing import Any

from stream_redrive_cli.lab.transitions import count_transitions


def entered(kind: str, name: str, **data: Any) -> dict[str, Any]:
    return {
        "type": f"{kind}StateEntered",
        "stateEnteredEventDetails": {"name": name, "input": json.dumps(data)},
    }


def task(name: str, tries: int = 1) -> list[dict[str, Any]]:
    attempts = [{"type": "TaskScheduled"}, {"type": "TaskFailed"}] * (tries - 1)
    return [entered("Task", name), *attempts, {"type": "TaskScheduled"}, {"type": "TaskSucceeded"}]


def execution(*, poison: bool, transient: int, inner_tasks: int, captures: int = 1) -> list[dict[str, Any]]:
    classification = {"quarantine": poison, "redrive": transient > 0}
    return [
        {"type": "ExecutionStarted"},
        *task("CaptureRecords", captures),
        entered("Choice", "HasMoreToCapture"),
        *task("ClassifyRecords"),
        entered("Parallel", "ResolveRecords", classification=classification),
        *[{"type": "TaskScheduled"}, {"type": "TaskSucceeded"}] * inner_tasks,
        *task("CloseIncident"),
        entered("Succeed", "IncidentClosed"),
        {"type": "ExecutionSucceeded"},
    ]


def test_poison_only_takes_ten_transitions() -> None:
    # Capture, HasMore, Classify, Resolve, HasPoison, Quarantine, HasTransient, NothingToRedrive, Close, Closed
    assert count_transitions(execution(poison=True, transient=0, inner_tasks=1)) == 10


def test_transient_only_takes_thirteen_transitions() -> None:
    # … HasPoison, NothingToQuarantine, HasTransient, AwaitBackoff, Redrive, HasMore, Redriven …
    assert count_transitions(execution(poison=False, transient=3, inner_tasks=1)) == 13


def test_both_branches_take_thirteen_transitions() -> None:
    assert count_transitions(execution(poison=True, transient=3, inner_tasks=2)) == 13


def test_a_retry_is_a_transition() -> None:
    assert count_transitions(execution(poison=True, transient=0, inner_tasks=1, captures=3)) == 12
