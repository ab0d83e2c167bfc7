"""The policy: what a team wants done with its failed records, parsed and validated whole."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import jmespath
from jmespath.exceptions import JMESPathError

from stream_redrive.core.approvers import match_one_person_only
from stream_redrive.core.errors import PolicyInvalid

SCHEMA_PATH = Path(__file__).with_name("policy.schema.json")
# What a policy says of the log in place of a name: the group that the function is configured with, or none at all.
LOG_AUTO, LOG_OFF = "auto", "off"
DEFAULT_STAGES: tuple[int | str, ...] = (1, "5 %", "25 %", "100 %")


class Verdict(StrEnum):
    """What a record is: worth another try, at fault itself, or not to be told apart without a person."""

    TRANSIENT = "transient"
    POISON = "poison"
    HELD = "held"


class Decoder(StrEnum):
    """How a payload becomes a document. AUTO: gzip by its magic number, then JSON; anything else is no evidence."""

    JSON = "json"
    GZIP_JSON = "gzip+json"
    NONE = "none"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before a redrive: a random part of base * factor ** attempt, at most max, in seconds."""

    base_seconds: float = 30
    factor: float = 2
    max_seconds: float = 900

    def ceiling(self, attempt: int) -> float:
        """The longest delay before the redrive of a record that was redriven attempt times already."""
        try:
            return float(min(self.max_seconds, self.base_seconds * self.factor**attempt))
        except OverflowError:
            return self.max_seconds


@dataclass(frozen=True, slots=True)
class Rule:
    """When the evidence matches, the verdict is given with the reason. alarm: a person must mend something."""

    id: str
    when: Mapping[str, Any]
    then: Verdict
    reason: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a consumer counts as down: batches of that many keys failing within the window."""

    enabled: bool = True
    failed_keys: int = 10
    window_seconds: int = 60
    open_seconds: int = 60


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """Whether the consumer may be invoked to find out which records fail, how many times, and for how many seconds.

    Both are for an incident as a whole, whatever its number of runs.
    """

    enabled: bool = False
    max_calls: int = 20
    max_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Approval:
    """Who decides about poison records, and until when."""

    reminder_hours: float = 24
    expire_days: float = 14
    two_person: tuple[str, ...] = ("edit", "discard")
    approvers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One consumer's policy (docs/policy.md).

    max_wait_seconds: None: no limit but the deadline of the data. log: LOG_AUTO, LOG_OFF or a log group's name.
    """

    target: str = "stream"
    shared_stream: str = "consumer"
    ordering: str = "none"
    backoff: Backoff = Backoff()
    max_attempts: int = 3
    max_wait_seconds: int | None = None
    decoder: Decoder = Decoder.AUTO
    log: str = LOG_AUTO
    schema: dict[str, Any] | bool | None = None
    rules: tuple[Rule, ...] = ()
    default: Verdict = Verdict.TRANSIENT
    probe: ProbeLimits = ProbeLimits()
    breaker: Breaker = Breaker()
    stages: tuple[int | str, ...] = DEFAULT_STAGES
    confirm_after_seconds: int = 300
    pace: float = 0.25
    approval: Approval = Approval()


@dataclass(frozen=True)
class PolicyBook:
    """All consumers' policies of one version of the document."""

    version: str
    default: Policy
    consumers: Mapping[str, Policy]

    def policy_for(self, function_arn: str) -> Policy:
        """The policy of a consumer: by its ARN as notices give it, its unqualified ARN, its name, or the default."""
        parts = function_arn.split(":")
        unqualified, name, qualified = ":".join(parts[:7]), parts[6], ":".join(parts[6:8])
        for key in (function_arn, qualified, unqualified, name):
            if key in self.consumers:
                return self.consumers[key]
        return self.default


def parse_policy(text: str, version: str) -> PolicyBook:
    """Read and validate a policy document.

    Args:
        text: the JSON; see policy.schema.json.
        version: what verdicts name as their policy_version.

    Raises:
        PolicyInvalid: naming the field at fault and what was expected of it.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise PolicyInvalid(f"policy {version}: not JSON: {exc}") from exc
    try:
        _validator()(document)
    except fastjsonschema.JsonSchemaValueException as exc:
        raise PolicyInvalid(f"policy {version}: {exc.message.replace('data', 'policy', 1)}") from exc
    base = document.get("default", {})
    where = f"policy {version}: "
    return PolicyBook(
        version=version,
        default=_policy(base, where + "default"),
        consumers={
            consumer: _policy(_over(base, own), f"{where}consumers.{consumer}")
            for consumer, own in document.get("consumers", {}).items()
        },
    )


_NESTED = ("backoff", "probe", "breaker", "approval")


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A consumer's fields over the default's; those of nested objects one by one, a schema as a whole."""
    nested = {name: {**base.get(name, {}), **own[name]} for name in _NESTED if name in own}
    return {**base, **own, **nested}


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity, and NaN passes every minimum and maximum.
    raise ValueError(f"{name} is no JSON number")


@cache
def _validator() -> Callable[[object], object]:
    schema: Callable[[object], object] = fastjsonschema.compile(json.loads(SCHEMA_PATH.read_text()))
    return schema


def _policy(fields: Mapping[str, Any], where: str) -> Policy:
    policy = Policy(
        **{
            **fields,
            "backoff": Backoff(**fields.get("backoff", {})),
            "decoder": Decoder(fields.get("decoder", Decoder.AUTO)),
            "rules": tuple(Rule(**{**r, "then": Verdict(r["then"])}) for r in fields.get("rules", ())),
            "default": Verdict(fields.get("default", Verdict.TRANSIENT)),
            "probe": ProbeLimits(**fields.get("probe", {})),
            "breaker": Breaker(**fields.get("breaker", {})),
            "stages": tuple(fields.get("stages", DEFAULT_STAGES)),
            "approval": _approval(fields.get("approval", {})),
        }
    )
    for problem in _contradictions(policy):
        raise PolicyInvalid(f"{where}: {problem}")
    return policy


def _approval(fields: Mapping[str, Any]) -> Approval:
    lists = {name: tuple(fields[name]) for name in ("two_person", "approvers") if name in fields}
    return Approval(**{**fields, **lists})


def _contradictions(policy: Policy) -> list[str]:
    problems = []
    if policy.schema is not None and policy.decoder is Decoder.NONE:
        problems.append("schema needs a decoder: 'none' leaves nothing to check")
    if policy.backoff.base_seconds > policy.backoff.max_seconds:
        problems.append("backoff.base_seconds is more than backoff.max_seconds")
    if policy.probe.enabled and policy.ordering == "per_key":
        problems.append("probe.enabled breaks ordering 'per_key': the consumer gets records out of their order")
    if policy.approval.two_person and match_one_person_only(policy.approval.approvers):
        problems.append("approval.approvers names one person only, and approval.two_person asks for two")
    ids = [rule.id for rule in policy.rules]
    repeated = sorted({rule_id for rule_id in ids if ids.count(rule_id) > 1})
    if repeated:
        problems.append(f"rules: id {repeated[0]!r} stands more than once")
    for rule in policy.rules:
        try:
            jmespath.compile(rule.when.get("field", "@"))
        except JMESPathError as exc:
            problems.append(f"rules.{rule.id}.when.field is no JMESPath expression: {exc}")
    if policy.schema is not None:
        try:
            compile_schema(policy.schema)
        # fastjsonschema stumbles over some malformed schemas instead of naming the fault.
        except (ValueError, TypeError, AttributeError, RecursionError, re.error) as exc:
            problems.append(f"schema is no valid JSON Schema: {exc}")
    return problems


def compile_schema(schema: dict[str, Any] | bool) -> Callable[[object], object]:
    """A function that raises JsonSchemaValueException for a document that breaks the schema.

    Raises:
        JsonSchemaDefinitionException: the schema is none, or refers to something outside itself.
    """
    # Without these, fastjsonschema fetches what a $ref names.
    handlers = dict.fromkeys(("", "http", "https", "ftp", "file", "data"), _refuse_reference)
    check: Callable[[object], object] = fastjsonschema.compile(schema, handlers=handlers, use_default=False)
    return check


def _refuse_reference(uri: str) -> object:
    raise fastjsonschema.JsonSchemaDefinitionException(f"$ref {uri!r} is outside the schema")
