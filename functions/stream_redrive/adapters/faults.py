"""Names what AWS answers in the service's own errors; codes that are not known here pass as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions
from botocore.exceptions import ClientError, HTTPClientError

from stream_redrive.core.errors import AccessDenied, ServiceBusy, ServiceUnreachable

_BUSY = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "KMSAccessDeniedException",
        "KMS.AccessDeniedException",
        "UnauthorizedOperation",
    }
)
_SERVER_ERROR = 500


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
        if code in _BUSY or status >= _SERVER_ERROR:
            raise ServiceBusy(f"{call}: {exc}") from exc
        raise
    except (exceptions.ConnectionError, HTTPClientError) as exc:
        raise ServiceUnreachable(f"{call}: {exc}") from exc
