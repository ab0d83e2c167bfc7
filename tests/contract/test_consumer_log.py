"""What every consumer's log tells of failed invocations."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.logs import CloudWatchConsumerLog
from stream_redrive.core.ports import ConsumerLog, FailedInvocation, LoggedError
from tests.support.build import CONSUMER
from tests.support.cloud import ACCOUNT
from tests.support.memory import MemoryConsumerLog

FIRST, SECOND, THIRD = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
GROUP = "/aws/lambda/orders"
NOW = datetime.now(UTC)  # CloudWatch takes nothing older than two weeks
FRAME = "Traceback (most recent call last):"
Write = Callable[[Mapping[str, Sequence[tuple[str, str]]]], None]


@pytest.fixture
def log(implementation: str) -> tuple[ConsumerLog, Write]:
    """A log, and how errors (class, message) come into it: a sandbox each, a printed traceback each."""
    if implementation == "memory":
        memory = MemoryConsumerLog()

        def remember(made: Mapping[str, Sequence[tuple[str, str]]]) -> None:
            for name, errors in made.items():
                memory.errors[name] = [LoggedError(kind, text, traceback(kind, text)) for kind, text in errors]

        return memory, remember
    boto3.client("iam").create_role(RoleName="orders", AssumeRolePolicyDocument="{}")
    boto3.client("lambda").create_function(
        FunctionName="orders",
        Runtime="python3.13",
        Handler="index.handler",
        Role=f"arn:aws:iam::{ACCOUNT}:role/orders",
        Code={"ZipFile": b"no code runs here"},
    )
    boto3.client("logs").create_log_group(logGroupName=GROUP)

    def write(made: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        for name, errors in made.items():
            put(name, [f"START RequestId: {name} Version: 1", *(traceback(*error) for error in errors)])

    return CloudWatchConsumerLog(clients.logs(), clients.lambda_()), write


def traceback(kind: str, text: str) -> str:
    return f"{FRAME}\n  File\n{kind}: {text}"


def put(stream: str, lines: Sequence[str], group: str = GROUP) -> None:
    client = boto3.client("logs")
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    at = int(NOW.timestamp() * 1000)
    client.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": at + number, "message": line} for number, line in enumerate(lines)],
    )


def failed(*names: str) -> list[FailedInvocation]:
    return [FailedInvocation(name, NOW + timedelta(seconds=1)) for name in names]


def found(log: ConsumerLog, *names: str) -> dict[str, list[tuple[str, str]]]:
    errors = log.errors_of(CONSUMER, None, failed(*names))
    return {name: [(error.error_type, error.message) for error in told] for name, told in errors.items()}


def test_each_invocation_has_its_errors_in_their_order(log: tuple[ConsumerLog, Write]) -> None:
    source, write = log
    made = {FIRST: [("KeyError", "'air_time'"), ("ValueError", "closed")], SECOND: [("ValueError", "closed")]}
    write(made)
    assert found(source, SECOND, FIRST) == made


def test_an_invocation_without_errors_is_left_out(log: tuple[ConsumerLog, Write]) -> None:
    source, write = log
    write({FIRST: [("KeyError", "x")], SECOND: []})
    assert found(source, FIRST, SECOND, THIRD).keys() == {FIRST}
    assert found(source) == {}


def test_errors_of_invocations_that_nobody_asked_for_stay_out(log: tuple[ConsumerLog, Write]) -> None:
    source, write = log
    write({FIRST: [("KeyError", "x")], SECOND: [("ValueError", "y")]})
    assert found(source, SECOND, SECOND).keys() == {SECOND}


def test_the_line_comes_along(log: tuple[ConsumerLog, Write]) -> None:
    source, write = log
    write({FIRST: [("KeyError", "x")]})
    [error] = source.errors_of(CONSUMER, None, failed(FIRST))[FIRST]
    assert error.line == traceback("KeyError", "x")
