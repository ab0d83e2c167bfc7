"""Lambda's event filtering: which records of a stream reach the function at all."""

from __future__ import annotations

import base64
import binascii
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

# https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NOT_JSON = object()


class FilterPatternError(ValueError):
    """A filter pattern that AWS would refuse when the mapping is created."""


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """The filters of one mapping: a record passes when any of them matches, or when there are none."""

    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, patterns: Sequence[str]) -> RecordFilter:
        """Check the patterns (JSON texts). Raises FilterPatternError."""
        for text in patterns:
            try:
                pattern = json.loads(text)
            except ValueError as exc:
                raise FilterPatternError(f"not JSON: {text}") from exc
            _check_object(pattern)
        return cls(tuple(patterns))

    def admits(self, event_record: Mapping[str, Any]) -> bool:
        """Whether the function gets this record, given in the shape of Lambda's event.

        A pattern for the `data` of a Kinesis record never matches data that isn't JSON; a pattern without
        `data` looks at the other fields only.
        """
        if not self.patterns:
            return True
        if event_record["eventSource"] != "aws:kinesis":
            return any(matches(json.loads(text), event_record) for text in self.patterns)
        document = {**event_record["kinesis"], "data": _decoded(event_record["kinesis"]["data"])}
        for text in self.patterns:
            pattern = json.loads(text)
            if "data" in pattern and document["data"] is _NOT_JSON:
                continue
            if matches(pattern, document):
                return True
        return False


EVERYTHING = RecordFilter()


def matches(pattern: Mapping[str, Any], document: object) -> bool:
    """Whether a checked pattern matches: every key has to, and one rule of a key's list is enough.

    In a list of objects one element has to match the whole pattern.
    """
    if isinstance(document, list) and document:
        return any(matches(pattern, element) for element in document)
    fields = document if isinstance(document, dict) else {}
    return all(_matches_key(key, expected, fields) for key, expected in pattern.items())


def _matches_key(key: str, expected: Any, fields: Mapping[str, Any]) -> bool:
    if key == "$or":
        return any(matches(alternative, fields) for alternative in expected)
    if isinstance(expected, dict):
        return matches(expected, fields.get(key))
    leaves = list(_leaves(fields[key])) if key in fields else []
    return any(_rule_matches(rule, leaves) for rule in expected)


def _leaves(value: object) -> Iterator[object]:
    # Rules see leaves only: an object, or an empty list, counts as absent.
    if isinstance(value, list):
        for element in value:
            yield from _leaves(element)
    elif not isinstance(value, dict):
        yield value


def _rule_matches(rule: Any, leaves: Sequence[object]) -> bool:
    if isinstance(rule, dict) and "exists" in rule:
        return bool(leaves) is rule["exists"]
    return any(_leaf_matches(rule, leaf) for leaf in leaves)


def _leaf_matches(rule: Any, leaf: object) -> bool:
    if not isinstance(rule, dict):
        return _same(rule, leaf)
    ((name, operand),) = rule.items()
    if name == "numeric":
        return _is_number(leaf) and all(
            _COMPARISONS[sign](leaf, bound) for sign, bound in zip(operand[::2], operand[1::2], strict=True)
        )
    if name == "anything-but":
        if isinstance(operand, dict):
            ((inner, values),) = operand.items()
            return not any(_text_matches(inner, value, leaf) for value in _as_list(values))
        return not any(_same(value, leaf) for value in _as_list(operand))
    return _text_matches(name, operand, leaf)


def _text_matches(name: str, operand: Any, leaf: object) -> bool:
    if not isinstance(leaf, str):
        return False
    if isinstance(operand, dict):
        operand, leaf = operand["equals-ignore-case"].casefold(), leaf.casefold()
    if name == "prefix":
        return leaf.startswith(operand)
    if name == "suffix":
        return leaf.endswith(operand)
    return leaf.casefold() == str(operand).casefold()


def _same(expected: object, leaf: object) -> bool:
    # In Python True == 1; in JSON they are different values.
    return isinstance(expected, bool) is isinstance(leaf, bool) and expected == leaf


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _decoded(data: str) -> object:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(base64.b64decode(data, validate=True), parse_constant=refuse)
    except (ValueError, binascii.Error):
        return _NOT_JSON


def _check_object(pattern: object) -> None:
    if not isinstance(pattern, dict) or not pattern:
        raise FilterPatternError(f"a pattern is an object with at least one key, not {pattern!r}")
    for key, expected in pattern.items():
        if key == "$or":
            if not isinstance(expected, list) or len(expected) < 2:
                raise FilterPatternError("$or takes a list of at least two patterns")
            for alternative in expected:
                _check_object(alternative)
        elif isinstance(expected, dict):
            _check_object(expected)
        elif not isinstance(expected, list) or not expected:
            raise FilterPatternError(f"{key}: the rules of a key are a list with at least one rule")
        else:
            for rule in expected:
                _check_rule(key, rule)


def _check_rule(key: str, rule: object) -> None:
    if rule is None or isinstance(rule, str | bool | int | float):
        return
    if not isinstance(rule, dict) or len(rule) != 1:
        raise FilterPatternError(f"{key}: {rule!r} is neither a value nor an object with one operator")
    ((name, operand),) = rule.items()
    valid = {
        "exists": isinstance(operand, bool),
        "numeric": _is_numeric_operand(operand),
        "equals-ignore-case": isinstance(operand, str),
        "prefix": _is_text_operand(operand),
        "suffix": _is_text_operand(operand),
        "anything-but": _is_anything_but_operand(operand),
    }.get(name)
    if valid is None:
        raise FilterPatternError(f"{key}: Lambda has no operator {name!r}")
    if not valid:
        raise FilterPatternError(f"{key}: {operand!r} is no operand of {name}")


def _is_text_operand(operand: object) -> bool:
    if isinstance(operand, dict):
        return operand.keys() == {"equals-ignore-case"} and isinstance(operand["equals-ignore-case"], str)
    return isinstance(operand, str)


def _is_numeric_operand(operand: object) -> bool:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        return False
    signs, bounds = operand[::2], operand[1::2]
    return all(sign in _COMPARISONS for sign in signs) and all(_is_number(bound) for bound in bounds)


def _is_anything_but_operand(operand: object) -> bool:
    if isinstance(operand, dict):
        ((name, values),) = operand.items() if len(operand) == 1 else ((None, []),)
        return (
            name in ("prefix", "suffix", "equals-ignore-case")
            and bool(_as_list(values))
            and all(isinstance(value, str) for value in _as_list(values))
        )
    values = _as_list(operand)
    return bool(values) and all(isinstance(value, str) or _is_number(value) for value in values)
