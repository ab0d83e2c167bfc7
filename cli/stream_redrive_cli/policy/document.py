"""Policy documents: read from a file, checked by the service's own parser, their faults found down to the line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastjsonschema

from stream_redrive.core.errors import PolicyInvalid
from stream_redrive.core.policy import PolicyBook, parse_policy
from stream_redrive_cli.errors import ConfigurationError
from stream_redrive_cli.policy.file_subjects import read_file

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
MAX_BYTES = 8 * 1024

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


class InvalidDocument(ConfigurationError):
    """A policy document is invalid. problem: field and fault; line: where, from 1, None where that can't be told."""

    def __init__(self, name: str, problem: str, line: int | None) -> None:
        where = name if line is None else f"{name}, line {line}"
        super().__init__(f"{where}: {problem}")
        self.problem = problem
        self.line = line


def read_document(path: Path) -> str:
    """The text of a policy file.

    Raises:
        UsageError: it can't be read.
        InvalidDocument: it is no text, or one that the parameter can't hold.
    """
    body = read_file(path)
    if len(body) > MAX_BYTES:
        raise InvalidDocument(str(path), f"{len(body)} bytes, and a parameter holds at most {MAX_BYTES}", None)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = body[: exc.start].count(b"\n") + 1
        raise InvalidDocument(str(path), f"not UTF-8 text: {exc.reason}", line) from exc
    if "{{" in text:
        # In JSON it can only stand in a string; SSM takes it for a reference to another parameter.
        line = text[: text.index("{{")].count("\n") + 1
        raise InvalidDocument(str(path), "'{{' can't stand in a parameter: write it as '{\\u007b'", line)
    return text


def check_document(text: str, name: str) -> PolicyBook:
    """Parse and validate a document whole; name becomes its version.

    Raises:
        InvalidDocument
    """
    try:
        return parse_policy(text, name)
    except PolicyInvalid as exc:
        problem = str(exc).removeprefix(f"policy {name}: ")
        raise InvalidDocument(_called(name), problem, _line_of(text, problem, exc.__cause__)) from exc


def _called(name: str) -> str:
    return f"version {name}" if name.isdigit() else name


def _line_of(text: str, problem: str, cause: BaseException | None) -> int | None:
    if isinstance(cause, json.JSONDecodeError):
        return cause.lineno
    if isinstance(cause, fastjsonschema.JsonSchemaValueException):
        return line_of_path(text, _schema_path(cause))
    # Without a cause the document contradicts itself; any other one (NaN, nesting) has no place.
    return None if cause else line_of_path(text, _stated_path(problem, json.loads(text)))


def _schema_path(fault: fastjsonschema.JsonSchemaValueException) -> Sequence[str]:
    path = list(fault.path[1:])
    # The fault lies with the name that may not be there, not with the object that holds it.
    if fault.rule == "additionalProperties":
        path += [name for name in fault.value if name not in fault.definition["properties"]][:1]
    if fault.rule == "propertyNames":
        allowed = re.compile(fault.definition["propertyNames"]["pattern"])
        path += [name for name in fault.value if not allowed.search(name)][:1]
    return path


def _stated_path(problem: str, document: Mapping[str, Any]) -> Sequence[str]:
    """The path that a contradiction begins with, as in "consumers.orders: backoff.base_seconds is more than …"."""
    roots = [("default",), *(("consumers", name) for name in document.get("consumers", {}))]
    for root in roots:
        if problem.startswith(".".join(root) + ": "):
            field = problem.removeprefix(".".join(root) + ": ").split()[0].rstrip(":")
            return [*root, *field.split(".")]
    return []


def line_of_path(text: str, path: Sequence[str]) -> int:
    """The line, from 1, of the deepest part of a path that valid JSON has. Items of lists are named by their index."""
    deepest, offset = -1, 0
    for place, start in _places(text):
        if len(place) > deepest and tuple(path[: len(place)]) == place:
            deepest, offset = len(place), start
    return text.count("\n", 0, offset) + 1


def _places(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    tokens = _TOKEN.finditer(text)
    yield from _value(tokens, next(tokens), ())


def _value(
    tokens: Iterator[re.Match[str]], token: re.Match[str], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], int]]:
    yield path, token.start()
    if token[0] not in {"{", "["}:
        return
    closing, index = {"{": "}", "[": "]"}[token[0]], 0
    is_object = token[0] == "{"
    while (token := next(tokens))[0] != closing:
        if token[0] == ",":
            continue
        if is_object:
            inner = (*path, json.loads(token[0]))
            yield inner, token.start()
            next(tokens)  # the colon
            token = next(tokens)
        else:
            inner, index = (*path, str(index)), index + 1
        yield from _value(tokens, token, inner)
