"""Rules: what is known about a failed record, and which verdict that calls for."""

import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from stream_redrive.core.policy import Rule, Verdict

DEFAULT_RULES_PATH = Path(__file__).with_name("default_rules.json")
# Longer texts are cut before a pattern is tried on them.
MAX_MATCHED_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about why a record failed.

    error_type, message: the exception, as the consumer reported it; None where it reported nothing.
    format: what the payload looks like. document: the decoded payload, None where it can't be decoded.
    """

    condition: str
    batch_size: int
    attempt: int
    format: Callable[[], str]
    document: Callable[[], object]
    error_type: str | None = None
    message: str | None = None


Test = Callable[[Evidence], bool]


class RuleSet:
    """Rules in their order; the first one that matches decides."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(rule, _matcher(rule.when)) for rule in rules]

    def first(self, evidence: Evidence) -> Rule | None:
        """The first rule that matches all it names; None where none does."""
        return next((rule for rule, matches in self._rules if matches(evidence)), None)


@cache
def default_rules() -> tuple[Rule, ...]:
    """The rules that come with the service: the usual errors of the field."""
    return tuple(Rule(**{**rule, "then": Verdict(rule["then"])}) for rule in json.loads(DEFAULT_RULES_PATH.read_text()))


def _matcher(when: Mapping[str, Any]) -> Test:
    tests = [_TESTS[name](wanted) for name, wanted in when.items()]
    return lambda evidence: all(test(evidence) for test in tests)


def _text(read: Callable[[Evidence], str | None]) -> Callable[[Any], Test]:
    def build(wanted: str | Sequence[str]) -> Test:
        patterns = [wanted] if isinstance(wanted, str) else wanted
        # Globs, not regular expressions: nothing that a user writes can make one of these run for ever.
        match = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns), re.DOTALL).match

        def test(evidence: Evidence) -> bool:
            text = read(evidence)
            return text is not None and match(text[:MAX_MATCHED_TEXT]) is not None

        return test

    return build


def _number(read: Callable[[Evidence], int]) -> Callable[[Any], Test]:
    def build(wanted: int | Mapping[str, int]) -> Test:
        limits = {"at_least": wanted, "at_most": wanted} if isinstance(wanted, int) else wanted
        least, most = limits.get("at_least", 0), limits.get("at_most")
        return lambda evidence: least <= read(evidence) and (most is None or read(evidence) <= most)

    return build


def _format(wanted: Sequence[str]) -> Test:
    return lambda evidence: evidence.format() in wanted


def _field(wanted: str) -> Test:
    expression = jmespath.compile(wanted)

    def test(evidence: Evidence) -> bool:
        document = evidence.document()
        if document is None:
            return False
        try:
            return bool(expression.search(document))
        except (JMESPathError, ArithmeticError, RecursionError, TypeError, ValueError):
            return False  # a function that doesn't take what the payload has says nothing about the record

    return test


_TESTS: Mapping[str, Callable[[Any], Test]] = {
    "error_type": _text(lambda evidence: evidence.error_type),
    "message": _text(lambda evidence: evidence.message),
    "condition": _text(lambda evidence: evidence.condition),
    "attempt": _number(lambda evidence: evidence.attempt),
    "batch_size": _number(lambda evidence: evidence.batch_size),
    "format": _format,
    "field": _field,
}
