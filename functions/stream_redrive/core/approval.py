"""Approval: tell those who decide, and look again when they have been silent."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from stream_redrive.core import announcement
from stream_redrive.core.cases import MACHINE, Case, CaseEvent, CaseStatus
from stream_redrive.core.errors import CaseUnknown, WriteConflict
from stream_redrive.core.handing_over import HandingOver, output_of
from stream_redrive.core.notices import format_time, parse_time
from stream_redrive.core.policy import PolicyBook
from stream_redrive.core.ports import ApproverTopic, CaseChange, CaseStore, Clock, Vault

WAITING = (CaseStatus.OPEN, CaseStatus.PROPOSED)
# A task may time out a little before the moment that it was given the seconds until.
_EARLY = timedelta(seconds=60)
# Records that join move the case's revision on; so often a change is tried on the case as it then is.
_MAX_ATTEMPTS = 20


class NotifyApprovers:
    """Tells those who decide about a case, while a task waits for the decision."""

    def __init__(
        self,
        cases: CaseStore,
        vault: Vault,
        topic: ApproverTopic,
        hand_over: HandingOver,
        policies: Callable[[], PolicyBook],
        clock: Clock,
    ) -> None:
        self._cases = cases
        self._vault = vault
        self._topic = topic
        self._hand_over = hand_over
        self._policies = policies
        self._clock = clock

    def __call__(self, case_id: str, token: str) -> bool:
        """Keep the task's token, then send the message; a case that is decided already gets its task's answer instead.

        Returns:
            whether a message was sent.

        Raises:
            CaseUnknown: there is no such case.
        """
        # The token first: a decision that comes from here on finds it, one that came before is found below.
        self._cases.save_token(case_id, token)
        case = _case(self._cases, case_id)
        if case.decision is not None:
            self._hand_over(case_id)
            return False
        policy = self._policies().policy_for(case.consumer)
        sample = announcement.sample(self._vault, self._cases.pieces(case_id), policy.decoder)
        reminder = any("reminder" in event.details for event in self._cases.events(case_id))
        self._topic.publish(*announcement.of(case, sample, reminder=reminder))
        at = format_time(self._clock.now())
        event = CaseEvent(f"notify-{at}", at, "notified", MACHINE, MACHINE, case.status, case.status)
        self._cases.record_event(case_id, replace(event, details={"reminder": reminder, "records": case.records}))
        return True


@dataclass(frozen=True, slots=True)
class Review:
    """A case's state as its workflow goes on with it. wait_seconds: until the next reminder, or the end."""

    case_id: str
    wait_seconds: int
    decision: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class ReviewCase:
    """Looks at a case after its approvers were silent: expired, decided meanwhile, or to be reminded of."""

    def __init__(self, cases: CaseStore, bucket: str, policies: Callable[[], PolicyBook], clock: Clock) -> None:
        """bucket: the vault's."""
        self._cases = cases
        self._bucket = bucket
        self._policies = policies
        self._clock = clock

    def __call__(self, case_id: str) -> Review:
        """Look; a case whose time is up expires, one that is due for a reminder gets the time of the next one.

        Raises:
            CaseUnknown: there is no such case.
            WriteConflict: the case was changed under our hands again and again.
        """
        for _ in range(_MAX_ATTEMPTS):
            case, now = _case(self._cases, case_id), self._clock.now()
            if case.decision is not None:
                return Review(case_id, 1, output_of(case.decision, self._bucket))
            if case.status is CaseStatus.EXPIRED:
                return Review(case_id, 1, {"action": "expired"})
            change = self._change(case, now)
            if change is None or self._cases.commit(change):
                standing = case if change is None else change.case
                if standing.status is CaseStatus.EXPIRED:
                    continue
                return Review(case_id, seconds_left(standing, now), {"action": "remind"})
        raise WriteConflict(f"case {case_id} is changed faster than it can be reviewed")

    def _change(self, case: Case, now: datetime) -> CaseChange | None:
        at = format_time(now)
        moved = replace(case, revision=case.revision + 1)
        if now + _EARLY >= parse_time(case.expires_at):
            expired = replace(moved, status=CaseStatus.EXPIRED, closed_at=at)
            event = CaseEvent(f"expire-{at}", at, "expired", MACHINE, MACHINE, case.status, expired.status)
            return CaseChange(expired, events=[replace(event, details={"records": case.records})])
        if now + _EARLY >= parse_time(case.remind_at):
            hours = self._policies().policy_for(case.consumer).approval.reminder_hours
            return CaseChange(replace(moved, remind_at=format_time(now + timedelta(hours=hours))))
        return None


def seconds_left(case: Case, now: datetime) -> int:
    """How long a case's workflow waits: until the next reminder or the end, at least a second."""
    return max(1, int((due_at(case) - now).total_seconds()))


def due_at(case: Case) -> datetime:
    """When a case that nobody decides about is looked at again."""
    return min(parse_time(case.remind_at), parse_time(case.expires_at))


def _case(cases: CaseStore, case_id: str) -> Case:
    case = cases.case(case_id)
    if case is None:
        raise CaseUnknown(f"there is no case {case_id}")
    return case
