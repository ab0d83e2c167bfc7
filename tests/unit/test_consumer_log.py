"""The consumer's log: what each runtime, Powertools and Lambda itself write of an error, and whose it is."""

import io
import json
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.consumer_log import MAX_LINE, LogEvent, errors_by_request
from stream_redrive.core.fingerprint import MAX_MESSAGE
from stream_redrive.core.ports import LoggedError
from tests.support.cloud import Context

ID = "8f5a9f0e-3b1c-4f0a-9d57-0d6a3f3c1c11"
OTHER = "1c2d3e4f-0000-4000-8000-00000000beef"
AT = "2026-01-05T12:00:00.000Z"
START = f"START RequestId: {ID} Version: $LATEST\n"
END = f"END RequestId: {ID}\n"
FRAMES = ["Traceback (most recent call last):", '  File "/var/task/app.py", line 3, in handler', "    x['air_time']"]
BLOCK = "\n".join([*FRAMES, "KeyError: 'air_time'"])


def report(**fields: str) -> str:
    told = {"Duration": "3000.00 ms", "Memory Size": "128 MB", "Max Memory Used": "64 MB", **fields}
    return "\t".join([f"REPORT RequestId: {ID}", *(f"{name.replace('_', ' ')}: {told[name]}" for name in told)]) + "\n"


def platform(kind: str, **record: Any) -> str:
    return json.dumps({"time": AT, "type": f"platform.{kind}", "record": {"requestId": ID, **record}})


def entry(**fields: Any) -> str:
    return json.dumps({"timestamp": AT, "level": "ERROR", **fields})


def read(*messages: str, stream: str = "a") -> dict[str, tuple[LoggedError, ...]]:
    return errors_by_request([LogEvent(stream, 1000, message) for message in messages])


def told(*messages: str) -> list[tuple[str, str]]:
    """The errors of the invocation that a test is about, as class and message."""
    found = read(*messages)
    assert found.keys() <= {ID}
    return [(error.error_type, error.message) for error in found.get(ID, ())]


def powertools(log: Callable[[Logger], None]) -> str:
    out = io.StringIO()
    logger = Logger(service=f"orders-{id(out)}", stream=out)  # a name has one stream for good
    logger.inject_lambda_context(lambda event, context: log(logger))({}, Context("orders", aws_request_id=ID))
    return out.getvalue().splitlines()[-1]


def raised(error: Exception, cause: Exception | None = None) -> str:
    try:
        try:
            if cause:
                raise cause
        finally:
            raise error
    except Exception:  # noqa: BLE001 - any error's traceback
        return traceback.format_exc()


# Python


@pytest.mark.parametrize("line_end", ["\n", "\r"])
def test_an_unhandled_error_of_python_belongs_to_the_invocation_that_started_last(line_end: str) -> None:
    unhandled = f"[ERROR] KeyError: 'air_time'\n{BLOCK.rpartition(chr(10))[0]}\n\n".replace("\n", line_end)
    assert told(START, unhandled, END, report()) == [("KeyError", "'air_time'")]


def test_the_whole_message_of_an_unhandled_error_counts_not_its_first_line() -> None:
    assert told(START, "[ERROR] ValidationError: 1 error\norder_id\n  missing\n" + FRAMES[0]) == [
        ("ValidationError", "1 error\norder_id\n  missing")
    ]


def test_a_loggers_line_names_its_invocation_itself() -> None:
    assert told(f"[ERROR]\t{AT}\t{ID}\torder 7 is closed\n") == [("", "order 7 is closed")]
    assert told(f"[CRITICAL]\t{AT}\t{ID}\tValueError: closed") == [("ValueError", "closed")]


def test_a_loggers_exception_is_its_traceback() -> None:
    [error] = read(f"[ERROR]\t{AT}\t{ID}\trecord 4711 failed\n{BLOCK}\n")[ID]
    assert (error.error_type, error.message) == ("KeyError", "'air_time'")
    assert "record 4711 failed" in error.line


def test_what_is_logged_below_an_error_is_none() -> None:
    assert (
        told(
            START,
            f"[WARNING]\t{AT}\t{ID}\tretrying after KeyError: 'x'",
            f"[INFO]\t{AT}\t{ID}\tERROR count: 0",
            "ValueError: printed by itself",
            json.dumps({"level": "WARNING", "errorType": "KeyError", "errorMessage": "handled", "requestId": ID}),
            json.dumps({"level": "INFO", "message": "Runtime.ExitError", "requestId": ID}),
            END,
            report(),
        )
        == []
    )


@pytest.mark.parametrize("one_event", [True, False])
def test_a_printed_traceback_is_one_error_in_one_event_or_in_many(one_event: bool) -> None:
    lines = [BLOCK] if one_event else BLOCK.split("\n")
    assert told(START, *lines, END, report()) == [("KeyError", "'air_time'")]


@pytest.mark.parametrize("one_event", [True, False])
def test_of_a_chain_the_last_exception_counts(one_event: bool) -> None:
    text = raised(RuntimeError("no flight"), cause=KeyError("air_time"))
    assert text.count(FRAMES[0]) == 2
    assert told(START, *([text] if one_event else text.split("\n")), END) == [("RuntimeError", "no flight")]


def test_two_tracebacks_one_after_the_other_are_two_errors() -> None:
    lines = [*BLOCK.split("\n"), *FRAMES, "ValueError: closed", "and on it goes"]
    assert told(START, *lines, END) == [("KeyError", "'air_time'"), ("ValueError", "closed")]


def test_a_traceback_that_the_log_cuts_off_is_no_error() -> None:
    assert told(START, *FRAMES, END) == []
    assert told(START, *FRAMES) == []


def test_a_class_is_named_without_its_module_but_lambdas_own_as_it_is() -> None:
    class Closed(Exception):
        pass

    assert told(START, raised(Closed("order 7")), END) == [("Closed", "order 7")]
    for name, expected in {
        "botocore.exceptions.ClientError": "ClientError",
        "Runtime.ImportModuleError": "Runtime.ImportModuleError",
    }.items():
        assert told(START, f"[ERROR] {name}: no\n{FRAMES[0]}") == [(expected, "no")]


# JSON


def test_lambdas_json_tells_an_unhandled_error_with_class_and_message() -> None:
    assert told(
        platform("start"), entry(errorType="KeyError", errorMessage="'air_time'", requestId=ID, stackTrace=["  File"])
    ) == [("KeyError", "'air_time'")]


@pytest.mark.parametrize("name", ["requestId", "AWSRequestId", "function_request_id"])
@pytest.mark.parametrize("level", ["level", "log_level"])
def test_an_entry_names_its_level_and_its_invocation_in_several_ways(name: str, level: str) -> None:
    line = json.dumps({level: "ERROR", "message": "closed", "errorType": "ValueError", "errorMessage": "no", name: ID})
    assert told(line) == [("ValueError", "no")]


def test_an_entry_without_an_id_belongs_to_the_invocation_that_started_last() -> None:
    assert told(platform("start"), entry(message="closed")) == [("", "closed")]
    assert told(entry(message="nobody knows whose")) == []


def test_nodes_entry_with_the_error_below_its_message_is_read() -> None:
    assert told(entry(requestId=ID, message={"errorType": "TypeError", "errorMessage": "x is undefined"})) == [
        ("TypeError", "x is undefined")
    ]


def test_powertools_tells_the_exception_that_was_logged() -> None:
    def log(logger: Logger) -> None:
        try:
            raise KeyError("air_time")
        except KeyError:
            logger.exception({"record": 7})

    [error] = read(powertools(log))[ID]
    assert (error.error_type, error.message) == ("KeyError", "'air_time'")
    assert '"record":7' in error.line


def test_powertools_error_without_an_exception_is_its_text() -> None:
    assert told(powertools(lambda logger: logger.error("order 7 is closed"))) == [("", "order 7 is closed")]


def test_powertools_for_typescript_tells_its_error() -> None:
    line = entry(function_request_id=ID, message="failed", error={"name": "TypeError", "message": "x is undefined"})
    assert told(line) == [("TypeError", "x is undefined")]


# other runtimes, as text


def test_node_tells_what_ended_the_invocation() -> None:
    said = json.dumps({"errorType": "AssertionError", "errorMessage": "id is missing", "requestId": "of a service"})
    assert told(f"{AT}\t{ID}\tERROR\tInvoke Error \t{said}") == [("AssertionError", "id is missing")]


def test_nodes_console_error_is_read() -> None:
    assert told(f"{AT}\t{ID}\tERROR\tTypeError: x is undefined\n    at handler (/var/task/index.js:1:1)") == [
        ("TypeError", "x is undefined")
    ]
    assert told(f"{AT}\t{ID}\tINFO\tTypeError: x is undefined") == []


JAVA = ["order 7 is closed: java.lang.IllegalStateException", "java.lang.IllegalStateException: order 7 is closed"]


@pytest.mark.parametrize("lines", [JAVA, JAVA[:1], JAVA[1:], ["failed: " + JAVA[1]]])
@pytest.mark.parametrize("one_event", [True, False])
def test_java_tells_what_was_thrown_above_its_stack(lines: list[str], one_event: bool) -> None:
    lines = [*lines, "\tat example.Handler.handle(Handler.java:7)", "Caused by: java.io.IOException: reset"]
    assert told(START, *(["\n".join(lines)] if one_event else lines), END) == [
        ("IllegalStateException", "order 7 is closed")
    ]


# Lambda itself


def test_a_timeout_is_told_in_text_and_json() -> None:
    assert told(START, f"{AT} {ID} Task timed out after 3.00 seconds\n\n", END, report(Status="timeout")) == [
        ("Sandbox.Timedout", "Task timed out after 3.00 seconds")
    ]
    assert told(START, END, report(Status="timeout")) == [("Sandbox.Timedout", "")]
    assert told(platform("runtimeDone", status="timeout"), platform("report", status="timeout")) == [
        ("Sandbox.Timedout", "")
    ]


KILLED = f"RequestId: {ID} Error: Runtime exited with error: signal: killed\nRuntime.ExitError\n"


def test_a_runtime_that_exits_is_told_in_text_and_json() -> None:
    assert told(START, END, report(), KILLED) == [("Runtime.ExitError", "Runtime exited with error: signal: killed")]
    assert told(platform("report", status="error", errorType="Runtime.ExitError")) == [("Runtime.ExitError", "")]
    assert told(f"RequestId: {ID} Process exited before completing request") == [
        ("Runtime.ExitError", "Process exited before completing request")
    ]


@pytest.mark.parametrize("used", ["128 MB", "129 MB"])
def test_a_kill_with_all_the_memory_in_use_is_for_want_of_memory(used: str) -> None:
    wanted = [("Runtime.OutOfMemory", "Runtime exited with error: signal: killed")]
    assert told(START, END, report(Max_Memory_Used=used), KILLED) == wanted
    assert told(START, KILLED, END, report(Max_Memory_Used=used, Status="error", Error_Type="Runtime.ExitError")) == (
        wanted
    )


def test_json_tells_the_want_of_memory_by_name_or_by_its_measures() -> None:
    full = {"memorySizeMB": 128, "maxMemoryUsedMB": 128}
    assert told(platform("report", status="error", errorType="Runtime.OutOfMemory")) == [("Runtime.OutOfMemory", "")]
    assert told(
        platform("runtimeDone", status="failure", errorType="Runtime.ExitError"),
        platform("report", status="error", errorType="Runtime.ExitError", metrics=full),
    ) == [("Runtime.OutOfMemory", "")]


def test_all_the_memory_in_use_is_no_error_by_itself() -> None:
    assert told(START, END, report(Max_Memory_Used="128 MB")) == []
    assert told(START, f"[ERROR]\t{AT}\t{ID}\tValueError: no", END, report(Max_Memory_Used="128 MB")) == [
        ("ValueError", "no")
    ]


# one error told twice, and whose it is


def test_an_error_that_is_logged_and_then_ends_the_invocation_is_one() -> None:
    assert told(
        START,
        f"[ERROR]\t{AT}\t{ID}\trecord 4711 failed\n{BLOCK}",
        "[ERROR] KeyError: 'air_time'\n" + FRAMES[0],
        END,
        report(Status="error", Error_Type="Runtime.Unknown"),
    ) == [("KeyError", "'air_time'")]
    assert told(
        entry(requestId=ID, errorType="KeyError", errorMessage="x"),
        platform("report", status="error", errorType="KeyError"),
        platform("report", status="error", errorType="Unhandled"),
    ) == [("KeyError", "x")]


def test_the_same_error_of_two_records_is_told_twice() -> None:
    lines = [f"[ERROR]\t{AT}\t{ID}\trecord {number} failed\n{BLOCK}" for number in (4711, 4712)]
    assert [error.line for error in read(*lines)[ID]] == lines


def test_a_timeout_after_an_error_is_a_second_error() -> None:
    assert told(START, f"[ERROR]\t{AT}\t{ID}\tValueError: no", f"{AT} {ID} Task timed out after 3.00 seconds") == [
        ("ValueError", "no"),
        ("Sandbox.Timedout", "Task timed out after 3.00 seconds"),
    ]


def test_sandboxes_that_log_at_the_same_time_are_not_mixed_up() -> None:
    events = [
        LogEvent("b", 3, "[ERROR] ValueError: theirs\n" + FRAMES[0]),
        LogEvent("a", 2, FRAMES[0]),
        LogEvent("b", 1, START.replace(ID, OTHER)),
        LogEvent("a", 1, START),
        LogEvent("a", 4, "  File"),
        LogEvent("a", 5, "KeyError: 'ours'"),
    ]
    found = errors_by_request(events)
    assert {name: [error.error_type for error in errors] for name, errors in found.items()} == {
        ID: ["KeyError"],
        OTHER: ["ValueError"],
    }


def test_of_two_invocations_of_a_sandbox_each_has_its_own() -> None:
    found = read(START, BLOCK, END, START.replace(ID, OTHER), "[ERROR] ValueError: no\n" + FRAMES[0])
    assert {name: [error.error_type for error in errors] for name, errors in found.items()} == {
        ID: ["KeyError"],
        OTHER: ["ValueError"],
    }


# hostile logs


def test_messages_and_lines_are_cut() -> None:
    [error] = read(f"[ERROR]\t{AT}\t{ID}\tValueError: " + "x" * 1_000_000)[ID]
    assert (len(error.message), len(error.line)) == (MAX_MESSAGE, MAX_LINE)


NASTY = [
    "{" * 500_000,
    '{"level": "ERROR", "message": ' + "[" * 200_000,
    "a" * 1_000_000,
    "a." * 500_000,
    "a.B: " * 200_000 + "\n\tat x",
    ": " * 500_000,
    "\t" * 1_000_000,
    "[ERROR]\t\t\t" + "\n" * 1_000_000,
    FRAMES[0] + "\n" + "Traceback\n" * 100_000,
    (FRAMES[0] + "\nx\n") * 50_000,
    "RequestId: " + " " * 1_000_000,
    "REPORT RequestId: " + "\tMemory Size: 9" * 100_000,
    "\x1b[31mERROR\x1b[0m \x00\ud800\u202e",
    '{"level": "ERROR", "requestId": "\\ud800", "message": "\\u001b[2J"}',
    '{"type": "platform.report", "record": {"requestId": 7, "metrics": {"memorySizeMB": "x", "maxMemoryUsedMB": NaN}}}',
]


@pytest.mark.parametrize("number", range(len(NASTY)))
def test_no_line_takes_long_or_raises(number: int) -> None:
    began = time.process_time()
    read(START, NASTY[number], END)
    assert time.process_time() - began < 1


def test_ten_thousand_errors_of_an_invocation_take_no_longer_each_than_a_few() -> None:
    began = time.process_time()
    found = read(START, *(f"[ERROR] E{number}: x\n{FRAMES[0]}" for number in range(10_000)))
    assert len(found[ID]) == 10_000
    assert time.process_time() - began < 2


TEXT = st.text("aE.: \t\n{}[]\x00\x1b\u00a0\u202e\ud800", max_size=20)
SCRAPS = st.sampled_from(
    [START, END, KILLED, report(), *BLOCK.split("\n"), "", " ", "{", "}", "\t", "[ERROR]", ID, ": "]
)


@given(st.lists(st.one_of(SCRAPS, TEXT, st.lists(SCRAPS).map("".join)), max_size=20))
def test_nothing_that_a_log_holds_raises(messages: list[str]) -> None:
    read(*messages)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXT, inner)),
    max_leaves=5,
)
FIELDS = ["type", "record", "level", "message", "errorType", "errorMessage", "exception", "error", "requestId"]


@given(st.dictionaries(st.sampled_from(FIELDS), st.one_of(JSON, st.sampled_from(["ERROR", "platform.report", ID]))))
def test_no_json_raises(document: dict[str, Any]) -> None:
    read(START, json.dumps(document))
