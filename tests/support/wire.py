"""One client's connection to AWS, answered by the test: errors, lost answers and partial failures that moto can't give.

The client itself is real: it signs, repeats and parses as it does on AWS; only the bytes never leave the process.
"""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

Answer = Callable[[AWSPreparedRequest], AWSResponse]


class Wire:
    """Answers a client's requests in order; the last answer serves all that follow. requests: their bodies."""

    def __init__(self, client: Any, *answers: Answer) -> None:
        self.requests: list[dict[str, Any]] = []
        self._json = client.meta.service_model.resolved_protocol == "json"
        self._answers = list(answers)
        client.meta.events.register_first("before-send", self._answer)

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body: Any = request.body or b"{}"
        self.requests.append(json.loads(body) if self._json else {"url": request.url, **request.headers})
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(request)


def reply(body: dict[str, Any]) -> Answer:
    """HTTP 200 of a JSON service."""
    return lambda request: _response(request, 200, json.dumps(body).encode(), {})


def document(body: str) -> Answer:
    """HTTP 200 of S3."""
    return lambda request: _response(request, 200, body.encode(), {"Content-Type": "application/xml"})


def stored(body: str, tag: str = '"tag"') -> Answer:
    """HTTP 200 of S3 with an object."""
    return lambda request: _response(request, 200, body.encode(), {"ETag": tag})


def refusal(code: str, status: int = 400, **fields: Any) -> Answer:
    """An error reply, in the language of whichever service is asked."""

    def answer(request: AWSPreparedRequest) -> AWSResponse:
        if ".s3." in request.url:
            return _response(request, status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), {})
        if "/sns." in request.url:
            body = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
            return _response(request, status, body.encode(), {})
        document = {"__type": f"com.amazonaws#{code}", "message": "no", **fields}
        return _response(request, status, json.dumps(document).encode(), {"x-amzn-ErrorType": code})

    return answer


def broken(error: Exception) -> Answer:
    """No reply: the connection fails."""

    def answer(_: AWSPreparedRequest) -> AWSResponse:
        raise error

    return answer


def cut_short(body: bytes, missing: int = 1) -> Answer:
    """A reply that ends before its last byte came."""
    return lambda request: _response(request, 200, body, {"Content-Length": str(len(body) + missing)})


class _Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


def _response(request: AWSPreparedRequest, status: int, body: bytes, headers: dict[str, str]) -> AWSResponse:
    answered: Any = headers
    return AWSResponse(request.url, status, answered, _Body(body))
