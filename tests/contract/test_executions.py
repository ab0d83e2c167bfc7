"""What every set of executions does."""

from collections.abc import Callable
from dataclasses import dataclass

import boto3
import pytest
from moto.stepfunctions.models import stepfunctions_backends

from stream_redrive.adapters import clients
from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions
from stream_redrive.core.ports import ExecutionExists, Executions
from tests.support.cloud import ACCOUNT, ENVIRONMENT, REGION
from tests.support.memory import MemoryExecutions

MACHINE = ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"]
NAME = "0123456789abcdef0123456789abcdef"
BODY = '{"incident":{"id":"0123"}}'


@dataclass
class Machines:
    """Executions, a way to end one with a status, and what was started (name: input)."""

    executions: Executions
    end: Callable[[str, str], None]
    started: Callable[[], dict[str, str]]


@pytest.fixture
def machines(implementation: str) -> Machines:
    if implementation == "memory":
        memory = MemoryExecutions()
        return Machines(memory, memory.statuses.__setitem__, lambda: memory.started)
    definition = '{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}'
    boto3.client("stepfunctions").create_state_machine(
        name="redrive", definition=definition, roleArn=f"arn:aws:iam::{ACCOUNT}:role/redrive"
    )
    backend = stepfunctions_backends[ACCOUNT][REGION]
    arn = MACHINE.replace(":stateMachine:", ":execution:")

    def end(name: str, status: str) -> None:
        backend.describe_execution(f"{arn}:{name}").status = status

    def started() -> dict[str, str]:
        return {e.name: e.execution_input for e in backend.list_executions(MACHINE)[0]}

    return Machines(StepFunctionsExecutions(clients.stepfunctions(), MACHINE), end, started)


def test_an_execution_runs_with_its_input(machines: Machines) -> None:
    machines.executions.start(NAME, BODY)
    assert machines.executions.status(NAME) == "RUNNING"
    assert machines.started() == {NAME: BODY}


def test_the_same_start_again_is_the_execution_that_runs(machines: Machines) -> None:
    for _ in range(2):
        machines.executions.start(NAME, BODY)
    assert machines.started() == {NAME: BODY}


def test_a_name_with_another_input_is_taken(machines: Machines) -> None:
    machines.executions.start(NAME, BODY)
    with pytest.raises(ExecutionExists, match=NAME):
        machines.executions.start(NAME, '{"incident":{}}')
    assert machines.started() == {NAME: BODY}


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"])
def test_a_name_stays_taken_after_the_end(machines: Machines, status: str) -> None:
    machines.executions.start(NAME, BODY)
    machines.end(NAME, status)
    assert machines.executions.status(NAME) == status
    with pytest.raises(ExecutionExists, match=NAME):
        machines.executions.start(NAME, BODY)


def test_names_do_not_touch_one_another(machines: Machines) -> None:
    machines.executions.start(NAME, BODY)
    machines.executions.start(f"{NAME}-r2", BODY)
    machines.end(NAME, "FAILED")
    assert machines.executions.status(f"{NAME}-r2") == "RUNNING"


def test_those_that_run_are_named(machines: Machines) -> None:
    for name in (NAME, f"{NAME}-r2"):
        machines.executions.start(name, BODY)
    machines.end(NAME, "FAILED")
    assert machines.executions.running() == {f"{NAME}-r2"}
