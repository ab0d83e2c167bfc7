"""Redrive of a case: send the records that a person decided about, and find out which of them failed again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from stream_redrive.core import chunks, work_list
from stream_redrive.core.cases import MACHINE, Case, CaseEvent, Decision
from stream_redrive.core.errors import CaseNotDecided, CaseNotRedriven, VaultObjectMissing
from stream_redrive.core.notices import format_time
from stream_redrive.core.policy import PolicyBook
from stream_redrive.core.ports import CaseStore, Clock, Ledger, Vault
from stream_redrive.core.records import Origin, Record, StreamRecord
from stream_redrive.core.redrive import refuse_other_targets
from stream_redrive.core.sending import Position, Positioned, Sender, Sent
from stream_redrive.core.work_list import WorkChunk


def decided(store: CaseStore, case_id: str) -> tuple[Case, Decision]:
    """A case and what was decided about it.

    Raises:
        CaseNotDecided: nothing was, or there is no such case.
    """
    case = store.case(case_id)
    if case is None or case.decision is None:
        raise CaseNotDecided(f"case {case_id} has no decision")
    return case, case.decision


class RedriveChunk:
    """Redrives the records of one chunk of a decision's work list."""

    def __init__(self, vault: Vault, cases: CaseStore, send: Sender) -> None:
        self._vault = vault
        self._cases = cases
        self._send = send

    def __call__(self, case_id: str, chunk: WorkChunk) -> Sent:
        """Redrive, at the decision's pace and as far as the time allows; raises what Sender does, and:

        Raises:
            CaseNotDecided: nothing was decided about the case.
            TargetNotSupported: this version can't send there.
            VaultObjectMissing: the chunk has expired.
        """
        case, decision = decided(self._cases, case_id)
        refuse_other_targets(decision.target)
        records = _DecidedRecords(
            work_list.redrive_id(decision.work, chunk.index),
            case.stream_arn,
            {(chunk.index, line): record for line, record in chunk.read(self._vault).items()},
            lambda: self._newest(case_id),
        )
        return self._send(records, decision.pace)

    def _newest(self, case_id: str) -> Mapping[str, int]:
        """By shard: the highest sequence number in the case, of records that were left out too."""
        newest: dict[str, int] = {}
        for key in {piece.key for piece in self._cases.pieces(case_id)}:
            with suppress(VaultObjectMissing):
                for record in chunks.decode(self._vault.get(key)):
                    shard_id, number = record.stream.shard_id, int(record.stream.sequence_number)
                    newest[shard_id] = max(number, newest.get(shard_id, number))
        return newest


class _DecidedRecords:
    """The records of a chunk; a position's first number is the chunk's in the work list."""

    def __init__(
        self,
        identity: str,
        stream_arn: str,
        records: Mapping[Position, Record],
        newest: Callable[[], Mapping[str, int]],
    ) -> None:
        """newest: read only by a run that finds a call open: it takes all of the case's chunks."""
        self._id = identity
        self._stream_arn = stream_arn
        self._records = records
        self._read_newest = newest
        self._newest: Mapping[str, int] | None = None

    @property
    def id(self) -> str:
        """The chunk's in the ledger."""
        return self._id

    @property
    def stream_arn(self) -> str:
        """The stream that they came from."""
        return self._stream_arn

    def at(self, positions: Sequence[Position]) -> list[Positioned]:
        """The records of these positions, in their order."""
        return [(position, self._records[position]) for position in positions]

    def from_position(self, position: Position) -> Iterator[Positioned]:
        """The records from a position on."""
        return ((found, record) for found, record in self._records.items() if found >= position)

    def is_original(self, record: StreamRecord) -> bool:
        """Whether it is no younger than the case's records: another of them may be equal."""
        if self._newest is None:
            self._newest = self._read_newest()
        return int(record.sequence_number) <= self._newest.get(record.shard_id, -1)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is known of a case's redriven records. wait_seconds: how long it is too early to say; 0: it isn't."""

    wait_seconds: int
    sent: int
    failed_again: int
    unconfirmed: int

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class ConfirmCase:
    """Counts the records of a redriven case that came back into quarantine since it was decided."""

    def __init__(
        self, vault: Vault, cases: CaseStore, ledger: Ledger, policies: Callable[[], PolicyBook], clock: Clock
    ) -> None:
        self._vault = vault
        self._cases = cases
        self._ledger = ledger
        self._policies = policies
        self._clock = clock

    def __call__(self, case_id: str, *, waited: bool) -> Confirmation:
        """Say how long the policy wants to wait, and once that is over, count.

        Args:
            waited: whether the time has passed since all was sent.

        Raises:
            CaseNotDecided: nothing was decided about the case.
            CaseNotRedriven: not all records were sent.
            VaultObjectMissing: the work list or a chunk has expired.
        """
        case, decision = decided(self._cases, case_id)
        work = work_list.load(self._vault, decision.work)
        sent = sum(self._sent(decision, chunk) for chunk in work)
        if sent < sum(chunk.records for chunk in work):
            raise CaseNotRedriven(f"case {case_id}: only {sent} records were sent")
        if not waited:
            self._record(case, decision, "redriven", {"sent": sent})
            wait = self._policies().policy_for(case.consumer).confirm_after_seconds
            return Confirmation(wait, sent, failed_again=0, unconfirmed=sent)
        failed_again = sum(self._failed_again(case, chunk) for chunk in work)
        result = Confirmation(0, sent, failed_again, sent - failed_again)
        details = {"sent": sent, "failed_again": failed_again, "unconfirmed": result.unconfirmed}
        self._record(case, decision, "confirmed", details)
        return result

    def _sent(self, decision: Decision, chunk: WorkChunk) -> int:
        cursor = self._ledger.redrive_cursor(work_list.redrive_id(decision.work, chunk.index))
        return cursor.sent if cursor else 0

    def _failed_again(self, case: Case, chunk: WorkChunk) -> int:
        records = chunk.read(self._vault).values()
        stream = chunks.stream_name(case.stream_arn)
        last = self._ledger.last_quarantined(stream, [record.lineage.origin for record in records])
        places = [(r.lineage.origin, Origin(r.stream.shard_id, r.stream.sequence_number)) for r in records]
        return sum(origin in last and last[origin] != place for origin, place in places)

    def _record(self, case: Case, decision: Decision, kind: str, details: dict[str, int]) -> None:
        if any(event.kind == kind for event in self._cases.events(case.id)):
            return
        at, status = format_time(self._clock.now()), case.status
        event = CaseEvent(decision.digest, at, kind, MACHINE, MACHINE, status, status, decision.digest)
        self._cases.record_event(case.id, replace(event, details=details))
