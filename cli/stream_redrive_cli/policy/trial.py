"""Runs a policy over records and compares its verdicts with those given then. Nothing is written anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream_redrive.adapters.time_limit import CpuTimeLimit
from stream_redrive.core.classifier import Classifier
from stream_redrive.core.patience import Patience
from stream_redrive.core.policy import PolicyBook, Verdict
from stream_redrive.core.verdicts import RecordVerdict
from stream_redrive_cli.policy.effective import entry_of, policy_of
from stream_redrive_cli.policy.subjects import Subject

NONE = "none"


@dataclass(frozen=True)
class Opinion:
    """What a verdict says of a record."""

    verdict: str
    rule: str
    reason: str

    @classmethod
    def of(cls, verdict: RecordVerdict) -> Opinion:
        return cls(verdict.verdict.value, verdict.rule, verdict.reason)

    def to_dict(self) -> dict[str, str]:
        """Named as quarantine lines name it."""
        return {"class": self.verdict, "rule": self.rule, "reason": self.reason}


@dataclass(frozen=True)
class Changed:
    """A record of which the policy thinks otherwise, or that had no verdict yet (then: None). No payload."""

    shard_id: str
    sequence_number: str
    partition_key: str | None
    attempt: int
    then: Opinion | None
    now: Opinion

    def to_dict(self) -> dict[str, Any]:
        return {
            "shard_id": self.shard_id,
            "sequence_number": self.sequence_number,
            "partition_key": self.partition_key,
            "attempt": self.attempt,
            "then": self.then.to_dict() if self.then else None,
            "now": self.now.to_dict(),
        }


@dataclass(frozen=True)
class Trial:
    """The result. matrix: counts by (class then, class now); entry: the policy's entry for the consumer."""

    policy: str
    subject: str
    consumer: str | None
    entry: str | None
    matrix: Counter[tuple[str, str]]
    changes: Sequence[Changed]
    notes: Sequence[str]

    @property
    def records(self) -> int:
        """How many records were judged."""
        return self.matrix.total()

    @property
    def unjudged(self) -> int:
        """How many had no verdict then."""
        return sum(count for (then, _), count in self.matrix.items() if then == NONE)

    @property
    def other_verdict(self) -> int:
        """How many would get another verdict."""
        return sum(count for (then, now), count in self.matrix.items() if then not in {NONE, now})

    @property
    def other_reason(self) -> int:
        """How many would keep their verdict, for another rule or reason."""
        return len(self.changes) - self.other_verdict - self.unjudged

    def to_dict(self) -> dict[str, Any]:
        """Complete, as JSON."""
        rows = [*(verdict.value for verdict in Verdict), NONE]
        return {
            "policy": self.policy,
            "subject": self.subject,
            "consumer": self.consumer,
            "entry": self.entry,
            "records": self.records,
            "matrix": {then: {now.value: self.matrix[then, now.value] for now in Verdict} for then in rows},
            "other_verdict": self.other_verdict,
            "other_reason": self.other_reason,
            "without_verdict": self.unjudged,
            "changes": [changed.to_dict() for changed in self.changes],
            "notes": list(self.notes),
        }


def try_policy(book: PolicyBook, subject: Subject) -> Trial:
    """Judge the subject's records under the policy."""
    policy = policy_of(book, subject.consumer) if subject.consumer else book.default
    classifier = Classifier(
        policy,
        book.version,
        subject.shard,
        subject.neighbourhood,
        Patience(CpuTimeLimit()),
        lanes_or_filters=subject.lanes_or_filters,
        members=subject.members,
    )
    matrix: Counter[tuple[str, str]] = Counter()
    changes: list[Changed] = []
    for case in subject.cases():
        verdict = classifier.classify(case.record, case.notices)
        if verdict is None:
            continue
        now = Opinion.of(verdict)
        then = Opinion.of(case.then) if case.then else None
        matrix[then.verdict if then else NONE, now.verdict] += 1
        if then != now:
            stream, attempt = case.record.stream, case.record.lineage.attempt
            changes.append(Changed(stream.shard_id, stream.sequence_number, stream.partition_key, attempt, then, now))
    return Trial(
        policy=book.version,
        subject=subject.name,
        consumer=subject.consumer,
        entry=entry_of(book, policy),
        matrix=matrix,
        changes=changes,
        notes=[*subject.notes, *_notes(subject)],
    )


def _notes(subject: Subject) -> list[str]:
    notes = []
    if subject.consumer is None:
        notes.append("no consumer is named: the policy's default was tried (--consumer)")
    if subject.normalised:
        notes.append(
            f"of {subject.normalised} records the consumer's message is known only without its values: "
            "a pattern that names such a value doesn't match here"
        )
    return notes
