"""The effective policy of one consumer: every field's value, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core.policy import Policy, PolicyBook
from stream_redrive_cli.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?")
_ARN = re.compile(rf"arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{{12}}:function:{_NAME.pattern}")
# An entry by name is for a function of any account.
_ANYWHERE = "arn:aws:lambda:us-east-1:000000000000:function:"


@dataclass(frozen=True)
class FieldValue:
    """A field of the effective policy. source: "consumers.<entry>", "default" or "built-in"."""

    field: str
    value: Any
    source: str


@dataclass(frozen=True)
class EffectivePolicy:
    """What is in force for a consumer. entry: its own entry's name; None where only `default` applies."""

    consumer: str
    entry: str | None
    fields: tuple[FieldValue, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "consumer": self.consumer,
            "entry": self.entry,
            "fields": {field.field: {"value": field.value, "from": field.source} for field in self.fields},
        }


def resolved_consumer(book: PolicyBook, consumer: str) -> str:
    """A consumer as the user names it; a name that the policy knows only as an ARN's becomes that ARN.

    Raises:
        UsageError: it is neither a function's name nor its ARN, or a name that stands for several entries.
    """
    if _ARN.fullmatch(consumer):
        return consumer
    if not _NAME.fullmatch(consumer):
        raise UsageError(f"{consumer!r} is neither the name of a function nor its ARN")
    name, _, qualifier = consumer.partition(":")
    arns = {":".join(key.split(":")[:7]) for key in book.consumers if key.startswith("arn:")}
    named = sorted(arn for arn in arns if arn.split(":")[6] == name)
    if not named:
        return consumer
    if len(named) > 1 or name in book.consumers or consumer in book.consumers:
        raise UsageError(f"the policy has several entries for {name!r}: name the consumer by its ARN")
    return f"{named[0]}:{qualifier}" if qualifier else named[0]


def policy_of(book: PolicyBook, consumer: str) -> Policy:
    """The policy of a consumer as resolved_consumer gives it."""
    return book.policy_for(consumer if consumer.startswith("arn:") else _ANYWHERE + consumer)


def entry_of(book: PolicyBook, policy: Policy) -> str | None:
    """The name of the entry that policy_for took the policy from."""
    return next((name for name, own in book.consumers.items() if own is policy), None)


def effective_policy(book: PolicyBook, document: Mapping[str, Any], consumer: str) -> EffectivePolicy:
    """Every field of a consumer's policy. document: the one that book was parsed from. Raises UsageError."""
    policy = policy_of(book, resolved_consumer(book, consumer))
    entry = entry_of(book, policy)
    base = document.get("default", {})
    own = document["consumers"][entry] if entry else {}
    found: list[FieldValue] = []

    def add(field: str, value: Any, own: Mapping[str, Any], base: Mapping[str, Any], name: str) -> None:
        source = f"consumers.{entry}" if name in own else "default" if name in base else "built-in"
        found.append(FieldValue(field, value, source))

    for name, value in asdict(policy).items():
        if name in {"backoff", "probe", "breaker", "approval"}:
            for inner, part in value.items():
                add(f"{name}.{inner}", part, own.get(name, {}), base.get(name, {}), inner)
        else:
            add(name, value, own, base, name)
    return EffectivePolicy(consumer, entry, tuple(found))
