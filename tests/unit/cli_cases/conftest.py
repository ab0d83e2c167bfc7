"""The `redrive cases` commands against the real API's handler; only the wire between them is cut out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.httpsession import URLLib3Session

from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.core.ports import CaseChange
from stream_redrive.handlers import cases_api
from tests.support.cloud import ACCOUNT, TABLE, VAULT, Cloud, Context
from tests.support.deciding import new_case, quarantined
from tests.unit.cli_policy.conftest import Ended, Redrive, redrive

PAYLOAD = b'{"a":"SECRET\\u001b[2J"}'
POLICY = {"default": {"approval": {"approvers": ["user/alice", "user/bob"]}}}


class Reply:
    """An answer as botocore's session gives it."""

    def __init__(self, status: int, body: Any) -> None:
        self.status_code = status
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()


class Wire:
    """The network between the command and the API. user: who signs. instead: what answers in the API's place."""

    def __init__(self, cloud: Cloud) -> None:
        self.store = DynamoCaseStore(cloud.client("dynamodb"), TABLE, LambdaClock(lambda: 900_000))
        self.vault = S3Vault(cloud.client("s3"), VAULT)
        self.user = "alice"
        self.instead: Reply | None = None
        self.sent: list[AWSPreparedRequest] = []
        self.before: Callable[[str], None] = lambda path: None

    def send(self, request: AWSPreparedRequest) -> Reply:
        self.sent.append(request)
        if self.instead is not None:
            return self.instead
        parts = urlsplit(request.url)
        self.before(parts.path)
        event = {
            "version": "2.0",
            "rawPath": unquote(parts.path),
            "rawQueryString": parts.query,
            "queryStringParameters": dict(parse_qsl(parts.query)),
            "headers": {"content-type": "application/json"},
            "requestContext": {
                "http": {"method": request.method, "path": unquote(parts.path)},
                "stage": "$default",
                "requestId": "r",
                "authorizer": {"iam": {"userArn": f"arn:aws:iam::{ACCOUNT}:user/{self.user}"}},
            },
            "body": (request.body or b"").decode(),
            "isBase64Encoded": False,
        }
        with redirect_stdout(StringIO()):  # the function's metrics are no output of the command
            answer = cases_api.handler(event, Context("CasesApi", aws_request_id=f"request-{len(self.sent)}"))  # type: ignore[arg-type]
        return Reply(answer["statusCode"], json.loads(answer["body"]))


@pytest.fixture
def wire(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Wire:
    cloud.set_policy(POLICY)
    found = Wire(cloud)
    piece = quarantined(found.vault, "incident-1", [PAYLOAD] * 3)
    assert found.store.commit(CaseChange(new_case(records=3, expires_at="2099-01-01T00:00:00.000Z"), pieces=[piece]))
    monkeypatch.setattr(URLLib3Session, "send", lambda self, request: found.send(request))
    monkeypatch.setenv("REDRIVE_API_URL", "https://api.example")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return found


__all__ = ["Ended", "Redrive", "redrive"]
