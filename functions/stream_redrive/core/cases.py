"""Cases: the quarantined records of one kind of failure, which wait for one decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# Actor and channel of what nobody but the service itself did.
MACHINE = "case-workflow"


class CaseStatus(StrEnum):
    """Where a case stands.

    OPEN: takes records of its kind, waits for a decision. PROPOSED: one person has decided, a second one is awaited;
    its records are frozen. DECIDED: the decision's effect is under way. CLOSED: it is certain. EXPIRED: nobody decided
    in time, the records stay in quarantine.
    """

    OPEN = "open"
    PROPOSED = "proposed"
    DECIDED = "decided"
    CLOSED = "closed"
    EXPIRED = "expired"


class Action(StrEnum):
    """What a person decides to do with a case's records."""

    REDRIVE = "redrive"
    EDIT = "edit"
    DISCARD = "discard"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Person:
    """A person as IAM knows them. arn: the signed caller's. channel: how they spoke to us ("api")."""

    arn: str
    channel: str = "api"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, or proposed, about a frozen set of records.

    digest: of exactly these records and what shall be done with them. reason: in the person's words. ticket: where it
    is tracked, "" where it isn't. records: how many it is about. work: the vault's key of the list of chunks that it
    is about (a JSON array; docs/architecture.md). target: where a redrive goes. by, at: who said so first, and when;
    approved_by, approved_at: the second person, where two are needed.
    """

    action: Action
    digest: str
    reason: str
    ticket: str
    records: int
    work: str
    target: str
    pace: float
    policy_version: str
    by: Person
    at: str
    approved_by: Person | None = None
    approved_at: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A case.

    id: "<fingerprint>-<generation>". verdict, rule, reason, error_type, message (normalised): of its first record.
    revision: counts its changes, joins included; what was read is out of date when it has moved on. records: how many.
    expires_at: until when a decision is taken. remind_at: when the approvers are told next. previous: the case of the
    same kind before it. left_over_of: the decided case whose excepted records it takes over, until it has them.
    proposal: the first of two people's word. outcome: what came of the decision (counts), once it is closed.
    """

    id: str
    fingerprint: str
    generation: int
    consumer: str
    stream_arn: str
    verdict: str
    rule: str
    reason: str
    error_type: str
    message: str
    status: CaseStatus
    revision: int
    records: int
    opened_at: str
    last_joined_at: str
    expires_at: str
    remind_at: str
    previous: str | None = None
    left_over_of: str | None = None
    proposal: Decision | None = None
    decision: Decision | None = None
    closed_at: str | None = None
    outcome: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of a quarantine chunk that belong to a case.

    index: of the chunk in its incident. lines: theirs in the chunk's object, from 0. digest: SHA-256 of the records'
    places and payload digests, in their order. first_arrived, last_arrived: ISO 8601, UTC.
    """

    incident_id: str
    index: int
    bucket: str
    key: str
    shard_id: str
    lines: tuple[int, ...]
    digest: str
    first_arrived: str
    last_arrived: str


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """Something that was done with a case, for its history and the audit. No payloads.

    kind: opened, joined, notified, viewed, planned, proposed, decided, denied, redriven, confirmed, settled, expired,
    noted. operation: groups the events of one operation. actor: a person's ARN, or the machine's own name.
    before, after: the case's status; None where it has none.
    """

    operation: str
    at: str
    kind: str
    actor: str
    channel: str
    before: str | None = None
    after: str | None = None
    digest: str | None = None
    policy_version: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote about a case. Notes are only ever added."""

    at: str
    by: Person
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, as IAM knows them; None: an unsigned caller. operation: groups what the request does."""

    arn: str | None
    operation: str


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says of a decision. digest: of the plan that they have seen, or of the proposal, to approve it."""

    digest: str
    reason: str
    ticket: str = ""


def case_id(fingerprint: str, generation: int) -> str:
    """The name of a case: also that of its execution."""
    return f"{fingerprint}-{generation}"
