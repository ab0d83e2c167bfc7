"""The crash sweep of the case machine: every AWS call of every step is cut once, and a decision is carried out once."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from stream_redrive.core.cases import Action, CaseStatus
from tests.support import casework
from tests.support.casework import Casework
from tests.support.cloud import ENVIRONMENT, QUEUE, REGION, Cloud
from tests.workflow.test_crash_sweep import CUTS, Scissors, cloud_with

MACHINE = ENVIRONMENT["CASE_STATE_MACHINE_ARN"]
RECORDS = 5  # two chunks and, with four records a call, as many PutRecords calls
MOST = 25  # the sweep runs many times; its first runs make every call that it has
STEPS = ("TakeOverRecords", "NotifyApprovers", "RedriveChunk", "ConfirmCase", "SettleCase", "SweepCases")


def run_one_case(cloud: Cloud, work: Casework, action: Action, number: int) -> None:
    """A case is decided before its workflow begins; the sweep starts that, as often as it fails."""
    batch = cloud.produce([(f"key-{number}", b'{"case": %d, "n": %d}' % (number, n // 2)) for n in range(RECORDS)])
    left_out = batch[-1].sequence_number
    fingerprint = f"{number:016x}"
    case = work.open(batch, fingerprint=fingerprint)
    assert work.decide(case, action, left_out=[left_out])
    for name in (f"{fingerprint}-1", f"{fingerprint}-2"):
        sweep_until_started(cloud, work, name)
    successor = work.standing(f"{fingerprint}-2")
    assert (successor.records, successor.left_over_of) == (1, None)
    assert work.decide(successor, action)
    sweep_until_closed(cloud, work, successor.id)
    check(cloud, work, fingerprint, batch, redriven=action is Action.REDRIVE)


def sweep(cloud: Cloud) -> None:
    try:
        cloud.call("SweepCases", {})
    except Exception:  # noqa: BLE001 - the schedule doesn't ask why either
        cloud.call("SweepCases", {})


def sweep_until_started(cloud: Cloud, work: Casework, name: str) -> None:
    """Sweep until the first case is closed, or the second one's approvers have been told."""
    sweep_until(cloud, lambda: is_closed(work, name) or "notified" in work.history(work.standing(name)), name)


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


def check(cloud: Cloud, work: Casework, fingerprint: str, batch: list[Any], *, redriven: bool) -> None:
    held = Counter(r.data for r in cloud.stream_records() if r.partition_key == batch[0].partition_key)
    copies = held - Counter(r.data for r in batch)
    assert copies == (Counter(r.data for r in batch) if redriven else Counter())
    kinds = [work.history(work.standing(f"{fingerprint}-{n}")).count("settled") for n in (1, 2)]
    assert kinds == [1, 1], "each is closed once"
    outcomes = [work.standing(f"{fingerprint}-{n}").outcome or {} for n in (1, 2)]
    assert [o["redriven" if redriven else "discarded"] for o in outcomes] == [RECORDS - 1, 1]
    assert cloud.poison_messages() == []
    assert work.cases.hand_overs() == []


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_survives_a_cut_at_each_of_its_calls(step: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_redrive.core.sweeping._is_its_turn", lambda failures, now: True)
    action = Action.REDRIVE if step in ("RedriveChunk", "ConfirmCase") else Action.DISCARD
    scissors = Scissors(step, how)
    with cloud_with(scissors) as cloud:
        work = casework.on_aws()
        run_one_case(cloud, work, action, 0)
        operations = scissors.calls[:MOST]
        assert operations
        for index, operation in enumerate(operations):
            scissors.cut_next(index)
            try:
                run_one_case(cloud, work, action, index + 1)
            except AssertionError as exc:
                raise AssertionError(f"cut {how} call {index} of {step}, {operation}: {exc}") from exc
            assert scissors.cuts or len(scissors.calls) <= index, f"call {index} of {step} was not cut"
