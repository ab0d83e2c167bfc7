"""How the consumer's log is asked: little, and only where and when the invocations ran."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from stream_redrive.adapters import clients
from stream_redrive.adapters.logs import MAX_CALLS, CloudWatchConsumerLog
from stream_redrive.core.errors import AccessDenied, ServiceBusy, ServiceUnreachable
from stream_redrive.core.ports import FailedInvocation
from tests.support.build import CONSUMER
from tests.support.memory import START
from tests.support.wire import Answer, Wire, broken, refusal, reply

pytestmark = pytest.mark.usefixtures("pauses")
ID = "00000000-0000-4000-8000-000000000001"
STARTED = f"START RequestId: {ID} Version: $LATEST"
TIMED_OUT = f"2026-01-05T12:00:00.000Z {ID} Task timed out after 3.00 seconds"
NOTHING = reply({"events": []})
FUNCTION = reply({"FunctionName": "orders", "Timeout": 30, "LoggingConfig": {"LogGroup": "/aws/lambda/orders"}})


def page(*messages: str, stream: str = "a", at: datetime = START, **fields: Any) -> Answer:
    events = [{"logStreamName": stream, "timestamp": millis(at), "message": text} for text in messages]
    return reply({"events": events, **fields})


def log(*answers: Answer, function: Answer = FUNCTION) -> tuple[CloudWatchConsumerLog, Wire, Wire]:
    logs, functions = clients.logs(), clients.lambda_()
    return CloudWatchConsumerLog(logs, functions), Wire(logs, *answers), Wire(functions, function)


def invocations(*names: str, at: datetime = START) -> list[FailedInvocation]:
    return [FailedInvocation(name, at) for name in names]


def millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def types(source: CloudWatchConsumerLog, asked: Sequence[FailedInvocation], group: str | None = None) -> list[str]:
    return [e.error_type for errors in source.errors_of(CONSUMER, group, asked).values() for e in errors]


def test_an_id_finds_the_stream_and_the_stream_is_read_from_there_on() -> None:
    source, wire, _ = log(page(STARTED), page(STARTED, TIMED_OUT))
    assert types(source, invocations(ID)) == ["Sandbox.Timedout"]
    search, read = wire.requests
    assert search == {
        "logGroupName": "/aws/lambda/orders",
        "startTime": millis(START - timedelta(seconds=30 + 60)),
        "endTime": millis(START + timedelta(seconds=60)),
        "filterPattern": f'?"{ID}"',
    }
    assert read == {
        "logGroupName": "/aws/lambda/orders",
        "startTime": millis(START),
        "endTime": millis(START + timedelta(seconds=60)),
        "logStreamNames": ["a"],
    }


def test_the_class_of_a_traceback_is_found_in_whichever_event_it_comes() -> None:
    lines = ["Traceback (most recent call last):", "  File", "KeyError: 'x'"]
    source, _, _ = log(page(STARTED), page(STARTED, *lines))
    assert types(source, invocations(ID)) == ["KeyError"]


def test_empty_pages_are_no_end() -> None:
    source, wire, _ = log(
        page(nextToken="1"), page(STARTED, nextToken="unread"), page(STARTED, nextToken="2"), page(TIMED_OUT)
    )
    assert types(source, invocations(ID)) == ["Sandbox.Timedout"]
    assert [request.get("nextToken") for request in wire.requests] == [None, "1", None, "2"]


def test_a_log_without_end_is_read_so_far_and_no_further() -> None:
    source, wire, _ = log(page(STARTED, nextToken="more"))
    types(source, invocations(ID))
    assert len(wire.requests) == 1 + MAX_CALLS


def test_a_log_without_end_is_searched_so_far_and_no_further() -> None:
    source, wire, _ = log(page(nextToken="more"))
    assert types(source, invocations(ID)) == []
    assert len(wire.requests) == MAX_CALLS


def test_what_was_read_of_a_log_without_end_counts() -> None:
    source, _, _ = log(page(STARTED, TIMED_OUT, nextToken="more"))
    assert types(source, invocations(ID)) == ["Sandbox.Timedout"]


def test_no_pattern_is_longer_than_cloudwatch_takes() -> None:
    source, wire, _ = log(NOTHING)
    asked = invocations(*(f"00000000-0000-4000-8000-{number:012}" for number in range(10_000)))
    types(source, asked)
    assert max(len(request["filterPattern"]) for request in wire.requests) <= 1024
    assert len(wire.requests) == MAX_CALLS


def test_an_id_that_is_none_never_becomes_a_pattern() -> None:
    source, wire, _ = log(NOTHING)
    assert types(source, invocations('" -"x', "", "a" * 200, "{ $.x = * }")) == []
    assert wire.requests == []


def test_invocations_far_apart_are_looked_for_in_windows_of_their_own_the_latest_first() -> None:
    other = ID[:-1] + "2"
    source, wire, _ = log(NOTHING)
    earlier = START - timedelta(hours=3)
    types(
        source, [*invocations(other, at=earlier), *invocations(ID), *invocations(ID, at=START + timedelta(seconds=9))]
    )
    assert [request["filterPattern"] for request in wire.requests] == [f'?"{ID}"', f'?"{other}"']
    assert [request["startTime"] for request in wire.requests] == [
        millis(moment - timedelta(seconds=90)) for moment in (START, earlier)
    ]
    assert [request["endTime"] for request in wire.requests] == [
        millis(moment + timedelta(seconds=60)) for moment in (START + timedelta(seconds=9), earlier)
    ]


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        ({"LoggingConfig": {"LogGroup": "shared"}}, None, "shared"),
        ({}, None, "/aws/lambda/orders"),
        ({"LoggingConfig": {"LogGroup": "shared"}}, "mine", "mine"),
    ],
)
def test_the_group_is_the_given_one_or_the_functions_own(
    function: dict[str, Any], given: str | None, expected: str
) -> None:
    source, wire, _ = log(NOTHING, function=reply({"FunctionName": "orders", "Timeout": 3, **function}))
    types(source, invocations(ID), given)
    assert [request["logGroupName"] for request in wire.requests] == [expected]


def test_a_functions_settings_are_asked_for_once() -> None:
    source, wire, functions = log(NOTHING)
    types(source, invocations(ID))
    types(source, invocations(ID))
    assert (len(wire.requests), len(functions.requests)) == (2, 1)


def test_a_group_that_is_not_there_tells_nothing() -> None:
    source, _, _ = log(refusal("ResourceNotFoundException"))
    assert types(source, invocations(ID)) == []


def test_a_function_that_is_gone_tells_nothing() -> None:
    source, wire, _ = log(NOTHING, function=refusal("ResourceNotFoundException", status=404))
    assert types(source, invocations(ID)) == []
    assert wire.requests == []


@pytest.mark.parametrize("action", ["logs:FilterLogEvents", "lambda:GetFunctionConfiguration"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal("AccessDeniedException", status=403), AccessDenied),
        (refusal("ThrottlingException"), ServiceBusy),
        (broken(ReadTimeoutError(endpoint_url="https://aws")), ServiceUnreachable),
    ],
    ids=["denied", "busy", "unreachable"],
)
def test_a_log_that_cannot_be_read_says_so_after_a_second_try(
    action: str, answer: Answer, expected: type[Exception]
) -> None:
    answers = {"logs:FilterLogEvents": NOTHING, "lambda:GetFunctionConfiguration": FUNCTION, action: answer}
    source, wire, functions = log(answers["logs:FilterLogEvents"], function=answers["lambda:GetFunctionConfiguration"])
    with pytest.raises(expected, match=action):
        types(source, invocations(ID))
    assert len((wire if action.startswith("logs") else functions).requests) <= 2
