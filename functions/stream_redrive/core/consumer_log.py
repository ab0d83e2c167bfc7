"""The consumer's log: which errors each invocation left in it.

Known are the formats of Lambda itself and of its runtimes, and Powertools' shape:
    system log, text and JSON: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html,
        https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
    Python, text and JSON: awslambdaric/bootstrap.py and lambda_runtime_log_utils.py of
        https://github.com/aws/aws-lambda-python-runtime-interface-client
    Node, text and JSON: src/logging of https://github.com/aws/aws-lambda-nodejs-runtime-interface-client
    Java: https://docs.aws.amazon.com/lambda/latest/dg/java-exceptions.html
    Powertools: https://docs.aws.amazon.com/powertools/python/latest/core/logger/
A log is hostile: no pattern here backtracks, and what can't be read is no error.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stream_redrive.core.fingerprint import MAX_MESSAGE
from stream_redrive.core.ports import LoggedError

MAX_LINE = 4_000
_MAX_NAME = 300

TIMED_OUT, EXITED, OUT_OF_MEMORY = "Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory"
_LAMBDAS_OWN = ("Sandbox.", "Runtime.", "Function.", "Extension.")
_LEVELS = frozenset({"ERROR", "CRITICAL", "FATAL", "SEVERE"})
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_JAVA_FRAME = "\tat "
_OUT_OF_TIME = "Task timed out after "


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event of a log. stream: its log stream's name. timestamp: epoch milliseconds."""

    stream: str
    timestamp: int
    message: str


@dataclass(frozen=True, slots=True)
class _Exception:
    """error_type: as the log has it, "" where it names none."""

    error_type: str
    message: str


def errors_by_request(events: Iterable[LogEvent]) -> dict[str, tuple[LoggedError, ...]]:
    """The errors in a log's events, in their order, by request id.

    A line without a request id belongs to the invocation that started last in its stream: a stream is one sandbox,
    which runs one invocation at a time. An error that the runtime or Lambda tells again is one. error_type is "" where
    a consumer logged an error without an exception.
    """
    invocations: dict[str, _Invocation] = {}
    streams: dict[str, _Stream] = {}
    for event in sorted(events, key=lambda event: event.timestamp):
        if event.stream not in streams:
            streams[event.stream] = _Stream(invocations)
        streams[event.stream].read(event.message)
    for stream in streams.values():
        stream.close()
    return {request_id: told for request_id, found in invocations.items() if (told := found.told())}


@dataclass(slots=True)
class _Invocation:
    errors: list[LoggedError] = field(default_factory=list)
    memory_full: bool = False
    _said: set[tuple[str, str]] = field(default_factory=set)

    def logs(self, error: LoggedError) -> None:
        """The consumer tells an error; each time counts, for it may name another record."""
        self.errors.append(error)
        self._said |= {(error.error_type, _first_line(error.message)), (error.error_type, "")}

    def ends(self, error: LoggedError) -> None:
        """The runtime or Lambda tells what ended the invocation, which may have been told before."""
        tells_more = error.message or error.error_type in (TIMED_OUT, EXITED, OUT_OF_MEMORY) or not self.errors
        if tells_more and (error.error_type, _first_line(error.message)) not in self._said:
            self.logs(error)

    def told(self) -> tuple[LoggedError, ...]:
        if not (self.memory_full or any(error.error_type == OUT_OF_MEMORY for error in self.errors)):
            return tuple(self.errors)
        final = _Invocation()
        for error in self.errors:
            if error.error_type in (EXITED, OUT_OF_MEMORY):
                final.ends(replace(error, error_type=OUT_OF_MEMORY))
            else:
                final.logs(error)
        return tuple(final.errors)


class _Stream:
    """Reads one sandbox's events in their order."""

    def __init__(self, invocations: dict[str, _Invocation]) -> None:
        self._invocations = invocations
        self._request_id = ""
        # The lines of a traceback, or of Java's stack, that came as events of their own.
        self._traceback: _OpenTraceback | None = None
        self._thrown: str | None = None

    def read(self, message: str) -> None:
        text = message.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        if self._traceback is not None and self._traceback.takes(text):
            return
        self.close()
        if self._thrown is not None and text.startswith(_JAVA_FRAME):
            self._add(self._request_id, _java_exception([self._thrown, text]), self._thrown, ended=True)
        self._thrown = None
        if text.startswith("{") and (document := _object(text)) is not None:
            self._read_document(document, text)
        elif not self._read_platform_line(text):
            self._read_line(text)

    def close(self) -> None:
        """Nothing follows on what is open."""
        if self._traceback is not None:
            lines = self._traceback.lines
            self._add(self._request_id, _last_exception(lines), "\n".join(lines), ended=True)
            self._traceback = None

    def _of(self, request_id: str) -> _Invocation:
        return self._invocations.setdefault(request_id, _Invocation())

    def _add(self, request_id: str, found: _Exception | None, line: str, *, ended: bool) -> None:
        if found is None or not request_id:
            return
        error = LoggedError(_class_name(found.error_type), found.message.strip()[:MAX_MESSAGE], line[:MAX_LINE])
        invocation = self._of(request_id)
        (invocation.ends if ended else invocation.logs)(error)

    # Lambda's own lines, as text

    def _read_platform_line(self, text: str) -> bool:
        if text.startswith("START RequestId: "):
            self._request_id = _word(text, "START RequestId: ")
        elif text.startswith("REPORT RequestId: "):
            self._read_report(text)
        elif text.startswith("RequestId: "):
            self._add(_word(text, "RequestId: "), _platform_exception(text), text, ended=True)
        elif len(words := text[:MAX_LINE].split(maxsplit=2)) == 3 and words[2].startswith(_OUT_OF_TIME):
            self._add(words[1], _Exception(TIMED_OUT, words[2]), text, ended=True)
        else:
            return text.startswith(("END RequestId: ", "INIT_REPORT "))
        return True

    def _read_report(self, text: str) -> None:
        pairs = (part.partition(": ") for part in text[:MAX_LINE].split("\t"))
        fields = {name.strip(): value.strip() for name, _, value in pairs}
        request_id = _word(text, "REPORT RequestId: ")
        self._read_outcome(
            request_id,
            fields.get("Status"),
            fields.get("Error Type"),
            _megabytes(fields.get("Max Memory Used")),
            _megabytes(fields.get("Memory Size")),
            text,
        )

    def _read_outcome(
        self, request_id: str, status: object, error_type: object, used: float, available: float, line: str
    ) -> None:
        if available and used >= available:
            self._of(request_id).memory_full = True
        if status == "timeout":
            self._add(request_id, _Exception(TIMED_OUT, ""), line, ended=True)
        elif status in ("error", "failure") and isinstance(error_type, str):
            self._add(request_id, _Exception(error_type, ""), line, ended=True)

    # JSON

    def _read_document(self, document: Mapping[str, Any], text: str) -> None:
        kind, record = document.get("type"), document.get("record")
        if not (isinstance(kind, str) and kind.startswith("platform.") and isinstance(record, dict)):
            self._read_entry(document, text)
            return
        request_id = _first_text(record, "requestId")
        if kind == "platform.start":
            self._request_id = request_id
        elif kind in ("platform.runtimeDone", "platform.report") and request_id:
            measured = record.get("metrics")
            metrics = measured if isinstance(measured, dict) else {}
            used, available = (_number(metrics.get(name)) for name in ("maxMemoryUsedMB", "memorySizeMB"))
            self._read_outcome(request_id, record.get("status"), record.get("errorType"), used, available, text)

    def _read_entry(self, entry: Mapping[str, Any], text: str) -> None:
        level = _first_text(entry, "level", "log_level", "logLevel")
        if (level.upper() not in _LEVELS) if level else not _first_text(entry, "errorType"):
            return
        request_id = _first_text(entry, "function_request_id", "AWSRequestId", "requestId") or self._request_id
        # What ends an invocation is written by the runtime, with no message of the consumer's.
        self._add(request_id, _exception_of_entry(entry), text, ended="message" not in entry)

    # text

    def _read_line(self, text: str) -> None:
        fields = text.split("\t", 3)
        whole = len(fields) == 4
        if text.startswith(("[ERROR]\t", "[CRITICAL]\t")) and whole:
            self._add(fields[2] or self._request_id, _exception_of_text(fields[3]), text, ended=False)
        elif text.startswith("[ERROR] "):
            said, _, _ = text.removeprefix("[ERROR] ").partition("\n" + _TRACEBACK)
            self._add(self._request_id, _named(said) or _Exception("", said), text, ended=_TRACEBACK in text)
        elif whole and fields[2] in _LEVELS:
            told, _, tail = fields[3].partition("\t")
            document = _object(tail) if tail.startswith("{") else None
            found = _exception_of_text(told) if document is None else _exception_of_entry(document)
            self._add(fields[1] or self._request_id, found, text, ended=document is not None)
        elif text == _TRACEBACK:
            self._traceback = _OpenTraceback([text])
        elif text.startswith(_TRACEBACK):
            self._add(self._request_id, _last_exception(text.split("\n")), text, ended=True)
        elif _JAVA_FRAME in text:
            self._add(self._request_id, _java_exception(text.split("\n")), text, ended=True)
        else:
            self._thrown = text


class _OpenTraceback:
    """A traceback whose lines come as events of their own."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self._in_frames = True
        self._chained = False

    def takes(self, line: str) -> bool:
        """Whether the line belongs to it."""
        belongs = True
        if not line or line[0].isspace():
            belongs = "\n" not in line
        elif line == _TRACEBACK:
            belongs, self._in_frames, self._chained = self._chained, True, False
        elif line.startswith(_CHAINED):
            self._chained = True
        elif self._in_frames:
            belongs, self._in_frames = _named(line) is not None, False
        else:
            belongs = False
        if belongs:
            self.lines.append(line)
        return belongs


def _last_exception(lines: Sequence[str]) -> _Exception | None:
    """The exception below the last traceback of a chain."""
    found, in_frames = None, False
    for number, line in enumerate(lines):
        if line.startswith(_TRACEBACK):
            found, in_frames = None, True
        elif in_frames and line and not line[0].isspace():
            found, in_frames = number, False
    return None if found is None else _named("\n".join(lines[found:]))


def _exception_of_text(text: str) -> _Exception:
    """What a logger's line says: the exception of its traceback or at its front, or the line itself."""
    first, _, _ = text.partition("\n")
    thrown = _named(first)
    if thrown is not None and not thrown.error_type.endswith(("Error", "Exception")):
        thrown = None
    raised = _last_exception(text.split("\n")) if _TRACEBACK in text else None
    return raised or thrown or _Exception("", text)


def _exception_of_entry(entry: Mapping[str, Any]) -> _Exception:
    """What a JSON entry says: Lambda's errorType and errorMessage, which Node puts below message for an error that is
    logged alone; Powertools' exception_name and exception (Python), or error (TypeScript).
    """
    said, inner = entry.get("message"), entry.get("error")
    source = said if isinstance(said, dict) and "errorType" in said else entry
    error = inner if isinstance(inner, dict) else {}
    raised = _last_exception(_first_text(entry, "exception").split("\n")) or _Exception("", "")
    error_type = _first_text(source, "errorType", "exception_name") or _first_text(error, "name") or raised.error_type
    if not error_type:
        return _exception_of_text(_first_text(entry, "message"))
    return _Exception(
        error_type, _first_text(source, "errorMessage") or _first_text(error, "message") or raised.message
    )


def _java_exception(lines: Sequence[str]) -> _Exception | None:
    """What was thrown: `java.lang.X: message` above its stack, also behind a text or below `message: java.lang.X`."""
    for line in itertools.takewhile(lambda line: not line.startswith(_JAVA_FRAME), lines):
        parts = line[:MAX_LINE].split(": ")
        for number, part in enumerate(parts):
            if part.rpartition(".")[2][:1].isupper() and "." in part and (found := _named(": ".join(parts[number:]))):
                return replace(found, message=found.message or ": ".join(parts[:number]))
    return None


def _platform_exception(text: str) -> _Exception:
    """`RequestId: <id> Error: Runtime exited with error: signal: killed`, the error's name on the next line or not."""
    said = " ".join(text.split(" ")[2:]).removeprefix("Error: ")
    message, _, name = said.partition("\n")
    if message.startswith(_OUT_OF_TIME):
        return _Exception(TIMED_OUT, message)
    return _Exception(name if name.startswith(_LAMBDAS_OWN) else EXITED, message)


def _named(text: str) -> _Exception | None:
    """`package.Class: message`, or the class alone, as the last line of a traceback has it."""
    first = text[: _MAX_NAME + 2].partition("\n")[0]
    name = first.partition(": ")[0].rstrip(": ")
    parts = name.split(".")
    if len(name) > _MAX_NAME or not all(part.isidentifier() or part == "<locals>" for part in parts):
        return None
    return _Exception(name, text[len(name) :].removeprefix(":"))


def _class_name(name: str) -> str:
    name = name.strip()[:_MAX_NAME]
    return name if name.startswith(_LAMBDAS_OWN) else name.rpartition(".")[2]


def _object(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _first_text(fields: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := fields.get(name), str) and value), "")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _word(text: str, prefix: str) -> str:
    return next(iter(text[len(prefix) :].split(maxsplit=1)), "")


def _megabytes(text: str | None) -> float:
    number = (text or "").partition(" ")[0]
    return int(number) if number.isdecimal() and len(number) < 10 else 0


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
