"""Settling: write down what became of a decided case's records, take their messages off the queue, close the case."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from stream_redrive.core import chunks, work_list
from stream_redrive.core.cases import MACHINE, Action, Case, CaseEvent, CaseStatus, Decision
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import CaseChange, CaseStore, Clock, HandOver, Ledger, PoisonQueue, Vault
from stream_redrive.core.records import Origin
from stream_redrive.core.redrive_case import decided
from stream_redrive.core.sending import STOP_BEFORE_SECONDS

STATES = {
    Action.REDRIVE: "REDRIVEN",
    Action.EDIT: "EDITED",
    Action.DISCARD: "DISCARDED",
    Action.KEEP: "KEPT",
}
# Longer than a message that another reader, or a search that was killed, has in its hands stays hidden.
_SEARCH_AGAIN_SECONDS = 330
_MAX_SEARCHES = 6


@dataclass(frozen=True, slots=True)
class Settlement:
    """What goes to the next state. more: the step must be called again, after wait_seconds; outcome: of the case."""

    more: bool
    wait_seconds: int
    outcome: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class SettleCase:
    """Brings a decision to its end."""

    def __init__(self, vault: Vault, cases: CaseStore, ledger: Ledger, queue: PoisonQueue, clock: Clock) -> None:
        self._vault = vault
        self._cases = cases
        self._ledger = ledger
        self._queue = queue
        self._clock = clock

    def __call__(self, case_id: str, confirmed: Mapping[str, int]) -> Settlement:
        """Settle, as far as the time allows. Nothing is deleted but messages: the records stay in the vault.

        Args:
            confirmed: of a redrive: sent, failed_again, unconfirmed; else empty.

        Raises:
            CaseNotDecided: nothing was decided about the case.
            VaultObjectMissing: the work list or a chunk has expired.
            WriteConflict: the case was changed meanwhile.
        """
        case, decision = decided(self._cases, case_id)
        if case.outcome is not None:
            return Settlement(more=False, wait_seconds=0, outcome=case.outcome)
        done = self._ledger.steps_done(case.id)
        records = self._mark(case, decision, done)
        if records is None:
            return Settlement(more=True, wait_seconds=0, outcome={})
        if decision.action is not Action.KEEP and not self._clear_queue(case, records, done):
            return Settlement(more=True, wait_seconds=_SEARCH_AGAIN_SECONDS, outcome={})
        outcome = {STATES[decision.action].lower(): len(records), **confirmed}
        self._close(case, decision, outcome)
        return Settlement(more=False, wait_seconds=0, outcome=outcome)

    def _mark(self, case: Case, decision: Decision, done: set[str]) -> set[tuple[str, str]] | None:
        """Mark the records chunk by chunk; their places when all are, None when the time ran out."""
        stream = chunks.stream_name(case.stream_arn)
        records: set[tuple[str, str]] = set()
        for chunk in work_list.load(self._vault, decision.work):
            if self._clock.remaining_seconds() < STOP_BEFORE_SECONDS:
                return None
            found = [record.stream for record in chunk.read(self._vault).values()]
            records |= {(record.shard_id, record.sequence_number) for record in found}
            step = f"settle:{chunk.index:05}"
            if step not in done:
                places = [Origin(record.shard_id, record.sequence_number) for record in found]
                self._ledger.mark_settled(stream, places, STATES[decision.action])
                self._ledger.mark_done(case.id, step)
        return records

    def _clear_queue(self, case: Case, records: set[tuple[str, str]], done: set[str]) -> bool:
        """Search the queue; whether that was enough. A message that escapes for half an hour ends by itself in time."""

        def decided_about(body: str, attributes: Mapping[str, str]) -> bool:
            # A record that an earlier case left over still names that case, which is of the same kind.
            if attributes.get("case_id", "").rpartition("-")[0] != case.fingerprint:
                return False
            record = json.loads(body)["record"]
            return (record["shard_id"], record["sequence_number"]) in records

        removal = self._queue.remove(decided_about, len(records))
        searches = sum(step.startswith("search:") for step in done) + 1
        self._ledger.mark_done(case.id, f"search:{searches}")
        return removal.complete or searches >= _MAX_SEARCHES

    def _close(self, case: Case, decision: Decision, outcome: Mapping[str, int]) -> None:
        at = format_time(self._clock.now())
        closed = replace(
            case, status=CaseStatus.CLOSED, revision=case.revision + 1, closed_at=at, outcome=dict(outcome)
        )
        event = CaseEvent(
            decision.digest,
            at,
            "settled",
            MACHINE,
            MACHINE,
            case.status,
            closed.status,
            decision.digest,
            details=outcome,
        )
        if not self._cases.commit(CaseChange(closed, events=[event])):
            raise WriteConflict(f"case {case.id} was changed while it was settled")
        # It is certain that the workflow has heard.
        self._cases.delivered(case.id, HandOver.DECIDED)
