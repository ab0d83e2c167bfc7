"""Sweeping: tell workflows and approvers of cases what they have missed, and start workflows that are not there."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream_redrive.core.approval import WAITING, due_at, seconds_left
from stream_redrive.core.cases import Case, CaseStatus
from stream_redrive.core.errors import CasesNotSwept
from stream_redrive.core.handing_over import HandOvers
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
    """What a run did.

    failed: what could not be done now; the next run tries again. oldest_seconds: how long the oldest case has waited
    for a decision; 0 when none does.
    """

    told: int
    started: int
    woken: int
    failed: int
    oldest_seconds: int
    complete: bool

    def insist(self) -> None:
        """Raise CasesNotSwept where something failed: whoever watches the function's errors shall know."""
        if self.failed:
            raise CasesNotSwept(f"{self.failed} cases could not be looked after; the log names them")


class SweepCases:
    """Looks after all cases that wait or are under way. What one of them meets keeps no other one waiting."""

    def __init__(
        self,
        cases: CaseStore,
        executions: Executions,
        tokens: TaskTokens,
        hand_overs: HandOvers,
        clock: Clock,
        grace_seconds: float,
        report: Callable[[str, Exception], None],
    ) -> None:
        """grace_seconds: how much longer than its time a task may wait before it is woken. report: of a failure."""
        self._cases = cases
        self._executions = executions
        self._tokens = tokens
        self._hand_overs = hand_overs
        self._clock = clock
        self._grace = timedelta(seconds=grace_seconds)
        self._report = report

    def __call__(self) -> Sweep:
        """Sweep, as far as the time allows."""
        did: Counter[str] = Counter()
        begun = set()
        for case_id, what in self._cases.hand_overs():
            if self._out_of_time():
                return _sweep(did, oldest=0, complete=False)
            if what is HandOver.START:
                begun.add(case_id)
            with self._trying(case_id, did):
                self._deliver(case_id, what, did)
        running, now, oldest = self._executions.running(), self._clock.now(), 0
        for case in self._live():
            if self._out_of_time():
                return _sweep(did, oldest, complete=False)
            if case.status in WAITING:
                oldest = max(oldest, int((now - parse_time(case.opened_at)).total_seconds()))
            if case.id not in begun:
                with self._trying(case.id, did):
                    self._look_after(case, running, did)
        return _sweep(did, oldest, complete=True)

    @contextmanager
    def _trying(self, case_id: str, did: Counter[str]) -> Iterator[None]:
        try:
            yield
        except Exception as exc:  # noqa: BLE001 - a permission, a token, an object: the other cases can't help it
            self._report(case_id, exc)
            did["failed"] += 1

    def _deliver(self, case_id: str, what: HandOver, did: Counter[str]) -> None:
        if what is not HandOver.START:
            did["told"] += self._hand_overs[what](case_id)
            return
        case = self._cases.case(case_id)
        did["started"] += case is not None and case.status in _LIVE and self._start(case)
        self._cases.delivered(case_id, what)

    def _look_after(self, case: Case, running: set[str], did: Counter[str]) -> None:
        if not any(name in running for name in _names(case.id)):
            did["started"] += self._start(case)
        elif case.status in WAITING and self._clock.now() > due_at(case) + self._grace:
            did["woken"] += self._wake(case)

    def _out_of_time(self) -> bool:
        return self._clock.remaining_seconds() < _STOP_BEFORE_SECONDS

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


def _sweep(did: Counter[str], oldest: int, *, complete: bool) -> Sweep:
    return Sweep(did["told"], did["started"], did["woken"], did["failed"], oldest, complete)


def _names(case_id: str) -> Iterator[str]:
    yield case_id
    for number in range(2, _MAX_RESTARTS):
        yield f"{case_id}-r{number}"


def _is_its_turn(failures: int, now: datetime) -> bool:
    """Whether a case whose workflow has failed so often is tried again in this minute."""
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return int(now.timestamp() // 60) % (1 << doublings) == 0
