"""Handing over: tell a case's workflow what was decided, however often, until it has heard."""

from typing import Any

from stream_redrive.core.cases import Decision
from stream_redrive.core.ports import CaseStore, HandOver, TaskTokens
from stream_redrive.core.records import to_json


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
        if token is None or case is None or case.decision is None:
            return False
        heard = self._tokens.succeed(token, to_json(output_of(case.decision, self._bucket)))
        if heard:
            self._cases.delivered(case_id, HandOver.DECIDED)
        return heard
