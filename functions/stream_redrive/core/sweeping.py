"""Sweeping: tell workflows of cases what they have missed, and start those that are not there."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream_redrive.core.approval import WAITING, due_at, seconds_left
from stream_redrive.core.cases import Case, CaseStatus
from stream_redrive.core.handing_over import HandingOver
from stream_redrive.core.notices import parse_time
from stream_redrive.core.ports import CaseStore, Clock, ExecutionExists, Executions, HandOver, TaskTokens
from stream_redrive.core.records import to_json

# Names the failure by which a waiting task is woken where its own timeout didn't.
REMINDER_DUE = "ReminderDue"
_LIVE = (*WAITING, CaseStatus.DECIDED)
_STOP_BEFORE_SECONDS = 15.0
_PAGE = 100
_MAX_RESTARTS = 20
# A case whose workflow fails again and again is tried again after 1, 2, 4, … and at last after 64 minutes.
_MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a run did. oldest_seconds: how long the oldest case has waited for a decision; 0 when none does."""

    told: int
    started: int
    woken: int
    oldest_seconds: int
    complete: bool


class SweepCases:
    """Looks after all cases that wait or are under way."""

    def __init__(
        self,
        cases: CaseStore,
        executions: Executions,
        tokens: TaskTokens,
        hand_over: HandingOver,
        clock: Clock,
        grace_seconds: float,
    ) -> None:
        """grace_seconds: how much longer than its time a task may wait before it is woken."""
        self._cases = cases
        self._executions = executions
        self._tokens = tokens
        self._hand_over = hand_over
        self._clock = clock
        self._grace = timedelta(seconds=grace_seconds)

    def __call__(self) -> Sweep:
        """Sweep, as far as the time allows."""
        running = self._executions.running()
        told = started = woken = 0
        fresh = set()
        for case_id, what in self._cases.hand_overs():
            if self._out_of_time():
                return Sweep(told, started, woken, oldest_seconds=0, complete=False)
            if what is HandOver.START:
                case = self._cases.case(case_id)
                started += case is not None and case.status in _LIVE and self._start(case)
                fresh.add(case_id)
                self._cases.delivered(case_id, what)
            else:
                told += self._tell(case_id)
        now, oldest = self._clock.now(), 0
        for case in self._live():
            if self._out_of_time():
                return Sweep(told, started, woken, oldest, complete=False)
            if case.status in WAITING:
                oldest = max(oldest, int((now - parse_time(case.opened_at)).total_seconds()))
            if case.id in fresh:
                continue
            if not any(name in running for name in _names(case.id)):
                started += self._start(case)
            elif case.status in WAITING and now > due_at(case) + self._grace:
                woken += self._wake(case)
        return Sweep(told, started, woken, oldest, complete=True)

    def _out_of_time(self) -> bool:
        return self._clock.remaining_seconds() < _STOP_BEFORE_SECONDS

    def _tell(self, case_id: str) -> bool:
        if self._hand_over(case_id):
            return True
        case = self._cases.case(case_id)
        if case is None or case.status is CaseStatus.CLOSED:
            self._cases.delivered(case_id, HandOver.DECIDED)
        return False

    def _live(self) -> Iterator[Case]:
        after: str | None = None
        while True:
            page, after = self._cases.cases(every=False, limit=_PAGE, after=after)
            yield from page
            if after is None:
                return

    def _wake(self, case: Case) -> bool:
        token = self._cases.token(case.id)
        return token is not None and self._tokens.fail(token, REMINDER_DUE)

    def _start(self, case: Case) -> bool:
        """Start the case's workflow under the first name that is free, unless one runs or its turn hasn't come."""
        now = self._clock.now()
        body = to_json({"case_id": case.id, "wait_seconds": seconds_left(case, now)})
        for failures, name in enumerate(_names(case.id)):
            if not _is_its_turn(failures, now):
                return False
            try:
                self._executions.start(name, body)
            except ExecutionExists:
                if self._executions.status(name) == "RUNNING":
                    return False
            else:
                return True
        return False


def _names(case_id: str) -> Iterator[str]:
    yield case_id
    for number in range(2, _MAX_RESTARTS):
        yield f"{case_id}-r{number}"


def _is_its_turn(failures: int, now: datetime) -> bool:
    """Whether a case whose workflow has failed so often is tried again in this minute."""
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return int(now.timestamp() // 60) % (1 << doublings) == 0
