"""CloudWatch Logs: what the consumer wrote about the invocations that failed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.core.consumer_log import LogEvent, errors_by_request
from stream_redrive.core.ports import FailedInvocation, LoggedError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient

# An account has few FilterLogEvents calls a second, and others search too. An incident may make so many to find its
# invocations' log streams, and as many to read those.
MAX_CALLS = 5
MAX_STREAMS = 100
# What a pattern's 1,024 characters have room for.
_IDS_A_PATTERN, _MAX_ID = 25, 36
# The clocks of sandbox and mapping, and what lies between an invocation's end and its notice.
_SLACK = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Settings:
    """log_group: the function's own. timeout: how long an invocation may have run."""

    log_group: str
    timeout: timedelta


class CloudWatchConsumerLog:
    """The log groups of consumers. Keep one a sandbox: it remembers each function's settings.

    A log stream is one sandbox's. The request id, which the first line of an invocation has, finds its stream; the
    stream is then read as it is: CloudWatch's terms are whole words, so no pattern finds the class at the end of a
    traceback.
    """

    def __init__(self, logs_client: "CloudWatchLogsClient", lambda_client: "LambdaClient") -> None:
        self._client = logs_client
        self._lambda = lambda_client
        self._settings: dict[str, _Settings] = {}

    def errors_of(
        self, consumer: str, log_group: str | None, invocations: Sequence[FailedInvocation]
    ) -> Mapping[str, Sequence[LoggedError]]:
        """At most twice MAX_CALLS FilterLogEvents; the latest invocations come first, and what is left is left out."""
        events: list[LogEvent] = []
        searches, reads = iter(range(MAX_CALLS)), iter(range(MAX_CALLS))
        with _nothing_there():
            settings = self._settings_of(consumer)
            group, reach = log_group or settings.log_group, settings.timeout + _SLACK
            for near in _near_in_time(invocations, reach + _SLACK):
                first, last = near[-1].ended_at - reach, near[0].ended_at + _SLACK
                asked = {i.request_id for i in near if _is_plain(i.request_id)}
                found = self._find(searches, asked, logGroupName=group, startTime=_millis(first), endTime=_millis(last))
                if not found:
                    continue
                for page in self._pages(
                    reads,
                    logGroupName=group,
                    logStreamNames=sorted({event.stream for event in found})[:MAX_STREAMS],
                    startTime=min(event.timestamp for event in found),
                    endTime=_millis(last),
                ):
                    events += page
        wanted = {invocation.request_id for invocation in invocations}
        return {name: errors for name, errors in errors_by_request(events).items() if name in wanted}

    def _settings_of(self, consumer: str) -> _Settings:
        if consumer not in self._settings:
            with faults_of("lambda:GetFunctionConfiguration"):
                reply = self._lambda.get_function_configuration(FunctionName=consumer)
            group = reply.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{reply['FunctionName']}"
            self._settings[consumer] = _Settings(group, timedelta(seconds=reply["Timeout"]))
        return self._settings[consumer]

    def _find(self, calls: Iterator[int], request_ids: set[str], **window: Any) -> list[LogEvent]:
        """An event or more of each invocation that the log knows."""
        found: list[LogEvent] = []
        ids = sorted(request_ids)
        for start in range(0, len(ids), _IDS_A_PATTERN):
            unseen = set(ids[start : start + _IDS_A_PATTERN])
            pattern = " ".join(f'?"{request_id}"' for request_id in sorted(unseen))
            for page in self._pages(calls, filterPattern=pattern, **window):
                hits = [event for event in page if any(request_id in event.message for request_id in unseen)]
                unseen = {request_id for request_id in unseen if not any(request_id in e.message for e in hits)}
                found += hits
                if not unseen:
                    break
        return found

    def _pages(self, calls: Iterator[int], **request: Any) -> Iterator[list[LogEvent]]:
        for _ in calls:
            with faults_of("logs:FilterLogEvents"):
                reply = self._client.filter_log_events(**request)
            yield [LogEvent(e["logStreamName"], e["timestamp"], e["message"]) for e in reply["events"]]
            if not (token := reply.get("nextToken")):
                return
            request["nextToken"] = token


@contextmanager
def _nothing_there() -> Iterator[None]:
    """A function that is gone, or a log group that was never written to, tells nothing."""
    try:
        yield
    except ClientError as exc:
        if error_code(exc) != "ResourceNotFoundException":
            raise


def _near_in_time(invocations: Sequence[FailedInvocation], reach: timedelta) -> Iterator[list[FailedInvocation]]:
    """Groups that one window each covers, the latest first, as in them."""
    near: list[FailedInvocation] = []
    for invocation in sorted(invocations, key=lambda invocation: invocation.ended_at, reverse=True):
        if near and near[-1].ended_at - invocation.ended_at > reach:
            yield near
            near = []
        near.append(invocation)
    if near:
        yield near


def _is_plain(request_id: str) -> bool:
    # A notice comes from outside: nothing in it may become a pattern of its own.
    return len(request_id) <= _MAX_ID and request_id.isascii() and request_id.replace("-", "").isalnum()


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
