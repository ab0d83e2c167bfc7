"""What every consumer does when it is invoked."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from moto import mock_aws

from stream_redrive.adapters import clients
from stream_redrive.adapters.consumer import LambdaConsumer
from stream_redrive.core.ports import ConsumerFunction, Reply
from tests.support.build import CONSUMER
from tests.support.cloud import SESSION
from tests.support.memory import MemoryConsumer

Handler = Callable[[Mapping[str, Any]], Any]
Deploy = Callable[[Handler], ConsumerFunction]
EVENT = {"Records": [{"kinesis": {"data": "e30=", "approximateArrivalTimestamp": 1.5}, "eventID": "é"}]}


@pytest.fixture(params=["memory", "aws"])
def deploy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    """Makes a consumer of a handler."""
    if request.param == "memory":
        yield MemoryConsumer
        return
    request.getfixturevalue("pauses")
    with mock_aws(config={"lambda": {"use_docker": False}}):
        monkeypatch.setattr("boto3.DEFAULT_SESSION", SESSION)

        def deployed(handler: Handler) -> ConsumerFunction:
            def invoke(_: Any, name: str, qualifier: str, body: Any, headers: Any, answered: dict[str, str]) -> bytes:
                try:
                    return json.dumps(handler(json.loads(body))).encode()
                except Exception as exc:  # noqa: BLE001 - Lambda too turns every exception into a reply
                    answered["x-amz-function-error"] = "Unhandled"
                    return json.dumps({"errorType": type(exc).__name__, "errorMessage": str(exc)}).encode()

            monkeypatch.setattr("moto.awslambda_simple.models.LambdaSimpleBackend.invoke", invoke)
            return LambdaConsumer(clients.lambda_once())

        yield deployed


def test_the_consumer_gets_the_event_as_it_is(deploy: Deploy) -> None:
    events: list[Mapping[str, Any]] = []
    deploy(events.append).invoke(CONSUMER, EVENT)
    assert events == [EVENT]


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": [{"itemIdentifier": "1"}]}, "done", [1], 0])
def test_an_answer_comes_back_and_no_error(deploy: Deploy, answer: object) -> None:
    assert deploy(lambda event: answer).invoke(CONSUMER, EVENT) == Reply(None, None, answer)


def test_an_exception_comes_back_with_its_class_and_text(deploy: Deploy) -> None:
    def handler(event: object) -> None:
        raise ValueError("quantity is no number")

    reply = deploy(handler).invoke(CONSUMER, EVENT)
    assert reply == Reply("ValueError", "quantity is no number", None)


def test_a_consumer_is_invoked_once_for_each_time_that_is_asked(deploy: Deploy) -> None:
    events: list[Mapping[str, Any]] = []

    def handler(event: Mapping[str, Any]) -> None:
        events.append(event)
        raise KeyError("x")

    consumer = deploy(handler)
    for _ in range(3):
        consumer.invoke(CONSUMER, EVENT)
    assert len(events) == 3
