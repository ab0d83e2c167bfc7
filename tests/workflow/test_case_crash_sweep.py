"""The crash sweep of the case machine: every AWS call of every step is cut once, and a decision is carried out once."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from stream_redrive.core.cases import Action, Case, CaseStatus
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import CaseChange
from stream_redrive.handlers import cases_api
from tests.support import casework
from tests.support.casework import ALICE, BOB, FINGERPRINT, Casework
from tests.support.cloud import QUEUE, REGION, Cloud, Context
from tests.workflow.test_crash_sweep import CUTS, Scissors, cloud_with

RECORDS = 5  # two chunks and, with four records a call, as many PutRecords calls
STEPS = ("TakeOverRecords", "NotifyApprovers", "RedriveChunk", "ConfirmCase", "SettleCase", "SweepCases")
SUCCESSOR = f"{FINGERPRINT}-2"


def run_one_case(cloud: Cloud, work: Casework, step: str) -> None:
    """A case is decided before its workflow begins; the sweep starts that, as often as it fails.

    For steps that have to do with it, a record is left out, and decided about while the next case's workflow waits.
    """
    action = Action.REDRIVE if step in ("RedriveChunk", "ConfirmCase") else Action.DISCARD
    batch = produce(cloud)
    case = work.open(batch)
    waits = step in ("TakeOverRecords", "NotifyApprovers", "SweepCases")
    left_out = [batch[-1].sequence_number] if waits else []
    assert work.decide(case, action, left_out=left_out)
    sweep_until_closed(cloud, work, case.id)
    closed = [case]
    if left_out:
        sweep_until(cloud, lambda: "notified" in work.history(work.standing(SUCCESSOR)))
        successor = work.standing(SUCCESSOR)
        assert (successor.records, successor.left_over_of) == (1, None)
        assert work.decide(successor, action)
        sweep_until_closed(cloud, work, SUCCESSOR)
        closed.append(successor)
    check(cloud, work, closed, batch, redriven=action is Action.REDRIVE)


def produce(cloud: Cloud) -> list[Any]:
    """Records of one key, some of them equal."""
    return cloud.produce([("one key", b'{"n": %d}' % (n // 2)) for n in range(RECORDS)])


def sweep(cloud: Cloud) -> None:
    try:
        cloud.call("SweepCases", {})
    except Exception:  # noqa: BLE001 - the schedule doesn't ask why either
        cloud.call("SweepCases", {})


def sweep_until_closed(cloud: Cloud, work: Casework, name: str) -> None:
    sweep_until(cloud, lambda: work.standing(name).status is CaseStatus.CLOSED)


def sweep_until(cloud: Cloud, condition: Callable[[], bool]) -> None:
    """Sweep as the schedule does, each time after everything has come to rest."""
    for _ in range(5):
        sweep(cloud)
        cloud.still()
        if condition():
            return
    raise AssertionError("the case doesn't get on")


def give_messages_back() -> None:
    """The time of everybody who holds messages of the poison queue is up."""
    for message in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[QUEUE]._messages:
        message.change_visibility(0)


@contextmanager
def cases_with(scissors: Scissors) -> Iterator[tuple[Cloud, Casework]]:
    """The cloud of a sweep; whoever holds messages gives them back while the machine waits for that."""
    with cloud_with(scissors) as cloud:
        settle = cloud.handlers["SettleCase"]

        def after_the_wait(event: Any, context: Any) -> Any:
            if cloud.slept and cloud.slept[-1] > 300:
                give_messages_back()
            return settle(event, context)

        cloud.handlers["SettleCase"] = after_the_wait
        yield cloud, casework.on_aws()


def check(cloud: Cloud, work: Casework, closed: list[Case], batch: list[Any], *, redriven: bool) -> None:
    assert copies_of(cloud, batch) == (Counter(r.data for r in batch) if redriven else Counter())
    assert [work.history(case).count("settled") for case in closed] == [1] * len(closed), "each is closed once"
    outcomes = [work.standing(case).outcome or {} for case in closed]
    assert sum(outcome["redriven" if redriven else "discarded"] for outcome in outcomes) == RECORDS
    assert cloud.poison_messages() == []
    assert work.cases.hand_overs() == []


def copies_of(cloud: Cloud, batch: list[Any]) -> Counter[bytes]:
    """What the stream holds behind a batch."""
    last = int(batch[-1].sequence_number)
    behind = [r for r in cloud.stream_records() if r.shard_id == batch[-1].shard_id and int(r.sequence_number) > last]
    return Counter(record.data for record in behind)


def cut_everywhere(step: str, how: str, run: Callable[[Cloud, Casework], None]) -> None:
    """Run once to see which calls the step makes, then once for each cut."""
    scissors = Scissors(step, how)
    with cases_with(scissors) as (cloud, work):
        run(cloud, work)
        for index, operation in scissors.worthwhile().items():
            cloud.forget()
            scissors.cut_next(index)
            try:
                run(cloud, work)
            except AssertionError as exc:
                raise AssertionError(f"cut {how} call {index} of {step}, {operation}: {exc}") from exc
            assert scissors.cuts or len(scissors.calls) <= index, f"call {index} of {step} was not cut"


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step_survives_a_cut_at_each_of_its_calls(step: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_redrive.core.sweeping._is_its_turn", lambda failures, now: True)
    cut_everywhere(step, how, lambda cloud, work: run_one_case(cloud, work, step))


@pytest.mark.parametrize("how", CUTS)
def test_a_review_survives_a_cut_at_each_of_its_calls(how: str) -> None:
    cut_everywhere("ReviewCase", how, run_a_silent_case)


def run_a_silent_case(cloud: Cloud, work: Casework) -> None:
    """Nobody decides: there is a reminder, and then the case expires."""
    case = work.open(produce(cloud))
    sweep_until(cloud, lambda: "notified" in work.history(case))
    past = format_time(work.clock.now() - timedelta(hours=1))
    move(work, case, remind_at=past)
    sweep_until(cloud, lambda: work.history(case).count("notified") == 2)
    assert work.standing(case).remind_at > format_time(work.clock.now())
    move(work, case, expires_at=past)
    sweep_until(cloud, lambda: work.standing(case).status is CaseStatus.EXPIRED)
    assert work.history(case) == ["notified", "notified", "expired"]
    assert len(cloud.poison_messages()) == RECORDS


def move(work: Casework, case: Case, **fields: Any) -> None:
    standing = work.standing(case)
    assert work.cases.commit(CaseChange(replace(standing, revision=standing.revision + 1, **fields)))


@pytest.mark.parametrize("how", CUTS)
def test_a_decision_survives_a_cut_at_each_of_its_calls(how: str) -> None:
    cut_everywhere("CasesApi", how, run_a_decision)


def run_a_decision(cloud: Cloud, work: Casework) -> None:
    """Two people decide to edit all records but one; each repeats what gets no answer."""
    batch = produce(cloud)
    case = work.open(batch)
    sweep_until(cloud, lambda: "notified" in work.history(case))
    change = {
        "action": "edit",
        "patch": [{"op": "replace", "path": "/n", "value": 9}],
        "except": [f"{batch[-1].shard_id}:{batch[-1].sequence_number}"],
    }
    digest = digest_of(ALICE.arn, case.id, change)
    for person in (ALICE, BOB):
        decide(cloud, person.arn, case.id, {**change, "digest": digest, "reason": "seen"})
    decision = work.standing(case).decision
    assert decision is not None
    assert (decision.digest, decision.by.arn) == (digest, ALICE.arn)
    assert decision.approved_by is not None
    assert decision.approved_by.arn == BOB.arn
    sweep_until_closed(cloud, work, case.id)
    kinds = Counter(work.history(case)) + Counter(work.history(work.standing(SUCCESSOR)))
    assert (kinds["proposed"], kinds["decided"], kinds["opened"], kinds["settled"]) == (1, 1, 1, 1)
    assert copies_of(cloud, batch) == Counter({b'{"n":9}': RECORDS - 1})
    assert [m["record"]["sequence_number"] for m in cloud.poison_messages()] == [batch[-1].sequence_number]
    assert work.cases.hand_overs() == []


def digest_of(arn: str, name: str, change: dict[str, Any]) -> str:
    """The digest of a plan; its calls are not those that are cut."""
    answer = cases_api.handler(request(arn, name, "plans", change), Context("CasesApi"))  # type: ignore[arg-type]
    return str(json.loads(answer["body"])["digest"])


def decide(cloud: Cloud, arn: str, name: str, word: dict[str, Any]) -> None:
    """Ask until there is an answer; that it was decided already is one."""
    for _ in range(5):
        try:
            answer = cloud.call("CasesApi", request(arn, name, "decisions", word))
        except Exception:  # noqa: BLE001 - the caller sees a status, not why
            continue
        if answer["statusCode"] < 500:
            return
    raise AssertionError("the API doesn't answer")


def request(arn: str, name: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    path = f"/cases/{name}/{what}"
    context = {"http": {"method": "POST", "path": path}, "stage": "$default", "authorizer": {"iam": {"userArn": arn}}}
    return {"version": "2.0", "rawPath": path, "headers": {}, "requestContext": context, "body": json.dumps(body)}
