"""Names what AWS answers in the service's own errors; codes that are not known here pass as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from stream_redrive.core.errors import AccessDenied, ServiceBusy, ServiceUnreachable

_BUSY = frozenset(
    {
        "ExecutionLimitExceeded",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "KMS.ThrottlingException",
        "KMSThrottlingException",
        "KmsThrottled",
        "KmsThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "KMS.AccessDeniedException",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
        "KmsAccessDeniedException",
        "UnauthorizedOperation",
    }
)
SERVER_ERROR = 500


def error_code(exc: ClientError) -> str:
    """The service's error code."""
    return exc.response.get("Error", {}).get("Code", "")


@contextmanager
def faults_of(call: str) -> Iterator[None]:
    """Translate the errors of a call. call: service and operation, for the message."""
    try:
        yield
    except ClientError as exc:
        code = error_code(exc)
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _DENIED:
            raise AccessDenied(f"{call}: {exc}") from exc
        if code in _BUSY or status >= SERVER_ERROR:
            raise ServiceBusy(f"{call}: {exc}") from exc
        raise
    except (exceptions.ConnectionError, HTTPClientError, IncompleteReadError) as exc:
        raise ServiceUnreachable(f"{call}: {exc}") from exc
