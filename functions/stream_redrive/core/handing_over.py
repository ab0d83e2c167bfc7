"""Handing over: tell a case's workflow what was decided, and its approvers what is proposed, until they have heard."""

from collections.abc import Callable, Mapping
from typing import Any

from stream_redrive.core import announcement
from stream_redrive.core.cases import MACHINE, CaseEvent, CaseStatus, Decision
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import ApproverTopic, CaseStore, Clock, HandOver, TaskTokens
from stream_redrive.core.records import to_json

# How each sort is told about the case of an id; the answer is whether it was.
HandOvers = Mapping[HandOver, Callable[[str], bool]]


def output_of(decision: Decision, bucket: str) -> dict[str, Any]:
    """The decision as the workflow goes on with it.

    Args:
        bucket: the vault's.
    """
    return {
        "action": decision.action.value,
        "work": {"bucket": bucket, "key": decision.work},
        "target": decision.target,
        "pace": decision.pace,
        "records": decision.records,
    }


class HandingOver:
    """Answers the tasks that wait for a decision."""

    def __init__(self, cases: CaseStore, tokens: TaskTokens, bucket: str) -> None:
        """bucket: the vault's."""
        self._cases = cases
        self._tokens = tokens
        self._bucket = bucket

    def __call__(self, case_id: str) -> bool:
        """Tell the workflow of a case that is decided; False when nobody waits for it at this moment.

        A workflow whose token is dead is on its way to look for itself, or has ended and will be started again.
        """
        token, case = self._cases.token(case_id), self._cases.case(case_id)
        heard = False
        if token is not None and case is not None and case.decision is not None:
            heard = self._tokens.succeed(token, to_json(output_of(case.decision, self._bucket)))
        if heard or case is None or case.status is CaseStatus.CLOSED:
            self._cases.delivered(case_id, HandOver.DECIDED)
        return heard


class AnnouncingProposal:
    """Tells the approvers that one of them awaits a second person."""

    def __init__(self, cases: CaseStore, topic: ApproverTopic, clock: Clock) -> None:
        self._cases = cases
        self._topic = topic
        self._clock = clock

    def __call__(self, case_id: str) -> bool:
        """Tell them, at least once a proposal; False when nothing is proposed any more."""
        case = self._cases.case(case_id)
        if case is None or case.status is not CaseStatus.PROPOSED or case.proposal is None:
            self._cases.delivered(case_id, HandOver.PROPOSED)
            return False
        self._topic.publish(*announcement.of_proposal(case, case.proposal))
        at = format_time(self._clock.now())
        event = CaseEvent(
            f"notify-{at}", at, "notified", MACHINE, MACHINE, case.status, case.status, case.proposal.digest
        )
        self._cases.record_event(case_id, event)
        self._cases.delivered(case_id, HandOver.PROPOSED, case.revision)
        return True
