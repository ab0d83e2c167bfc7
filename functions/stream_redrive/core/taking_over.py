"""Taking over: the records that a decision left out become those of the case after it."""

from collections.abc import Sequence
from dataclasses import replace

from stream_redrive.core import work_list
from stream_redrive.core.cases import MACHINE, Case, CaseEvent, Piece
from stream_redrive.core.errors import CaseUnknown, WriteConflict
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import MAX_PIECES, CaseChange, CaseStore, Clock, Vault
from stream_redrive.core.redrive_case import decided

# Records that join move the case's revision on; so often a change is tried on the case as it then is.
_MAX_ATTEMPTS = 20


class TakeOverRecords:
    """Gives a case the records that were left over of the one before it."""

    def __init__(self, cases: CaseStore, vault: Vault, clock: Clock) -> None:
        self._cases = cases
        self._vault = vault
        self._clock = clock

    def __call__(self, case_id: str) -> int:
        """Take over, in as many transactions as it needs; what an earlier run has taken over is not taken again.

        Returns:
            how many records this run has taken over.

        Raises:
            CaseUnknown: there is no such case.
            CaseNotDecided: nothing was decided about the case before it.
            VaultObjectMissing: the decision's list has expired.
            WriteConflict: the case was changed under our hands again and again.
        """
        case = self._case(case_id)
        if case.left_over_of is None:
            return 0
        held = {(piece.incident_id, piece.index) for piece in self._cases.pieces(case_id)}
        _, decision = decided(self._cases, case.left_over_of)
        left = [
            piece
            for piece in work_list.left_over(self._vault, decision.work)
            if (piece.incident_id, piece.index) not in held
        ]
        batches = [left[start : start + MAX_PIECES] for start in range(0, len(left), MAX_PIECES)] or [[]]
        for number, batch in enumerate(batches, 1):
            self._take(case_id, batch, last=number == len(batches))
        return sum(len(piece.lines) for piece in left)

    def _take(self, case_id: str, pieces: Sequence[Piece], *, last: bool) -> None:
        records = sum(len(piece.lines) for piece in pieces)
        for _ in range(_MAX_ATTEMPTS):
            case = self._case(case_id)
            moved = replace(
                case,
                revision=case.revision + 1,
                records=case.records + records,
                left_over_of=None if last else case.left_over_of,
            )
            at = format_time(self._clock.now())
            event = CaseEvent(
                f"take-over-{at}-{moved.revision}", at, "joined", MACHINE, MACHINE, case.status, case.status
            )
            details = {"records": records, "left_over_of": case.left_over_of}
            change = CaseChange(moved, taken_over=pieces, events=[replace(event, details=details)])
            if self._cases.commit(change):
                return
        raise WriteConflict(f"case {case_id} is changed faster than it can take over records")

    def _case(self, case_id: str) -> Case:
        case = self._cases.case(case_id)
        if case is None:
            raise CaseUnknown(f"there is no case {case_id}")
        return case
