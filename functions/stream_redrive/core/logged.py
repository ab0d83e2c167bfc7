"""What the consumer's log says of an incident's failed batches, and whom of each batch."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stream_redrive.core.known_errors import Bearing, KnownError
from stream_redrive.core.manifest import Examined
from stream_redrive.core.policy import Verdict
from stream_redrive.core.ports import LoggedError
from stream_redrive.core.suspicion import Range, Suspicion, range_of

Speaks = Callable[[Examined, KnownError], Verdict | None]
Member = Callable[[int, Examined], bool]


@dataclass(frozen=True, slots=True)
class BatchErrors:
    """The errors of one failed batch. suspects: by sequence number. rest: what is known of the other records."""

    suspects: Mapping[int, KnownError]
    rest: KnownError | None

    def of(self, number: int) -> KnownError | None:
        """The error as it concerns a record of the batch."""
        return self.suspects.get(number, self.rest)


@dataclass(frozen=True, slots=True)
class Logged:
    """The errors of an incident's batches.

    unreadable: why the log couldn't be read, None where it could. heard: how many records were in batches of which it
    told errors. records: by an error's fingerprint, against how many records it speaks. batches: in how many failed
    batches it was logged.
    """

    errors: Mapping[Range, BatchErrors] = field(default_factory=dict)
    unreadable: str | None = None
    heard: int = 0
    records: Mapping[str, int] = field(default_factory=dict)
    batches: Mapping[str, int] = field(default_factory=dict)

    def of(self, number: int, notice: Examined) -> KnownError | None:
        """The error of a notice's batch, as it concerns one of its records."""
        errors = self.errors.get(range_of(notice))
        return errors.of(number) if errors else None


class Attribution:
    """Attributes logged errors to the records of their batches."""

    def __init__(
        self, logged: Mapping[str, Sequence[LoggedError]], notices: Sequence[Examined], speaks: Speaks
    ) -> None:
        """
        Args:
            logged: by request id.
            notices: those whose batches are in question.
            speaks: the verdict that a rule gives for an error of a batch; None where no rule knows it.
        """
        self._speaks = speaks
        self._logged = [(notice, errors) for notice in notices if (errors := logged.get(notice.request_id or ""))]

    @property
    def in_question(self) -> Mapping[Range, Mapping[str, Sequence[LoggedError]]]:
        """The errors that speak against some record of a batch of several: what a Suspicion needs."""
        found: dict[Range, dict[str, list[LoggedError]]] = {}
        for notice, errors in self._logged:
            for error in errors if notice.size > 1 else ():
                known = _known(error, Bearing.BATCH)
                if self._speaks(notice, known) not in {None, Verdict.TRANSIENT}:
                    found.setdefault(range_of(notice), {}).setdefault(known.fingerprint, []).append(error)
        return found

    def settle(self, suspicion: Suspicion, member: Member) -> Logged:
        """The errors, after the suspicion has seen the records."""
        errors = {
            range_of(notice): self._of_many(notice, logged, suspicion, member)
            if notice.size > 1
            # What an invocation logged last is what ended it.
            else BatchErrors({}, _known(logged[-1], Bearing.OWN))
            for notice, logged in self._logged
        }
        records: Counter[str] = Counter()
        batches: Counter[str] = Counter()
        for notice, _ in self._logged:
            told = errors[range_of(notice)]
            weights = Counter(error.fingerprint for error in told.suspects.values())
            if told.rest and told.rest.bearing is not Bearing.OTHERS:
                weights[told.rest.fingerprint] += notice.size - len(told.suspects)
            records.update(weights)
            batches.update(weights.keys())
        return Logged(errors, None, sum(notice.size for notice, _ in self._logged), records, batches)

    def _of_many(
        self, notice: Examined, logged: Sequence[LoggedError], suspicion: Suspicion, member: Member
    ) -> BatchErrors:
        suspects: dict[int, KnownError] = {}
        unattributed: dict[Verdict | None, KnownError] = {}
        for error in {_known(error, Bearing.BATCH).fingerprint: error for error in logged}.values():
            shared = _known(error, Bearing.BATCH)
            verdict = self._speaks(notice, shared)
            found = suspicion.suspects(range_of(notice), shared.fingerprint, lambda number: member(number, notice))
            if verdict in {None, Verdict.TRANSIENT} or found is None:
                unattributed[verdict] = shared
            else:
                for number in found.numbers:
                    suspects.setdefault(number, _known(error, Bearing.SUSPECT, found.clue))
        # One that blames a record before one that doesn't, and before one that nobody knows.
        for verdict in (Verdict.POISON, Verdict.HELD, Verdict.TRANSIENT):
            if verdict in unattributed:
                return BatchErrors(suspects, unattributed[verdict])
        if suspects:
            return BatchErrors(suspects, _known(logged[-1], Bearing.OTHERS))
        return BatchErrors({}, unattributed[None])


def _known(error: LoggedError, bearing: Bearing, clue: str = "") -> KnownError:
    return KnownError(error.error_type, error.message, "log", bearing, clue)
