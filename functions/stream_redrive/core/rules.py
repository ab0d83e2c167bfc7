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

from stream_redrive.core.known_errors import KnownError
from stream_redrive.core.policy import Rule, Verdict

DEFAULT_RULES_PATH = Path(__file__).with_name("default_rules.json")
# With these shipped rules' errors the consumer had come as far as writing the record.
WRITING_RULES = frozenset({"throttled", "server-error", "unreachable", "permission-missing", "resource-missing"})
TIMED_OUT_RULE = "timed-out"
# Longer texts are cut before a pattern is tried on them.
MAX_MATCHED_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about why a record failed.

    format: what the payload looks like. document: the decoded payload, None where it can't be decoded.
    find_error: the error, found out when a rule asks for it; None where none is known.
    find_age: seconds from the record's arrival to its batch's failure; None where that is not known.
    last_error: the name of the error that the record was redriven for last.
    """

    condition: str
    batch_size: int
    attempt: int
    format: Callable[[], str]
    document: Callable[[], object]
    find_error: Callable[[], KnownError | None]
    find_age: Callable[[], float | None]
    invoke_count: int | None = None
    function_error: str | None = None
    last_error: str | None = None

    @property
    def error_type(self) -> str | None:
        """The class of the error."""
        error = self.find_error()
        return error.error_type if error else None

    @property
    def message(self) -> str | None:
        """The error's text."""
        error = self.find_error()
        return error.message if error else None

    @property
    def same_error(self) -> bool:
        """Whether the record was redriven for the same kind of error last time."""
        if self.last_error is None:
            return False
        error = self.find_error()
        return error is not None and error.fingerprint == self.last_error


# What a rule that looks at the error tests.
_OF_ERROR = {"error_type", "message", "same_error"}


def names_error(rule: Rule) -> bool:
    """Whether a rule matches for what the error is, and not only for what the record is."""
    return not _OF_ERROR.isdisjoint(rule.when)


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


def _number(read: Callable[[Evidence], float | None]) -> Callable[[Any], Test]:
    def build(wanted: int | Mapping[str, int]) -> Test:
        limits = {"at_least": wanted, "at_most": wanted} if isinstance(wanted, int) else wanted
        least, most = limits.get("at_least", 0), limits.get("at_most")

        def test(evidence: Evidence) -> bool:
            number = read(evidence)
            return number is not None and least <= number and (most is None or number <= most)

        return test

    return build


def _same_error(wanted: bool) -> Test:
    return lambda evidence: evidence.same_error is wanted


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
    "invoke_count": _number(lambda evidence: evidence.invoke_count),
    "age_seconds": _number(lambda evidence: evidence.find_age()),
    "function_error": _text(lambda evidence: evidence.function_error),
    "same_error": _same_error,
    "format": _format,
    "field": _field,
}
