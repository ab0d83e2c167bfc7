"""Lambda: the consumer itself, invoked by the probe."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import SERVER_ERROR, error_code, faults_of
from stream_redrive.core.errors import ConsumerNotFound, ServiceBusy, ServiceUnreachable
from stream_redrive.core.ports import Reply

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# How the codes begin of the errors that come before the function runs.
# https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
_DID_NOT_RUN = (
    "CodeArtifactUser",
    "EC2",
    "EFSMount",
    "ENI",
    "InvalidRuntime",
    "InvalidSecurityGroup",
    "InvalidSubnet",
    "InvalidZipFile",
    "KMS",
    "RecursiveInvocation",
    "ResourceConflict",
    "ResourceNotReady",
    "S3FilesMount",
    "ServiceQuotaExceeded",
    "SnapStart",
    "SubnetIPAddressLimitReached",
    "TooManyRequests",
)
_CALL = "lambda:Invoke"


class LambdaConsumer:
    """Invokes consumers."""

    def __init__(self, client: "LambdaClient") -> None:
        """client: one that doesn't repeat calls."""
        self._client = client

    def invoke(self, consumer: str, event: Mapping[str, Any]) -> Reply:
        """Invoke, RequestResponse."""
        with faults_of(_CALL):
            try:
                reply = self._client.invoke(
                    FunctionName=consumer, InvocationType="RequestResponse", Payload=json.dumps(event).encode()
                )
            except ClientError as exc:
                code = error_code(exc)
                if code == "ResourceNotFoundException":
                    raise ConsumerNotFound(f"{_CALL}: {exc}") from exc
                if code.startswith(_DID_NOT_RUN):
                    raise ServiceBusy(f"{_CALL}: {exc}") from exc
                if exc.response["ResponseMetadata"]["HTTPStatusCode"] >= SERVER_ERROR:
                    raise ServiceUnreachable(f"{_CALL}: {exc}") from exc
                raise
            answer = _decoded(reply["Payload"].read())
        if "FunctionError" not in reply:
            return Reply(None, None, answer)
        error = answer if isinstance(answer, dict) else {"errorMessage": answer}
        message = str(error.get("errorMessage") or "")
        return Reply(str(error.get("errorType") or _unnamed(message, reply["FunctionError"])), message, None)


def _unnamed(message: str, function_error: str) -> str:
    # Some runtimes name no type where Lambda ends a function that takes too long.
    return "Sandbox.Timedout" if "Task timed out" in message else function_error


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
