"""What a policy can be tried on, wherever the records come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stream_redrive.core.classifier import Members, Neighbourhood
from stream_redrive.core.fingerprint import error_fingerprint
from stream_redrive.core.known_errors import Bearing, KnownError
from stream_redrive.core.logged import BatchErrors, Logged
from stream_redrive.core.manifest import Examined
from stream_redrive.core.notices import ShardRef
from stream_redrive.core.records import Record
from stream_redrive.core.reports import FailureReport
from stream_redrive.core.suspicion import Range, range_of
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

    members: what was known then of the records in ambiguous ranges. normalised: of how many records the consumer's
    message is known only without its values.
    """

    name: str
    consumer: str | None
    shard: ShardRef
    neighbourhood: Neighbourhood
    lanes_or_filters: bool
    cases: Callable[[], Iterable[Case]]
    members: Members | None = None
    normalised: int = 0
    notes: list[str] = field(default_factory=list)


class Remembered:
    """The errors that verdicts have kept: a report is forgotten before them, and a log is not asked again."""

    def __init__(self) -> None:
        self.reports: dict[int, FailureReport] = {}
        self._logged: dict[int, KnownError] = {}
        self._errors: dict[Range, dict[int, KnownError]] = {}
        self._unreadable: str | None = None

    def see(self, record: Record, notices: Sequence[Examined], verdict: RecordVerdict) -> None:
        """Take note of what the verdict on a record has kept."""
        number, evidence = int(record.stream.sequence_number), verdict.evidence
        error_type, message = evidence.get("error_type"), str(evidence.get("message", ""))
        self._unreadable = evidence.get("log", self._unreadable)
        if verdict.rule == "not-suspected":
            self._keep(number, notices, KnownError("", "", "log", Bearing.OTHERS))
        elif not isinstance(error_type, str):
            return
        elif evidence.get("source", "report") == "report":
            self.reports[number] = FailureReport(error_type, message, error_fingerprint(error_type, message), "")
        else:
            bearing = _BEARINGS.get(str(evidence.get("confidence")), Bearing.BATCH)
            self._logged[number] = KnownError(error_type, message, str(evidence["source"]), bearing)
            self._keep(number, notices, self._logged[number])

    def _keep(self, number: int, notices: Sequence[Examined], error: KnownError) -> None:
        for notice in notices:
            self._errors.setdefault(range_of(notice), {})[number] = error

    @property
    def numbers(self) -> set[int]:
        """The records of which an error is remembered."""
        return {*self.reports, *self._logged}

    @property
    def logged(self) -> Logged:
        """What was known of the consumer's log."""
        return Logged(
            {batch: BatchErrors(errors, None) for batch, errors in self._errors.items()},
            self._unreadable,
            len(self._logged),
            Counter(error.fingerprint for error in self._logged.values()),
            Counter(name for errors in self._errors.values() for name in {e.fingerprint for e in errors.values()}),
        )


_BEARINGS = {"certain": Bearing.OWN, "likely": Bearing.SUSPECT}
