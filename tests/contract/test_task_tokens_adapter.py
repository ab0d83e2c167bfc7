"""Task tokens: whoever waits is answered once; a token that is dead says so, and is named nowhere."""

import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.stepfunctions import StepFunctionsTaskTokens
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import TaskTokens
from tests.support.memory import MemoryTaskTokens
from tests.support.wire import Wire, refusal, reply

TOKEN = "AAAA-secret"
DEAD = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")


@pytest.fixture(params=["memory", *DEAD])
def answered_once(request: pytest.FixtureRequest, pauses: list[float]) -> TaskTokens:
    """Tokens of which TOKEN waits for one answer."""
    if request.param == "memory":
        return MemoryTaskTokens(TOKEN)
    client = clients.stepfunctions()
    Wire(client, reply({}), refusal(request.param))
    return StepFunctionsTaskTokens(client)


def test_a_task_that_waits_succeeds_and_then_waits_no_more(answered_once: TaskTokens) -> None:
    assert answered_once.succeed(TOKEN, '{"action":"keep"}')
    assert not answered_once.succeed(TOKEN, '{"action":"discard"}')
    assert not answered_once.fail(TOKEN, "ReminderDue")


def test_a_task_that_waits_fails_and_then_waits_no_more(answered_once: TaskTokens) -> None:
    assert answered_once.fail(TOKEN, "ReminderDue")
    assert not answered_once.succeed(TOKEN, "{}")


def test_the_answer_is_what_was_given(pauses: list[float]) -> None:
    client = clients.stepfunctions()
    wire = Wire(client, reply({}))
    StepFunctionsTaskTokens(client).succeed(TOKEN, '{"action":"keep"}')
    StepFunctionsTaskTokens(client).fail(TOKEN, "ReminderDue")
    assert wire.requests == [
        {"taskToken": TOKEN, "output": '{"action":"keep"}'},
        {"taskToken": TOKEN, "error": "ReminderDue"},
    ]


def test_a_busy_service_is_no_dead_token(pauses: list[float]) -> None:
    client = clients.stepfunctions()
    Wire(client, refusal("ThrottlingException"))
    with pytest.raises(ServiceBusy) as raised:
        StepFunctionsTaskTokens(client).succeed(TOKEN, "{}")
    assert TOKEN not in str(raised.value)
