"""What changes from one policy document to another, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_:@$-]+")


class _Absent:
    """Stands for a field that a document doesn't have: null is a value."""


ABSENT = _Absent()


@dataclass(frozen=True)
class Change:
    """A field whose value differs; ABSENT on a side that doesn't have it."""

    field: str
    before: Any
    after: Any

    def lines(self) -> Iterator[str]:
        """As a unified difference shows it."""
        for sign, value in (("-", self.before), ("+", self.after)):
            if value is not ABSENT:
                yield f"{sign} {self.field}: {json.dumps(value, ensure_ascii=False)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON; a side that doesn't have the field is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"field": self.field, **{name: value for name, value in sides.items() if value is not ABSENT}}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[Change]:
    """The fields that differ, in the order of the later document, then those that are gone."""
    old, new = dict(fields(before)), dict(fields(after))
    return [
        Change(field, old.get(field, ABSENT), new.get(field, ABSENT))
        for field in dict.fromkeys([*new, *old])
        if _differ(old.get(field, ABSENT), new.get(field, ABSENT))
    ]


def fields(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each field of a document by its dotted name. Rules go by their id, and their order is a field too."""
    for name, value in document.items():
        path = prefix + (name if _PLAIN_NAME.fullmatch(name) else json.dumps(name))
        if name == "rules" and isinstance(value, list) and value and all(map(_is_rule, value)):
            yield f"{path} (order)", [rule["id"] for rule in value]
            for rule in value:
                yield from fields({key: part for key, part in rule.items() if key != "id"}, f"{path}.{rule['id']}.")
        elif isinstance(value, dict) and value:
            yield from fields(value, f"{path}.")
        else:
            yield path, value


def _is_rule(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _differ(old: object, new: object) -> bool:
    # 1 == True == 1.0 in Python, not in a policy that a person reads.
    if old is ABSENT or new is ABSENT:
        return old is not new
    return json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True)
