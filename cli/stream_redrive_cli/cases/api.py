"""The cases API, called with signed requests. What it refuses ends the command, with the exit code that fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError, NoRegionError
from botocore.httpsession import URLLib3Session

from stream_redrive_cli.errors import CommandError, ConfigurationError, ServiceRefusedError, StaleError, UsageError

# The API itself gives up after 30 s.
_TIMEOUT_SECONDS = 35
_OK = 200
_MALFORMED = 400
_LARGEST_PAGE = 100


class CasesApi:
    """The API of one deployment, called by one person."""

    def __init__(self, session: boto3.Session, url: str) -> None:
        """Raises ConfigurationError: no http or https URL; NoCredentialsError, NoRegionError."""
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError(f"{url!r} is no URL of a cases API")
        credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        if session.region_name is None:
            raise NoRegionError
        self._signer = SigV4Auth(credentials.get_frozen_credentials(), "execute-api", session.region_name)
        self._url = url.rstrip("/")
        ca_bundle = session._session.get_config_variable("ca_bundle")  # the only way boto3 has to tell
        self._http = URLLib3Session(verify=ca_bundle or True, timeout=_TIMEOUT_SECONDS)

    def cases(self, *, every: bool) -> list[dict[str, Any]]:
        """All cases, or those that wait or are under way."""
        found: list[dict[str, Any]] = []
        query: dict[str, object] = {"every": "true" if every else "false", "limit": _LARGEST_PAGE}
        while True:
            page = self._call("GET", "/cases", query=query)
            found += page["cases"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    def show(self, case_id: str) -> dict[str, Any]:
        """A case, with its notes and history."""
        return self._call("GET", _path(case_id))

    def records(self, case_id: str, number: int) -> list[dict[str, Any]]:
        """So many of the case's records, masked."""
        found: list[dict[str, Any]] = []
        while len(found) < number:
            query = {"limit": min(number - len(found), _LARGEST_PAGE), "after": len(found)}
            page = self._call("GET", _path(case_id, "records"), query=query)["records"]
            found += page
            if len(page) < query["limit"]:
                break
        return found

    def view(self, case_id: str, record: str) -> dict[str, Any]:
        """A record's line, payload and all."""
        return self._call("POST", _path(case_id, "views"), {"record": record})

    def plan(self, case_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """What a decision would do."""
        return self._call("POST", _path(case_id, "plans"), request)

    def decide(self, case_id: str, decision: Mapping[str, Any]) -> dict[str, Any]:
        """Decide, or approve; the case as it then stands, and whether those whom it concerns were told."""
        return self._call("POST", _path(case_id, "decisions"), decision)

    def note(self, case_id: str, text: str) -> dict[str, Any]:
        """Add a note."""
        return self._call("POST", _path(case_id, "notes"), {"text": text})

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        url = f"{self._url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = AWSRequest(method, url, data=data, headers={"Content-Type": "application/json"})
        self._signer.add_auth(request)
        reply = self._http.send(request.prepare())
        answer = _read(reply.content)
        if reply.status_code != _OK:
            raise _problem(reply.status_code, answer or {})
        if answer is None:
            raise ServiceRefusedError(f"{self._url} answers with something else than JSON: is it the cases API?")
        return answer


def _path(case_id: str, part: str = "") -> str:
    return f"/cases/{quote(case_id, safe='')}" + (f"/{part}" if part else "")


def _read(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _problem(status: int, answer: Mapping[str, Any]) -> CommandError:
    """The API's word, {"error", "message"}, as an error; API Gateway itself says {"message"}."""
    name, message = answer.get("error"), answer.get("message") or "no reason given"
    if name is None and status in (401, 403):
        return ServiceRefusedError(
            f"IAM refuses the call ({message}): it takes a grant of the service's (grant_viewer, grant_operator)"
        )
    text = f"{message} ({name or status})"
    if name == "StaleDigest":
        return StaleError(text)
    return UsageError(text) if status == _MALFORMED else ServiceRefusedError(text)
