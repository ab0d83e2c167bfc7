"""Run as a program: prints the OpenAPI description of the cases API (docs/openapi.json, `make openapi`)."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from stream_redrive.api.problems import STATUS
from stream_redrive.api.requests import MAX_PAGE, SCHEMA_PATH
from stream_redrive.core.case_records import RecordView
from stream_redrive.core.cases import Case, Note
from stream_redrive.core.deciding import CaseDetails, Standing
from stream_redrive.core.planning import Plan
from stream_redrive.handlers import cases_api

_SCHEMAS = "#/components/schemas/"


@dataclass
class CasePage:
    """Cases, and what to ask for with after to get the next ones."""

    cases: Sequence[Case]
    next: str | None


@dataclass
class RecordPage:
    """Records of a case, masked."""

    records: Sequence[RecordView]


# By the name of the route's function: the request's definition, the answer.
_OPERATIONS: dict[str, tuple[str | None, Any]] = {
    "list_cases": (None, CasePage),
    "show_case": (None, CaseDetails),
    "list_records": (None, RecordPage),
    "view_record": ("view", dict[str, Any]),
    "plan_decision": ("plan", Plan),
    "decide": ("decision", Standing),
    "add_note": ("note", Note),
}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20}
_QUERIES: dict[str, dict[str, dict[str, Any]]] = {
    "list_cases": {"every": {"type": "boolean", "default": False}, "limit": _LIMIT, "after": {"type": "string"}},
    "list_records": {"limit": _LIMIT, "after": {"type": "integer", "minimum": 0, "default": 0}},
}


def describe() -> dict[str, Any]:
    """The description, in OpenAPI 3.1."""
    requests = json.loads(SCHEMA_PATH.read_text())["definitions"]
    schemas: dict[str, Any] = {f"request.{name}": _refer(schema) for name, schema in requests.items()}
    schemas["Problem"] = {
        "type": "object",
        "required": ["error", "message"],
        "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
    }
    paths: dict[str, Any] = {}
    for route in [*cases_api.app._static_routes, *cases_api.app._dynamic_routes]:
        path = re.sub(r"<(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route.func, path, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stream-redrive cases",
            "version": "1",
            "description": "Cases of records in quarantine. Every request is signed (AWS Signature 4, execute-api).",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "responses": _problems()},
    }


def _operation(function: Any, path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    name = function.__name__
    request, answer = _OPERATIONS[name]
    schema = TypeAdapter(answer).json_schema(mode="serialization", ref_template=_SCHEMAS + "{model}")
    schemas.update(schema.pop("$defs", {}))
    found: dict[str, Any] = {
        "operationId": name,
        "summary": (function.__doc__ or "").strip(),
        "parameters": [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string"}}
            for part in re.findall(r"{(\w+)}", path)
        ]
        + [{"name": part, "in": "query", "schema": schema} for part, schema in _QUERIES.get(name, {}).items()],
        "responses": {
            "200": _content(schema, "Done."),
            **{s: {"$ref": f"#/components/responses/{s}"} for s in _problems()},
        },
    }
    if request:
        found["requestBody"] = {"required": True, **_content({"$ref": f"{_SCHEMAS}request.{request}"})}
    return found


def _problems() -> dict[str, Any]:
    names: dict[str, list[str]] = {}
    for refusal, status in STATUS.items():
        names.setdefault(str(status), []).append(refusal.__name__)
    names["503"] = ["nothing is certain to have changed: try again"]
    return {s: _content({"$ref": f"{_SCHEMAS}Problem"}, ", ".join(names[s])) for s in sorted(names)}


def _content(schema: dict[str, Any], description: str | None = None) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}}
    return content if description is None else {"description": description, **content}


def _refer(value: Any) -> Any:
    """A schema whose references lead to where OpenAPI keeps schemas."""
    if isinstance(value, dict):
        return {key: _refer(part) for key, part in value.items()}
    if isinstance(value, str):
        return value.replace("#/definitions/", f"{_SCHEMAS}request.")
    return [_refer(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    print(json.dumps(describe(), indent=2))  # noqa: T201 - the program's output
