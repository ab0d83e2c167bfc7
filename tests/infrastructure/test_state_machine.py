"""The state machine: written in what AWS, ministack and moto share, and at one with the functions and their errors."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_redrive.core import errors
from tests.infrastructure.templates import REPOSITORY, SynthesisedStack, readable

DEFINITIONS = sorted((REPOSITORY / "statemachines").glob("*.asl.json"))
REDRIVE = REPOSITORY / "statemachines" / "redrive.asl.json"
CASE = REPOSITORY / "statemachines" / "case.asl.json"
MACHINES = {"WorkflowRedrive": REDRIVE, "CasesCase": CASE}
# What isn't a function of ours, by its placeholder.
INTEGRATIONS = {
    "InvokeAndWaitArn": "arn:AWS::Partition:states:::lambda:invoke.waitForTaskToken",
    "GetObjectArn": "arn:AWS::Partition:states:::s3:getObject",
}
# By this the sweep wakes a task that waits; no exception of ours.
WAKES = "ReminderDue"

# Errors that AWS names, which a step may be run again for.
OF_AWS = {
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "States.Timeout",
    "States.ALL",
}
# No state names these: nothing but a person helps, so States.ALL sends them to ParkIncident.
PARKED = {
    "MalformedIncident",
    "SourceNotSupported",
    "TargetNotSupported",
    "PolicyInvalid",
    "AccessDenied",
    "VaultObjectMissing",
    "IncidentGivenUp",
    "SettingsMissing",
}
# In the case machine the same ends the execution: the case stays as it is, and the sweep starts it again.
FAILS_THE_CASE = {"CaseUnknown", "CaseNotDecided", "CaseNotRedriven"}
# Raised by the sweep, which no state machine calls: its next run tries again.
OUTSIDE_THE_MACHINES = {"CasesNotSwept"}
# These never leave a step: the intake reports the first by message, the capture makes an outcome of the others.
HANDLED_INSIDE = {"ConsumerNotFound", "MalformedNotice", "IteratorExpired", "SequenceNumberRejected", "ShardNotFound"}

# What one of the three engines lacks or reads differently.
OUTSIDE_THE_SUBSET = {
    "QueryLanguage",
    "Assign",
    "Arguments",
    "Output",
    "HeartbeatSeconds",
    "HeartbeatSecondsPath",
    "TimeoutSecondsPath",
    "ItemBatcher",
    "ResultWriter",
    "ToleratedFailurePercentagePath",
    "MaxConcurrencyPath",
}
UNSAFE_PATHS = {
    "a slice or a filter": r"\[\s*(\d*\s*:\s*\d*|\?)",
    "the count of redrives": r"\$\$\.Execution\.RedriveCount",
    "the role of the execution": r"\$\$\.Execution\.RoleArn",
    "the start of the execution": r"\$\$\.Execution\.StartTime",
    "the state of the context": r"\$\$\.State\.",
}


def states_of(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every state by name, those inside Parallel and Map states too."""
    for name, state in machine["States"].items():
        yield name, state
        for inner in [*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])]:
            yield from states_of(inner)


def load(path: Path) -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return machine


ALL_STATES = [
    pytest.param(name, state, id=f"{path.name.removesuffix('.asl.json')}-{name}")
    for path in DEFINITIONS
    for name, state in states_of(load(path))
]


@pytest.mark.parametrize(("name", "state"), ALL_STATES)
def test_every_state_has_a_comment_and_a_pascal_case_name(name: str, state: dict[str, Any]) -> None:
    assert re.fullmatch(r"([A-Z][a-z0-9]*)+", name)
    assert len(state["Comment"]) > 10


@pytest.mark.parametrize(("name", "state"), ALL_STATES)
def test_no_task_can_hang(name: str, state: dict[str, Any]) -> None:
    if name == "NotifyApprovers":
        # A person takes days. Where the path isn't honoured, the sweep wakes the task.
        assert state["TimeoutSecondsPath"] == "$.wait_seconds"
        assert state["Catch"][0]["ErrorEquals"] == ["States.Timeout", WAKES]
    elif state["Type"] == "Task":
        assert 0 < state["TimeoutSeconds"] <= 900, name


@pytest.mark.parametrize(("name", "state"), ALL_STATES)
def test_every_error_is_retried_by_name_and_caught_last(name: str, state: dict[str, Any]) -> None:
    for retrier in state.get("Retry", ()):
        assert "States.ALL" not in retrier["ErrorEquals"], name
        assert "States.TaskFailed" not in retrier["ErrorEquals"], name
        assert retrier["MaxAttempts"] >= 1
    for catcher in state.get("Catch", [])[:-1]:
        assert "States.ALL" not in catcher["ErrorEquals"], name


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_only_what_aws_ministack_and_moto_share_is_used(path: Path) -> None:
    def fields(value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key, inner
                yield from fields(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from fields(inner)

    found = list(fields(load(path)))
    for_a_person = {"TimeoutSecondsPath"} if path == CASE else set()
    assert {key for key, _ in found} & OUTSIDE_THE_SUBSET == for_a_person
    for key, value in found:
        if isinstance(value, str):
            for what, pattern in UNSAFE_PATHS.items():
                assert not re.search(pattern, value), f"{key} uses {what}: {value}"
        if key == "ResultSelector":
            assert "$$" not in json.dumps(value), "ministack knows no context in a ResultSelector"


def test_a_redriven_case_hands_nothing_from_chunk_to_case() -> None:
    redrive = load(CASE)["States"]["RedriveCase"]
    assert redrive["ResultPath"] is None
    assert redrive["MaxConcurrency"] == 1, "the pace is the case's"
    assert redrive["ItemProcessor"]["States"]["ChunkRedriven"]["Result"] == {}
    assert redrive["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


def test_nothing_in_the_case_machine_catches_what_it_cannot_mend() -> None:
    caught = {
        error
        for _, state in states_of(load(CASE))
        for catcher in state.get("Catch", ())
        for error in catcher["ErrorEquals"]
    }
    assert caught == {"States.Timeout", WAKES}


def test_whatever_no_state_handles_parks_the_incident() -> None:
    for name, state in load(REDRIVE)["States"].items():
        if state["Type"] in ("Task", "Parallel") and name != "ParkIncident":
            assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
            assert state["Catch"][-1]["Next"] == "ParkIncident"
            assert state["Catch"][-1]["ResultPath"] == "$.failure", "the input stays, to be parked"
    assert load(REDRIVE)["States"]["ParkIncident"]["Next"] == "IncidentParked"
    assert load(REDRIVE)["States"]["IncidentParked"]["Type"] == "Fail"


def leaves(of: type[Exception] = errors.RedriveError) -> set[str]:
    children = of.__subclasses__()
    return {of.__name__} if not children else set().union(*(leaves(child) for child in children))


def named_errors() -> set[str]:
    return {
        name
        for path in DEFINITIONS
        for _, state in states_of(load(path))
        for handler in [*state.get("Retry", ()), *state.get("Catch", ())]
        for name in handler["ErrorEquals"]
    }


def test_every_named_error_is_a_leaf_of_ours_or_one_of_aws() -> None:
    assert named_errors() <= leaves() | OF_AWS | {WAKES}


def test_every_leaf_is_retried_handled_inside_or_knowingly_parked() -> None:
    assert leaves() - named_errors() == PARKED | FAILS_THE_CASE | HANDLED_INSIDE | OUTSIDE_THE_MACHINES


def test_every_retryable_error_is_retried_and_no_terminal_one() -> None:
    assert named_errors() - OF_AWS - {WAKES} == leaves(errors.RetryableError)


@pytest.mark.parametrize("name", MACHINES)
def test_placeholders_substitutions_and_invoke_grants_agree(plain: SynthesisedStack, name: str) -> None:
    placeholders = set(re.findall(r"\$\{([A-Za-z]+)\}", MACHINES[name].read_text(encoding="utf-8")))
    machine = plain.one("AWS::StepFunctions::StateMachine", name)
    substitutions = {name: readable(arn) for name, arn in machine["DefinitionSubstitutions"].items()}
    assert substitutions.keys() == placeholders
    functions = {name: f"Functions{name.removesuffix('Arn')}" for name in placeholders - INTEGRATIONS.keys()}
    assert substitutions == functions | {name: INTEGRATIONS[name] for name in placeholders & INTEGRATIONS.keys()}
    assert plain.grants()[f"{name}Role"]["lambda:InvokeFunction"] == set(functions.values())


def function_of(state: dict[str, Any]) -> str:
    """The placeholder of the function that a task calls."""
    return str(
        state["Resource"] if "Payload" not in state.get("Parameters", {}) else state["Parameters"]["FunctionName"]
    )


TASKS = [
    pytest.param(name, state, id=name)
    for path in DEFINITIONS
    for name, state in states_of(load(path))
    if state["Type"] == "Task"
]


@pytest.mark.parametrize(("name", "state"), TASKS)
def test_every_task_calls_the_function_of_its_own_name(name: str, state: dict[str, Any]) -> None:
    assert function_of(state) == f"${{{name}Arn}}"


@pytest.mark.parametrize(("name", "state"), TASKS)
def test_no_task_waits_longer_than_its_function_may_run(
    plain: SynthesisedStack, name: str, state: dict[str, Any]
) -> None:
    snake_case = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    assert state.get("TimeoutSeconds", 900) >= plain.functions()[snake_case]["Timeout"]


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_deployed_is_the_file(plain: SynthesisedStack, name: str) -> None:
    machine = plain.one("AWS::StepFunctions::StateMachine", name)
    assert json.loads(machine["DefinitionString"]) == load(MACHINES[name])
