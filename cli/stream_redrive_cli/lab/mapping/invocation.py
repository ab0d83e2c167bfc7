"""Calls the function of a mapping and says whether it ran, and how it went."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from stream_redrive.core.responses import WholeBatchFailed, failed_items
from stream_redrive_cli.lab.mapping.batch import NotRun

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

UNREADABLE = object()
"""Stands for an answer that isn't JSON."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """An invocation that ran. `answer` is the decoded payload."""

    request_id: str
    status_code: int
    executed_version: str
    function_error: str | None
    answer: object

    def failed_items(self, known: Collection[str], *, partial_responses: bool) -> frozenset[str]:
        """The items that failed. Raises WholeBatchFailed when all of them did."""
        if self.function_error or self.status_code >= 300:
            raise WholeBatchFailed(self.function_error or f"status {self.status_code}")
        if not partial_responses:
            return frozenset()
        return failed_items(self.answer, known)


class FunctionInvoker:
    """The function of a mapping, called synchronously. Safe for several threads."""

    def __init__(self, client: LambdaClient, function_arn: str) -> None:
        self._client = client
        self._function_arn = function_arn

    def invoke(self, payload: bytes) -> Invocation | NotRun:
        """Call the function once with a whole event."""
        try:
            reply = self._client.invoke(
                FunctionName=self._function_arn, InvocationType="RequestResponse", Payload=payload
            )
            body = reply["Payload"].read()
        except ClientError as exc:
            error = exc.response["Error"]
            metadata = exc.response.get("ResponseMetadata", {})
            if error["Code"] == "RequestTooLargeException":
                # No later try can help: counts as a failure, so that bisect and retries end in a notice.
                return Invocation(metadata.get("RequestId", ""), 413, "$LATEST", None, None)
            return NotRun(error["Code"])
        except BotoCoreError as exc:
            return NotRun(str(exc))
        answer = _decoded(body)
        function_error = reply.get("FunctionError")
        request_id = reply["ResponseMetadata"]["RequestId"]
        if function_error and isinstance(answer, dict):
            # The local cloud's HTTP request id isn't the one in the function's log; its error body has that.
            request_id = answer.get("requestId", request_id)
        return Invocation(
            request_id, reply["StatusCode"], reply.get("ExecutedVersion", "$LATEST"), function_error, answer
        )


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return UNREADABLE
