"""The error tree and the state machine agree: each leaf is handled by name or left uncaught for a reason."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_redrive.core import errors

MACHINES = [json.loads(path.read_text()) for path in (Path(__file__).parents[2] / "statemachines").glob("*.asl.json")]
# What the sweep calls the failure of a task that it wakes; no exception of ours.
WAKES = "ReminderDue"

# Errors that no state names: they go to States.ALL and park the incident, or never reach the state machine.
UNCAUGHT_ON_PURPOSE = {
    "MalformedNotice": "the intake queue returns the message and moves it to its dead-letter queue",
    "MalformedIncident": "an input that describes no incident stays what it is",
    "SourceNotSupported": "another run can't read the stream either",
    "TargetNotSupported": "another run can't send there either",
    "PolicyInvalid": "the policy cache reports it and keeps an earlier version",
    "AccessDenied": "a person must grant the permission first",
    "VaultObjectMissing": "what an earlier step wrote was deleted: a person must look",
    "ConsumerNotFound": "the probe does without",
    "IncidentGivenUp": "raised at the intake, before an execution",
    "CaseUnknown": "a case that isn't there won't come",
    "CaseNotDecided": "the machine goes there with a decision only",
    "CaseNotRedriven": "a person must look why the redrive ended early; the sweep starts the workflow again",
    "CasesNotSwept": "raised by the sweep, whose next run tries again",
    "SettingsMissing": "a person must mend the deployment first",
    "IteratorExpired": "the capture opens a new iterator",
    "SequenceNumberRejected": "the capture goes by time instead",
    "ShardNotFound": "the capture reports the records as missing; a stream that vanishes before the redrive parks it",
}


def leaves(root: type[errors.RedriveError] = errors.RedriveError) -> Iterator[type[errors.RedriveError]]:
    below = root.__subclasses__()
    for branch in below:
        yield from leaves(branch)
    if not below:
        yield root


def states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for inner in [*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])]:
            yield from states(inner)


def named(kind: str) -> list[tuple[str, str]]:
    return [
        (state, error)
        for machine in MACHINES
        for state, body in states(machine)
        for entry in body.get(kind, ())
        for error in entry["ErrorEquals"]
    ]


NAMED = {error for _, error in named("Retry") + named("Catch")}
OURS = {error for error in NAMED if not error.startswith(("States.", "Lambda."))} - {WAKES}
LEAVES = {leaf.__name__: leaf for leaf in leaves()}


@pytest.mark.parametrize("error", sorted(OURS))
def test_each_error_that_a_state_names_is_a_leaf(error: str) -> None:
    assert error in LEAVES


@pytest.mark.parametrize("error", sorted(LEAVES))
def test_each_leaf_is_named_by_a_state_or_uncaught_for_a_reason(error: str) -> None:
    assert (error in OURS) != (error in UNCAUGHT_ON_PURPOSE)


def test_no_reason_is_given_for_an_error_that_is_gone() -> None:
    assert set(UNCAUGHT_ON_PURPOSE) <= set(LEAVES)


def test_the_machine_names_errors_at_all() -> None:
    assert {"ServiceBusy", "ServiceUnreachable", "WriteConflict"} <= OURS


def test_only_retryable_errors_are_retried() -> None:
    retried = {error for _, error in named("Retry") if error in LEAVES}
    assert retried
    assert all(issubclass(LEAVES[error], errors.RetryableError) for error in retried)


@pytest.mark.parametrize("error", [name for name, leaf in LEAVES.items() if issubclass(leaf, errors.RetryableError)])
def test_each_retryable_error_is_retried_by_each_step_that_writes(error: str) -> None:
    retrying = {state for state, retried in named("Retry") if retried == error}
    writing = {"CaptureRecords", "ClassifyRecords", "QuarantineRecords", "RedriveRecords"}
    assert writing | {"TakeOverRecords", "NotifyApprovers", "ReviewCase", "RedriveChunk", "SettleCase"} <= retrying


@pytest.mark.parametrize("error", sorted(LEAVES))
def test_each_error_says_what_it_means(error: str) -> None:
    assert (LEAVES[error].__doc__ or "").strip()
