"""Counts the billed state transitions of an execution from its history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_PARALLEL = "ResolveRecords"
# States of the parallel branches other than Tasks: each branch's choice, and what follows it.
_CHOICES = 2
_AFTER_REDRIVE = 3  # AwaitBackoff, HasMoreToRedrive, RecordsRedriven
_NOTHING_TO_DO = 1  # NothingToQuarantine, or NothingToRedrive


def count_transitions(history: Iterable[Mapping[str, Any]]) -> int:
    """Every state entered, and every retry of a Task; AWS bills both.

    The emulator's history names no state inside a Parallel, only the Tasks that were scheduled. The states between
    them are added after what the classification said must be done.
    """
    entered = 0
    extra_tasks = 0  # retries, and the Tasks of the branches
    first_try = False
    inside = 0
    for event in history:
        kind = event["type"]
        if kind.endswith("StateEntered"):
            entered += 1
            first_try = kind == "TaskStateEntered"
            if event["stateEnteredEventDetails"]["name"] == _PARALLEL:
                inside = _states_inside(event["stateEnteredEventDetails"].get("input", "{}"))
        elif kind == "TaskScheduled":
            extra_tasks += not first_try
            first_try = False
    return entered + extra_tasks + inside


def _states_inside(parallel_input: str) -> int:
    classification = json.loads(parallel_input).get("classification", {})
    states = _CHOICES
    states += 0 if classification.get("quarantine") else _NOTHING_TO_DO
    states += _AFTER_REDRIVE if classification.get("redrive") else _NOTHING_TO_DO
    return states
