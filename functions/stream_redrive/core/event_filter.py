"""Lambda's event filtering: which records of a stream reach the function at all.

Only what Lambda documents. Where the documents leave open whether a record passes, the answer is None.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-filtering.html
"""

import base64
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from stream_redrive.core.payloads import KPL_MAGIC

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS = frozenset({"anything-but", "equals-ignore-case", "exists", "numeric", "prefix", "suffix"})
# Beyond these the service's number matching is not exact.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
_LARGEST = 5.0e9
_FINEST = 1e-6
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FilterPatternError(ValueError):
    """A filter pattern that AWS would refuse when the mapping is created, or that its documents don't describe."""


class _NotJson(Exception):
    """The data of a record is no JSON: a pattern for it doesn't match."""


class _Unclear(Exception):
    """Whether Lambda takes the data of a record for JSON is not documented."""


class _Number(float):
    """A number of a JSON text; text: as it is written there."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> "_Number":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """The filters of one mapping: a record passes when any of them matches, or when there are none."""

    patterns: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def parse(cls, patterns: Sequence[str]) -> "RecordFilter":
        """Read and check patterns (JSON texts).

        Raises:
            FilterPatternError: one of them is none.
        """
        return cls(tuple(_parsed(text) for text in patterns))

    def admits(self, entry: Mapping[str, Any]) -> bool | None:
        """Whether the function gets this record, an entry of Lambda's event; None: the documents don't say.

        A pattern for the `data` of a Kinesis record never matches data that isn't JSON. On its other fields the
        documents contradict each other, and aggregates of the Kinesis Producer Library are filtered only with
        enhanced fan-out.
        """
        if not self.patterns:
            return True
        if entry["eventSource"] != "aws:kinesis":
            return _any(_matches(pattern, entry) for pattern in self.patterns)
        data = base64.b64decode(entry["kinesis"]["data"])
        if data.startswith(KPL_MAGIC):
            return None
        try:
            document = _document(data)
            return _any(_matches_kinesis(pattern, document) for pattern in self.patterns)
        except _NotJson:
            return _any(False if "data" in pattern else None for pattern in self.patterns)
        except (_Unclear, RecursionError):
            return None


EVERYTHING = RecordFilter()


def _matches_kinesis(pattern: Mapping[str, Any], document: object) -> bool | None:
    known = {"data": pattern["data"]} if "data" in pattern else {}
    documented = known == pattern and isinstance(document, dict)
    return _all([_matches(known, {"data": document}), documented or None])


def _matches(pattern: Mapping[str, Any], document: object) -> bool | None:
    """Whether a checked pattern matches: every key has to, and one rule of a key's list is enough.

    In a list of objects one element has to match the whole pattern.
    """
    if isinstance(document, list) and document:
        return _any(_matches(pattern, element) for element in document)
    fields = document if isinstance(document, dict) else {}
    return _all(_matches_key(key, expected, fields) for key, expected in pattern.items())


def _matches_key(key: str, expected: Any, fields: Mapping[str, Any]) -> bool | None:
    if key == "$or":
        return _any(_matches(alternative, fields) for alternative in expected)
    if isinstance(expected, dict):
        return _matches(expected, fields.get(key))
    leaves = list(_leaves(fields[key])) if key in fields else []
    return _any(_rule_matches(rule, leaves) for rule in expected)


def _leaves(value: object) -> Iterator[object]:
    # Rules see leaves only: an object, or an empty list, counts as absent.
    if isinstance(value, list):
        for element in value:
            yield from _leaves(element)
    elif not isinstance(value, dict):
        yield value


def _rule_matches(rule: Any, leaves: Sequence[object]) -> bool | None:
    if isinstance(rule, dict) and "exists" in rule:
        return bool(leaves) is rule["exists"]
    return _any(_leaf_matches(rule, leaf) for leaf in leaves)


def _leaf_matches(rule: Any, leaf: object) -> bool | None:
    if not isinstance(rule, dict):
        return _same(rule, leaf)
    ((name, operand),) = rule.items()
    if name == "anything-but":
        alike = _any(_same(value, leaf) for value in _as_list(operand))
        return None if alike is None else not alike
    if name == "numeric":
        return _is_number(leaf) and _all(
            _compares(sign, leaf, bound) for sign, bound in zip(operand[::2], operand[1::2], strict=True)
        )
    return isinstance(leaf, str) and _text_matches(name, operand, leaf)


def _text_matches(name: str, operand: str, leaf: str) -> bool | None:
    if name == "prefix":
        return leaf.startswith(operand)
    if name == "suffix":
        return leaf.endswith(operand)
    return _same_but_for_case(operand, leaf)


def _same(expected: object, leaf: object) -> bool | None:
    if _is_number(expected) and _is_number(leaf):
        # "Lambda also uses string representation": by that 300 and 300.0 differ; by the matcher's source they don't.
        return None if expected == leaf and _text(expected) != _text(leaf) else expected == leaf
    # In Python True == 1; in JSON they are different values.
    return isinstance(expected, bool) is isinstance(leaf, bool) and expected == leaf


def _same_but_for_case(expected: str, leaf: str) -> bool | None:
    # Outside ASCII the ways to fold case differ ("ß", "İ"); which one Lambda takes is not documented.
    folded, lowered = expected.casefold() == leaf.casefold(), expected.lower() == leaf.lower()
    return folded if folded is lowered else None


def _compares(sign: str, leaf: Any, bound: float) -> bool | None:
    if abs(leaf) > _LARGEST or 0 < abs(leaf - bound) < _FINEST:
        return None
    return _COMPARISONS[sign](leaf, bound)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(number: object) -> str:
    return number.text if isinstance(number, _Number) else str(number)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _any(answers: Iterable[bool | None]) -> bool | None:
    unclear = False
    for answer in answers:
        if answer:
            return True
        unclear |= answer is None
    return None if unclear else False


def _all(answers: Iterable[bool | None]) -> bool | None:
    unclear = False
    for answer in answers:
        if answer is False:
            return False
        unclear |= answer is None
    return None if unclear else True


def _refuse(constant: str) -> NoReturn:
    raise _NotJson(constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Unclear("a name is there twice")
    return fields


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=_Number, parse_float=_Number, object_pairs_hook=_unique)


def _document(data: bytes) -> object:
    # Whether a byte order mark or another encoding than UTF-8 passes is not documented.
    if data.startswith(_BYTE_ORDER_MARK) or b"\0" in data[:4]:
        raise _Unclear
    try:
        return _decoder.decode(data.decode())
    except json.JSONDecodeError as exc:
        if exc.msg == "Extra data":
            raise _Unclear from exc
        raise _NotJson from exc
    except UnicodeDecodeError as exc:
        raise _NotJson from exc


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        pattern = _decoder.decode(text)
    except (ValueError, RecursionError, _NotJson, _Unclear) as exc:
        raise FilterPatternError(f"not JSON: {text}") from exc
    _check_object(pattern)
    assert isinstance(pattern, dict)
    return pattern


def _check_object(pattern: object) -> None:
    if not isinstance(pattern, dict) or not pattern:
        raise FilterPatternError(f"a pattern is an object with at least one key, not {pattern!r}")
    for key, expected in pattern.items():
        if key == "$or":
            if not isinstance(expected, list) or len(expected) < 2:
                raise FilterPatternError("$or takes a list of at least two patterns")
            for alternative in expected:
                _check_object(alternative)
                if not _OPERATORS.isdisjoint(alternative):
                    raise FilterPatternError(f"$or takes patterns, not operators: {alternative!r}")
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
    if name not in _OPERATORS:
        raise FilterPatternError(f"{key}: Lambda documents no operator {name!r}")
    if not _is_operand(name, operand):
        raise FilterPatternError(f"{key}: {operand!r} is no operand of {name}")


def _is_operand(name: str, operand: object) -> bool:
    if name == "exists":
        return isinstance(operand, bool)
    if name == "numeric":
        return _is_numeric_operand(operand)
    if name == "anything-but":
        values = _as_list(operand)
        return bool(values) and (all(isinstance(v, str) for v in values) or all(_is_number(v) for v in values))
    return isinstance(operand, str)


def _is_numeric_operand(operand: object) -> bool:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        return False
    signs, bounds = operand[::2], operand[1::2]
    # A list or an object is no key of a mapping, and no sign.
    return all(isinstance(sign, str) and sign in _COMPARISONS for sign in signs) and all(
        _is_number(bound) and abs(bound) <= _LARGEST for bound in bounds
    )
