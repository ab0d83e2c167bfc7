"""The crash sweep of the case machine: every AWS call of every step is cut once, and a decision is carried out once."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from stream_redrive.core.cases import Action, Case, CaseStatus
from tests.support import casework
from tests.support.casework import Casework
from tests.support.cloud import ENVIRONMENT, QUEUE, REGION, Cloud
from tests.workflow.test_crash_sweep import CUTS, Scissors, cloud_with

MACHINE = ENVIRONMENT["CASE_STATE_MACHINE_ARN"]
RECORDS = 5  # two chunks and, with four records a call, as many PutRecords calls
MOST = 25  # the sweep runs many times; its first runs make every call that it has
STEPS = ("TakeOverRecords", "NotifyApprovers", "RedriveChunk", "ConfirmCase", "SettleCase", "SweepCases")


def run_one_case(cloud: Cloud, work: Casework, step: str, number: int) -> None:
    """A case is decided before its workflow begins; the sweep starts that, as often as it fails.

    For TakeOverRecords the decision leaves a record out, which is decided about in the next case.
    """
    action = Action.REDRIVE if step in ("RedriveChunk", "ConfirmCase") else Action.DISCARD
    batch = cloud.produce([("one key", b'{"case": %d, "n": %d}' % (number, n // 2)) for n in range(RECORDS)])
    fingerprint = f"{number:016x}"
    case = work.open(batch, fingerprint=fingerprint)
    if step == "NotifyApprovers":
        sweep_until(cloud, lambda: "notified" in work.history(case), case.id)
    left_out = [batch[-1].sequence_number] if step == "TakeOverRecords" else []
    assert work.decide(case, action, left_out=left_out)
    sweep_until_closed(cloud, work, case.id)
    closed = [case]
    if left_out:
        name = f"{fingerprint}-2"
        sweep_until(cloud, lambda: "notified" in work.history(work.standing(name)), name)
        successor = work.standing(name)
        assert (successor.records, successor.left_over_of) == (1, None)
        assert work.decide(successor, action)
        sweep_until_closed(cloud, work, name)
        closed.append(successor)
    check(cloud, work, closed, batch, redriven=action is Action.REDRIVE)


def sweep(cloud: Cloud) -> None:
    try:
        cloud.call("SweepCases", {})
    except Exception:  # noqa: BLE001 - the schedule doesn't ask why either
        cloud.call("SweepCases", {})


def sweep_until_closed(cloud: Cloud, work: Casework, name: str) -> None:
    sweep_until(cloud, lambda: is_closed(work, name), name)


def is_closed(work: Casework, name: str) -> bool:
    return work.standing(name).status is CaseStatus.CLOSED


def sweep_until(cloud: Cloud, condition: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{name} doesn't get on"
        sweep(cloud)
        give_messages_back()
        time.sleep(0.02)  # moto runs the machine on a thread and tells nobody what it does


def give_messages_back() -> None:
    """The time of everybody who holds messages of the poison queue is up."""
    for message in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[QUEUE]._messages:
        message.change_visibility(0)


def check(cloud: Cloud, work: Casework, closed: list[Case], batch: list[Any], *, redriven: bool) -> None:
    produced = Counter(r.data for r in batch)
    copies = Counter(r.data for r in cloud.stream_records() if r.data in produced) - produced
    assert copies == (produced if redriven else Counter())
    assert [work.history(case).count("settled") for case in closed] == [1] * len(closed), "each is closed once"
    outcomes = [work.standing(case).outcome or {} for case in closed]
    assert sum(outcome["redriven" if redriven else "discarded"] for outcome in outcomes) == RECORDS
    assert cloud.poison_messages() == []
    assert work.cases.hand_overs() == []


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_survives_a_cut_at_each_of_its_calls(step: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_redrive.core.sweeping._is_its_turn", lambda failures, now: True)
    scissors = Scissors(step, how)
    with cloud_with(scissors) as cloud:
        work = casework.on_aws()
        run_one_case(cloud, work, step, 0)
        operations = scissors.calls[:MOST]
        assert operations
        for index, operation in enumerate(operations):
            scissors.cut_next(index)
            try:
                run_one_case(cloud, work, step, index + 1)
            except AssertionError as exc:
                raise AssertionError(f"cut {how} call {index} of {step}, {operation}: {exc}") from exc
            assert scissors.cuts or len(scissors.calls) <= index, f"call {index} of {step} was not cut"
