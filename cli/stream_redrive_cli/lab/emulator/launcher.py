"""Runs ministack in this process, with what it lacks to be a faithful Lambda and a breakable cloud.

`python -m stream_redrive_cli.lab.emulator.launcher`; settings come from the environment (GATEWAY_PORT, AUTH …).
"""

from __future__ import annotations

import json
import queue
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

from stream_redrive_cli.lab.emulator.faults import CallCounter, Fault, FaultBook
from stream_redrive_cli.lab.emulator.requests import operation_name, service_name

MINISTACK_VERSION = "1.5.33"
CONTROL_PATH = "/_lab/"

_ERROR_MARK = "stream-redrive-lab.handler-error"
_WORKER_ERROR = '{"status": "error", "error": str(e), "trace": traceback.format_exc()}'
# Reported as a result, so that ministack keeps the worker: on AWS an exception in the handler does not end
# the sandbox, and errorType is the exception's class, which Retry and Catch of a state machine name.
_WORKER_RESULT = (
    '{"status": "ok", "result": {"' + _ERROR_MARK + '": {"errorMessage": str(e), "errorType": type(e).__name__,'
    ' "stackTrace": traceback.format_tb(e.__traceback__)}, "trace": traceback.format_exc()}}'
)

# Ends an invocation's output: ministack waits 50 ms for a first line that may never come.
_OUTPUT_END = "stream-redrive-lab.output-end"
_WORKER_END = "        _real_stdout.flush()\n\nrun()\n"
_WORKER_END_MARKED = f'        sys.stderr.write("\\n{_OUTPUT_END}\\n")\n        sys.stderr.flush()\n' + _WORKER_END
_OUTPUT_SECONDS = 0.25

_WORKERS = 4  # of a function: the shards of the largest stream here
_SHARING_SECONDS = 20.0
_EXPIRY_SECONDS = 10.0  # an iterator lives 300 s

Response = tuple[int, dict[str, str], Any]
Dispatch = Callable[..., Awaitable[Response]]


def main() -> None:
    if version("ministack") != MINISTACK_VERSION:
        raise SystemExit(f"the lab knows ministack {MINISTACK_VERSION}, installed is {version('ministack')}")
    keep_handler_errors()
    authorize_batches_as_single_actions()
    search_logs_as_cloudwatch_does()
    share_workers()
    look_for_expired_iterators_now_and_then()
    control = Control()
    from ministack import app  # noqa: PLC0415 - reads its settings when imported

    assert app._dispatch_service_request.__code__.co_argcount == 6, "ministack changed: re-check the lab"
    app._dispatch_service_request = control.around(app._dispatch_service_request)
    # With TLS ministack takes port 443 as well, when it may; the lab must not.
    assert app._port_is_bindable.__code__.co_varnames[:2] == ("host", "port"), "ministack changed"
    app._port_is_bindable = lambda host, port: False
    # One thread serves every request: after each system call it must not wait 5 ms for a busier thread.
    sys.setswitchinterval(0.0005)
    app.main()


def keep_handler_errors() -> None:
    """Let a failed invocation report the exception's class and keep its worker; a timeout still kills it."""
    from ministack.core import lambda_runtime  # noqa: PLC0415 - see main
    from ministack.services import lambda_svc  # noqa: PLC0415

    script: str = lambda_runtime._PYTHON_WORKER_SCRIPT
    assert script.count(_WORKER_ERROR) == script.count(_WORKER_END) == 1, "ministack changed: re-check the lab"
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_WORKER_ERROR, _WORKER_RESULT).replace(
        _WORKER_END, _WORKER_END_MARKED
    )
    assert hasattr(lambda_runtime.Worker, "_drain_stderr_bounded"), "ministack changed: re-check the lab"
    lambda_runtime.Worker._drain_stderr_bounded = invocation_output
    execute = lambda_svc._execute_function_warm

    def execute_function_warm(func: Any, event: Any, request_id: str) -> dict[str, Any]:
        outcome: dict[str, Any] = execute(func, event, request_id)
        body = outcome.get("body")
        if not (isinstance(body, dict) and _ERROR_MARK in body):
            return outcome
        return {
            "body": {**body[_ERROR_MARK], "requestId": request_id},
            "error": True,
            "log": "\n".join(filter(None, [outcome.get("log"), body["trace"]])),
        }

    lambda_svc._execute_function_warm = execute_function_warm


def share_workers() -> None:
    """Let an invocation wait for a sandbox of its function when there are a few: on AWS it would get a new one, but
    here dozens of cold starts at once would hold up everything for longer than any wait.
    """
    from ministack.services import lambda_svc  # noqa: PLC0415 - see main

    acquire = lambda_svc.acquire_worker
    names = acquire.__code__.co_varnames[: acquire.__code__.co_argcount]
    assert names == ("func_name", "config", "code_zip", "qualifier", "max_concurrency"), "ministack changed"

    def acquire_worker(func_name: str, config: Any, code_zip: bytes, qualifier: str) -> Any:
        deadline = time.monotonic() + _SHARING_SECONDS
        while time.monotonic() < deadline:
            worker, reason = acquire(func_name, config, code_zip, qualifier, _WORKERS)
            if worker is not None:
                return worker, reason
            time.sleep(0.01)
        return acquire(func_name, config, code_zip, qualifier)

    lambda_svc.acquire_worker = acquire_worker


def look_for_expired_iterators_now_and_then() -> None:
    """ministack goes through all of Kinesis' iterators, tens of thousands in a few minutes, at every request."""
    from ministack.services import kinesis  # noqa: PLC0415 - see main

    expire = kinesis._expire_iterators
    assert expire.__code__.co_argcount == 0, "ministack changed: re-check the lab"
    looked = time.monotonic()

    def expire_iterators() -> None:
        nonlocal looked
        if time.monotonic() - looked > _EXPIRY_SECONDS:
            looked = time.monotonic()
            expire()

    kinesis._expire_iterators = expire_iterators


def authorize_batches_as_single_actions() -> None:
    """Check `SendMessageBatch` and its like as `sqs:SendMessage`: IAM knows no batch actions of SQS.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
    """
    from ministack.core import iam_actions  # noqa: PLC0415 - see main

    extract = iam_actions.extract_iam_action
    names = extract.__code__.co_varnames[: extract.__code__.co_argcount]
    assert names == ("service", "method", "path", "headers", "body", "query_params"), "ministack changed"

    def extract_iam_action(*request: Any) -> str | None:
        action: str | None = extract(*request)
        return action.removesuffix("Batch") if action is not None and action.startswith("sqs:") else action

    iam_actions.extract_iam_action = extract_iam_action


def search_logs_as_cloudwatch_does() -> None:
    """Let a filter pattern's `?"term"`s match any of them, and check a search against the log group's streams.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    from ministack.core import iam_actions  # noqa: PLC0415 - see main
    from ministack.services import cloudwatch_logs  # noqa: PLC0415

    compile_pattern, extract = cloudwatch_logs._compile_filter_pattern, iam_actions.extract_resource_arn
    assert compile_pattern.__code__.co_varnames[:1] == ("raw",), "ministack changed: re-check the lab"
    assert extract.__code__.co_varnames[:4] == ("service", "method", "path", "headers"), "ministack changed"

    def compile_filter_pattern(raw: str) -> Callable[[str], bool]:
        if not raw.startswith('?"'):
            matches: Callable[[str], bool] = compile_pattern(raw)
            return matches
        terms = raw.removeprefix('?"').removesuffix('"').split('" ?"')
        return lambda message: any(term in message for term in terms)

    def extract_resource_arn(service: str, method: str, path: str, headers: dict[str, str], *rest: Any) -> str:
        arn: str = extract(service, method, path, headers, *rest)
        searches = headers.get("x-amz-target", "").endswith(".FilterLogEvents")
        return f"{arn}:log-stream:" if service == "logs" and searches else arn

    cloudwatch_logs._compile_filter_pattern = compile_filter_pattern
    iam_actions.extract_resource_arn = extract_resource_arn


def invocation_output(worker: Any) -> str:
    """What the handler printed: everything up to the mark, or what came until the wait ends."""
    lines: list[str] = []
    deadline = time.monotonic() + _OUTPUT_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = worker._stderr_queue.get(timeout=left)
        except queue.Empty:
            break
        if line == _OUTPUT_END:
            break
        lines.append(line)
    return "\n".join(lines).rstrip("\n")


class Control:
    """Counts the calls, injects the faults, and answers the lab's own questions under /_lab/."""

    def __init__(self) -> None:
        self.faults = FaultBook()
        self.calls = CallCounter()

    def around(self, dispatch: Dispatch) -> Dispatch:
        async def controlled(
            method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any], request_id: str
        ) -> Response:
            if path.startswith(CONTROL_PATH):
                return self.answer(method, path.removeprefix(CONTROL_PATH), body)
            from ministack.core.router import detect_service  # noqa: PLC0415 - see main

            service = service_name(detect_service(method, path, headers, query))
            operation = operation_name(service, method, path, headers, query, body)
            principal = caller_arn(headers, query)
            self.calls.count(principal.rsplit("/", 1)[-1], service, operation)
            text = f"{path} {body.decode('utf-8', 'replace')}"
            fault = self.faults.strike(service, operation, principal, text)
            if fault is not None and fault.moment == "before":
                return error_response(fault, request_id)
            response = await dispatch(method, path, headers, body, query, request_id)
            return response if fault is None else error_response(fault, request_id)

        return controlled

    def answer(self, method: str, what: str, body: bytes) -> Response:
        if what == "calls":
            return json_response(self.calls.snapshot())
        if what == "faults" and method == "POST":
            self.faults.add(Fault.from_json(json.loads(body)))
        elif what == "faults" and method == "DELETE":
            self.faults.lift_all()
        elif what.startswith("faults/") and method == "DELETE":
            self.faults.lift(what.removeprefix("faults/"))
        return json_response(self.faults.struck())


def caller_arn(headers: Mapping[str, str], query: Mapping[str, Any]) -> str:
    """ARN of the session that signed the request (`…:assumed-role/<role>/<function name>`), or its key."""
    from ministack.core.router import extract_access_key_id  # noqa: PLC0415 - see main
    from ministack.services.sts import _sessions  # noqa: PLC0415

    access_key = extract_access_key_id(headers, query) or ""
    return str(_sessions.get(access_key, {}).get("Arn", access_key))


def json_response(value: Mapping[str, Any]) -> Response:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def error_response(fault: Fault, request_id: str) -> Response:
    """The fault as an AWS error reply, in the shape of the service's protocol."""
    headers = {"x-amzn-requestid": request_id, "x-amz-request-id": request_id}
    if fault.service == "s3":
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
        )
        return fault.status, {**headers, "Content-Type": "application/xml"}, xml.encode()
    if fault.service in {"sns", "iam", "sts", "cloudformation"}:
        xml = (
            "<ErrorResponse><Error><Type>Sender</Type>"
            f"<Code>{fault.code}</Code><Message>{fault.message}</Message></Error></ErrorResponse>"
        )
        return fault.status, {**headers, "Content-Type": "text/xml"}, xml.encode()
    return (
        fault.status,
        {**headers, "Content-Type": "application/x-amz-json-1.0", "x-amzn-ErrorType": fault.code},
        json.dumps({"__type": fault.code, "message": fault.message}).encode(),
    )


if __name__ == "__main__":
    main()
