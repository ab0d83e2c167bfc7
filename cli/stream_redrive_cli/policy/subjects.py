"""What a policy can be tried on, wherever the records come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stream_redrive.core.classifier import Neighbourhood
from stream_redrive.core.manifest import Examined
from stream_redrive.core.notices import ShardRef
from stream_redrive.core.records import Record
from stream_redrive.core.reports import FailureReport
from stream_redrive.core.verdicts import RecordVerdict


@dataclass(frozen=True)
class Case:
    """A record to judge, the notices that cover it, and the verdict it was given then, if any."""

    record: Record
    notices: list[Examined]
    then: RecordVerdict | None


@dataclass(frozen=True)
class Subject:
    """Records and what is known around them. consumer: the function's name or ARN, None where nothing tells.

    normalised: of how many records the consumer's message is known only without its values.
    """

    name: str
    consumer: str | None
    shard: ShardRef
    neighbourhood: Neighbourhood
    lanes_or_filters: bool
    cases: Callable[[], Iterable[Case]]
    normalised: int = 0
    notes: list[str] = field(default_factory=list)


def remembered_report(record: Record, verdict: RecordVerdict | None) -> dict[int, FailureReport]:
    """The consumer's report as the verdict kept it, by the record's number: reports are forgotten before verdicts."""
    error_type = verdict.evidence.get("error_type") if verdict else None
    if verdict is None or not isinstance(error_type, str):
        return {}
    message = str(verdict.evidence.get("message", ""))
    return {int(record.stream.sequence_number): FailureReport(error_type, message, f"{error_type}: {message}", "")}
