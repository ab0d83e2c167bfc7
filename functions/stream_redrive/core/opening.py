"""Opening: a workflow for each case that an incident's records have opened."""

from collections.abc import Sequence
from contextlib import suppress

from stream_redrive.core.approval import seconds_left
from stream_redrive.core.incident import Incident
from stream_redrive.core.ports import CaseStore, Clock, ExecutionExists, Executions, HandOver
from stream_redrive.core.records import to_json


class OpenCases:
    """Starts the case machine for the cases of one incident that it has not been started for."""

    def __init__(self, cases: CaseStore, executions: Executions, clock: Clock) -> None:
        self._cases = cases
        self._executions = executions
        self._clock = clock

    def __call__(self, incident: Incident) -> Sequence[str]:
        """Start what is waiting to be started; the cases that the incident's records are in."""
        ids = sorted(set(self._cases.joined(incident.id).values()))
        if ids:
            waiting = {case_id for case_id, what in self._cases.hand_overs() if what is HandOver.START}
            for case_id in ids:
                if case_id in waiting:
                    self._start(case_id)
        return ids

    def _start(self, case_id: str) -> None:
        case = self._cases.case(case_id)
        if case is not None:
            body = {"case_id": case_id, "wait_seconds": seconds_left(case, self._clock.now())}
            # A run before this one may have started it, and been cut before it could say so.
            with suppress(ExecutionExists):
                self._executions.start(case_id, to_json(body))
        self._cases.delivered(case_id, HandOver.START)
