"""Requests: bodies and queries of the cases API, read strictly. What is wrong is named, unknown fields too."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema

from stream_redrive.core.cases import Word
from stream_redrive.core.refusals import MalformedRequest, RequestTooLarge

SCHEMA_PATH = Path(__file__).with_name("requests.schema.json")
MAX_BODY_BYTES = 256 * 1024
MAX_PAGE = 100
_DEFAULT_PAGE = 20


def read_body(text: str, name: str) -> dict[str, Any]:
    """A request's body.

    Args:
        name: of its definition in requests.schema.json.

    Raises:
        RequestTooLarge, MalformedRequest.
    """
    if len(text.encode()) > MAX_BODY_BYTES:
        raise RequestTooLarge(f"a request has at most {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise MalformedRequest(f"the body is no JSON: {exc}") from exc
    try:
        _validator(name)(body)
    except fastjsonschema.JsonSchemaValueException as exc:
        raise MalformedRequest(exc.message.replace("data", "the body", 1)) from exc
    found: dict[str, Any] = body
    return found


def to_word(body: Mapping[str, Any]) -> Word:
    """What is said of a decision."""
    return Word(body["digest"], body.get("reason", ""), body.get("ticket", ""))


def read_cases_query(query: Mapping[str, str]) -> dict[str, Any]:
    """every, limit, after.

    Raises:
        MalformedRequest.
    """
    _refuse_unknown(query, "every", "limit", "after")
    every = query.get("every", "false")
    if every not in ("true", "false"):
        raise MalformedRequest("every is true or false")
    return {"every": every == "true", "limit": _limit(query), "after": query.get("after")}


def read_records_query(query: Mapping[str, str]) -> dict[str, int]:
    """limit, after.

    Raises:
        MalformedRequest.
    """
    _refuse_unknown(query, "limit", "after")
    return {"limit": _limit(query), "after": _number(query, "after", 0, least=0, most=10**9)}


@cache
def _validator(name: str) -> Callable[[object], object]:
    schema = json.loads(SCHEMA_PATH.read_text())
    check: Callable[[object], object] = fastjsonschema.compile({"$ref": f"#/definitions/{name}", **schema})
    return check


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(body := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _refuse_unknown(query: Mapping[str, str], *known: str) -> None:
    if unknown := sorted(set(query) - set(known)):
        raise MalformedRequest(f"unknown parameter {unknown[0][:100]!r}; there are {', '.join(known)}")


def _limit(query: Mapping[str, str]) -> int:
    return _number(query, "limit", _DEFAULT_PAGE, least=1, most=MAX_PAGE)


def _number(query: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
        raise MalformedRequest(f"{name} is a number from {least} to {most}")
    return int(text)
