"""The policy's schema on a document: what is broken is named by path and rule, never by a value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastjsonschema

from stream_redrive.core.policy import compile_schema


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """Where a document breaks the schema. path: fields, "*" for a name of the payload's own. rule: the keyword."""

    path: str
    rule: str


class SchemaCheck:
    """Checks documents against a JSON Schema."""

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self._check = compile_schema(dict(schema) if isinstance(schema, Mapping) else schema)
        self._fields = frozenset(declared_fields(schema))

    def fault(self, document: object) -> SchemaFault | None:
        """The first fault; None where there is none.

        Raises:
            ArithmeticError, ValueError, RecursionError: the schema can't be checked on this document.
        """
        try:
            self._check(document)
        except fastjsonschema.JsonSchemaValueException as exc:
            # A name that the schema doesn't declare is the payload's own.
            path = ".".join(part if part in self._fields else "*" for part in exc.path[1:]) or "the document"
            return SchemaFault(path, str(exc.rule))
        return None


def declared_fields(schema: object) -> Iterator[str]:
    """The names of the properties that a schema speaks of, at any depth."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for part in schema.values():
            yield from declared_fields(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from declared_fields(part)
