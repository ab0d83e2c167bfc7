"""What Lambda answers and moto doesn't."""

from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from stream_redrive.adapters import clients
from stream_redrive.adapters.consumer import LambdaConsumer
from stream_redrive.core.errors import AccessDenied, ConsumerNotFound, ServiceBusy, ServiceUnreachable
from stream_redrive.core.ports import Reply
from stream_redrive.core.probing import INVOCATION_SECONDS
from tests.support.build import CONSUMER
from tests.support.wire import Answer, Wire, broken, cut_short, document, refusal

pytestmark = pytest.mark.usefixtures("pauses")
ENDPOINT = "https://lambda"


def consumer(*answers: Answer) -> tuple[LambdaConsumer, Wire]:
    client = clients.lambda_once()
    return LambdaConsumer(client), Wire(client, *answers)


def failed(body: str) -> Answer:
    def answer(request: AWSPreparedRequest) -> AWSResponse:
        response = document(body)(request)
        response.headers = {"X-Amz-Function-Error": "Unhandled"}
        return response

    return answer


@pytest.mark.parametrize("qualifier", ["", ":live", ":7", ":$LATEST"])
def test_the_consumer_is_invoked_as_its_notices_name_it_and_waited_for(qualifier: str) -> None:
    function, wire = consumer(document("null"))
    function.invoke(CONSUMER + qualifier, {"Records": []})
    [request] = wire.requests
    assert request["url"].endswith(
        f"/functions/{(CONSUMER + qualifier).replace(':', '%3A').replace('$', '%24')}/invocations"
    )
    assert request["X-Amz-Invocation-Type"] == b"RequestResponse"


def test_a_reply_is_waited_for_as_long_as_the_probe_reckons_with() -> None:
    config: Any = clients.lambda_once().meta.config
    assert config.read_timeout == INVOCATION_SECONDS


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ('{"errorType": "KeyError", "errorMessage": "\'id\'", "stackTrace": []}', Reply("KeyError", "'id'", None)),
        (
            '{"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: 1 Error: Task timed out after 3.00 s"}',
            Reply("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 3.00 s", None),
        ),
        (
            '{"errorMessage": "2026-01-05T12:00:00.000Z 1 Task timed out after 3.00 seconds"}',
            Reply("Sandbox.Timedout", "2026-01-05T12:00:00.000Z 1 Task timed out after 3.00 seconds", None),
        ),
        ('{"errorMessage": "unknown"}', Reply("Unhandled", "unknown", None)),
        ('{"errorType": null, "errorMessage": null}', Reply("Unhandled", "", None)),
        ('"broken"', Reply("Unhandled", "broken", None)),
        ("no JSON", Reply("Unhandled", "no JSON", None)),
        ("", Reply("Unhandled", "", None)),
    ],
)
def test_an_error_always_has_a_class_and_a_text(body: str, reply: Reply) -> None:
    function, _ = consumer(failed(body))
    assert function.invoke(CONSUMER, {}) == reply


@pytest.mark.parametrize(("body", "answer"), [("", None), ("done", "done"), ("{}", {})])
def test_an_answer_may_be_anything(body: str, answer: object) -> None:
    function, _ = consumer(document(body))
    assert function.invoke(CONSUMER, {}) == Reply(None, None, answer)


NOT_RUN = [
    ("TooManyRequestsException", 429),
    ("ResourceConflictException", 409),
    ("CodeArtifactUserPendingException", 409),
    ("EC2ThrottledException", 502),
    ("ENILimitReachedException", 502),
    ("KMSAccessDeniedException", 502),
    ("SnapStartNotReadyException", 409),
]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        *((refusal(code, status), ServiceBusy) for code, status in NOT_RUN),
        (refusal("AccessDeniedException", 403), AccessDenied),
        (refusal("ResourceNotFoundException", 404), ConsumerNotFound),
        # Whatever these met, the function may have run.
        (refusal("ServiceException", 500), ServiceUnreachable),
        (refusal("InternalFailure", 503), ServiceUnreachable),
        (broken(ReadTimeoutError(endpoint_url=ENDPOINT)), ServiceUnreachable),
        (broken(ConnectTimeoutError(endpoint_url=ENDPOINT)), ServiceUnreachable),
        (cut_short(b"null"), ServiceUnreachable),
        (refusal("RequestTooLargeException", 413), ClientError),
    ],
)
def test_an_invocation_that_fails_is_never_repeated_and_says_whether_it_may_have_run(
    answer: Answer, error: type[Exception]
) -> None:
    function, wire = consumer(answer)
    with pytest.raises(error):
        function.invoke(CONSUMER, {})
    assert len(wire.requests) == 1
