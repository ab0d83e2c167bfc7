"""Every path through the case machine: the real ASL runs the real handlers."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from stream_redrive.core.cases import Action, Case, CaseStatus
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import CaseChange, HandOver, QuarantinedRecord
from tests.support import casework
from tests.support.casework import Casework
from tests.support.cloud import CASE_STEPS, ENVIRONMENT, QUEUE, REGION, TABLE, Cloud, Context, wait_for

MACHINE = ENVIRONMENT["CASE_STATE_MACHINE_ARN"]
GOOD = [("key", b'{"n": %d}' % n) for n in range(8)]


@pytest.fixture
def work(cloud: Cloud) -> Casework:
    return casework.on_aws()


def start(cloud: Cloud, case: Case, name: str | None = None, seconds: int = 3_600) -> str:
    arn: str = cloud.client("stepfunctions").start_execution(
        stateMachineArn=MACHINE,
        name=name or case.id,
        input=json.dumps({"case_id": case.id, "wait_seconds": seconds}),
    )["executionArn"]
    return arn


def messages() -> list[str]:
    """What the approvers were told."""
    topic = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[ENVIRONMENT["APPROVAL_TOPIC_ARN"]]
    return [entry[1] for entry in topic.sent_notifications]


def start_and_wait_for_the_message(cloud: Cloud, work: Casework, case: Case) -> str:
    arn = start(cloud, case)
    wait_for(lambda: "notified" in work.history(case))
    return arn


def sweep(cloud: Cloud) -> dict[str, Any]:
    return cloud.call("SweepCases", {})


def closed(cloud: Cloud, arn: str) -> dict[str, Any]:
    execution = cloud.finished(arn)
    assert execution["status"] == "SUCCEEDED", execution
    return execution


def states_in_quarantine(cloud: Cloud, records: list[Any]) -> list[str | None]:
    dynamodb = cloud.client("dynamodb")
    found = []
    for record in records:
        key = {
            "pk": {"S": f"RECORD#orders-stream#{record.shard_id}#{record.sequence_number}"},
            "sk": {"S": "QUARANTINE"},
        }
        item = dynamodb.get_item(TableName=TABLE, Key=key)["Item"]
        found.append(item.get("state", {}).get("S"))
    return found


@pytest.mark.parametrize("action", [Action.REDRIVE, Action.EDIT, Action.DISCARD, Action.KEEP])
def test_a_decision_is_carried_out_and_the_case_closed(cloud: Cloud, work: Casework, action: Action) -> None:
    batch = cloud.produce(GOOD)
    case = work.open(batch)
    others = work.open(cloud.produce([("other", b"{}")]), fingerprint="fedcba9876543210")
    arn = start_and_wait_for_the_message(cloud, work, case)
    edit = (lambda data: data.replace(b"n", b"m")) if action is Action.EDIT else None
    assert work.decide(case, action, edit=edit)
    wait_for(lambda: sweep(cloud)["told"] == 1)
    closed(cloud, arn)
    standing = work.standing(case)
    assert standing.status is CaseStatus.CLOSED
    sent = {"sent": 8, "failed_again": 0, "unconfirmed": 8}
    state = {"redrive": "REDRIVEN", "edit": "EDITED", "discard": "DISCARDED", "keep": "KEPT"}[action]
    redriven = action in (Action.REDRIVE, Action.EDIT)
    assert standing.outcome == {state.lower(): 8, **(sent if redriven else {})}
    assert states_in_quarantine(cloud, batch) == [state] * 8
    expected = [data.replace(b"n", b"m") if action is Action.EDIT else data for _, data in GOOD] if redriven else []
    assert [r.data for r in cloud.stream_records() if r.partition_key == "key"][8:] == expected
    left = [message["case_id"] for message in cloud.poison_messages()]
    assert sorted(left) == sorted([others.id] + ([case.id] * 8 if action is Action.KEEP else []))
    confirmed = ["redriven", "confirmed"] if redriven else []
    assert work.history(case) == ["notified", "decided", *confirmed, "settled"]
    assert work.cases.hand_overs() == []
    assert len(cloud.lines("quarantine/")) == 9


def test_the_message_says_what_failed_and_what_to_do(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce([("key", b'{"secret": "hunter2"}')]))
    arn = start_and_wait_for_the_message(cloud, work, case)
    [text] = messages()
    for part in (case.id, case.consumer, case.stream_arn, case.rule, case.error_type, case.message, case.expires_at):
        assert part in text
    assert f"redrive cases show {case.id}" in text
    assert f"redrive cases plan {case.id}" in text
    assert "<string, 7 characters>" in text
    assert "hunter2" not in text
    work.decide(case, Action.KEEP)
    sweep(cloud)
    closed(cloud, arn)


def test_a_decision_before_the_task_waits_is_not_lost(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce(GOOD))
    assert work.decide(case, Action.DISCARD)
    assert sweep(cloud) == {"told": 0, "started": 1, "woken": 0, "failed": 0, "oldest_seconds": 0, "complete": True}
    closed(cloud, MACHINE.replace(":stateMachine:", ":execution:") + f":{case.id}")
    assert work.standing(case).status is CaseStatus.CLOSED
    assert messages() == []


def test_silence_brings_a_reminder_and_then_the_end(cloud: Cloud, work: Casework) -> None:
    now = work.clock.now()
    soon = format_time(now - timedelta(seconds=1))
    case = work.open(cloud.produce(GOOD), remind_at=soon)
    arn = start(cloud, case, seconds=1)
    wait_for(lambda: work.history(case).count("notified") == 2)
    standing = work.standing(case)
    assert standing.remind_at > format_time(now + timedelta(hours=23))
    assert "Reminder: " not in messages()[0]
    assert "Reminder: " in messages()[1]
    expire(work, case)
    wait_for(lambda: sweep(cloud)["woken"] == 1)
    closed(cloud, arn)
    assert cloud.states(arn)[-1] == "CaseExpired"
    assert work.standing(case).status is CaseStatus.EXPIRED
    assert work.history(case)[-1] == "expired"
    assert len(cloud.poison_messages()) == 8
    assert states_in_quarantine(cloud, cloud.stream_records()[:1]) == ["QUARANTINED"]


def expire(work: Casework, case: Case) -> None:
    """Let a case's time be up, for longer than the sweep's grace."""
    move(work, case, expires_at=format_time(work.clock.now() - timedelta(minutes=5)))


def move(work: Casework, case: Case, **fields: Any) -> None:
    standing = work.standing(case)
    assert work.cases.commit(CaseChange(replace(standing, revision=standing.revision + 1, **fields)))


def test_a_task_whose_timeout_does_not_come_is_woken_by_the_sweep(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce(GOOD), remind_at=format_time(work.clock.now() - timedelta(seconds=60)))
    arn = start_and_wait_for_the_message(cloud, work, case)
    assert sweep(cloud)["woken"] == 0  # the grace isn't over
    move(work, case, remind_at=format_time(work.clock.now() - timedelta(seconds=180)))
    wait_for(lambda: sweep(cloud)["woken"] == 1)
    wait_for(lambda: work.history(case).count("notified") == 2)
    work.decide(case, Action.KEEP)
    sweep(cloud)
    closed(cloud, arn)


@pytest.mark.parametrize("step", CASE_STEPS)
def test_a_step_that_fails_for_a_while_is_tried_again(cloud: Cloud, work: Casework, step: str) -> None:
    fail(cloud, step, ServiceBusy("for a while"), times=3)
    case = work.open(cloud.produce(GOOD), remind_at=format_time(work.clock.now()))
    arn = start(cloud, case, seconds=1)
    wait_for(lambda: work.history(case).count("notified") == 2)
    work.decide(case, Action.REDRIVE)
    wait_for(lambda: sweep(cloud)["told"] == 1)
    closed(cloud, arn)
    assert len(cloud.stream_records()) == 16


def fail(cloud: Cloud, step: str, error: Exception, times: int) -> None:
    """Let a handler fail before it does anything."""
    handler, left = cloud.handlers[step], iter(range(times))

    def failing(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if next(left, None) is not None:
            raise error
        return handler(event, context)

    cloud.handlers[step] = failing


@pytest.mark.parametrize("step", ["TakeOverRecords", "NotifyApprovers", "RedriveChunk", "ConfirmCase", "SettleCase"])
def test_a_workflow_that_failed_is_started_again_and_goes_on(cloud: Cloud, work: Casework, step: str) -> None:
    fail(cloud, step, RuntimeError("a bug"), times=1)
    case = work.open(cloud.produce(GOOD))
    work.decide(case, Action.REDRIVE)
    arn = start(cloud, case)
    assert cloud.finished(arn)["status"] == "FAILED"
    assert work.standing(case).status is CaseStatus.DECIDED
    assert sweep(cloud)["started"] == 1
    closed(cloud, f"{arn}-r2")
    assert work.standing(case).status is CaseStatus.CLOSED
    assert len(cloud.stream_records()) == 16


def test_a_chunk_goes_on_where_its_time_ran_out(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce(GOOD))
    work.decide(case, Action.REDRIVE)
    context = cloud.contexts["RedriveChunk"] = Context("short", millis=30_000)
    handler = cloud.handlers["RedriveChunk"]

    def first_short(event: dict[str, Any], _: Any) -> dict[str, Any]:
        result = handler(event, context)
        context.millis = 900_000
        return result

    cloud.handlers["RedriveChunk"] = first_short
    closed(cloud, start(cloud, case))
    assert len(cloud.stream_records()) == 16


def test_what_comes_back_is_counted(cloud: Cloud, work: Casework) -> None:
    batch = cloud.produce(GOOD)
    case = work.open(batch)
    work.decide(case, Action.REDRIVE)
    confirm = cloud.handlers["ConfirmCase"]

    def some_fail_again(event: dict[str, Any], context: Any) -> dict[str, Any]:
        copies = cloud.stream_records()[8:]
        for copy, original in list(zip(copies, batch, strict=True))[:3]:
            work.ledger.record_quarantined("orders-stream", "later", [entry_of(copy, original)])
        return confirm(event, context)

    cloud.handlers["ConfirmCase"] = some_fail_again
    closed(cloud, start(cloud, case))
    assert work.standing(case).outcome == {"redriven": 8, "sent": 8, "failed_again": 3, "unconfirmed": 5}


def entry_of(copy: Any, original: Any) -> Any:
    places = casework.place_of(copy), casework.place_of(original)
    return QuarantinedRecord(*places, "consumer-error", "poison", "quarantine/later", 0, "later-1")


def test_what_a_decision_left_out_is_the_next_cases(cloud: Cloud, work: Casework) -> None:
    batch = cloud.produce(GOOD)
    case = work.open(batch)
    left_out = {batch[1].sequence_number, batch[7].sequence_number}
    work.decide(case, Action.DISCARD, left_out=left_out)
    successor = work.standing(f"{casework.FINGERPRINT}-2")
    assert (successor.records, successor.left_over_of) == (0, case.id)
    sweep(cloud)
    closed(cloud, MACHINE.replace(":stateMachine:", ":execution:") + f":{case.id}")
    wait_for(lambda: "notified" in work.history(successor))
    taken = work.standing(successor)
    assert (taken.records, taken.left_over_of) == (2, None)
    assert sum(len(piece.lines) for piece in work.cases.pieces(successor.id)) == 2
    left = {m["record"]["sequence_number"] for m in cloud.poison_messages()}
    assert left == left_out
    give_messages_back()
    work.decide(taken, Action.DISCARD)
    sweep(cloud)
    closed(cloud, MACHINE.replace(":stateMachine:", ":execution:") + f":{successor.id}")
    assert cloud.poison_messages() == []
    assert states_in_quarantine(cloud, batch) == ["DISCARDED"] * 8


def give_messages_back() -> None:
    """The time of everybody who holds messages of the poison queue is up."""
    for message in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[QUEUE]._messages:
        message.change_visibility(0)


def test_messages_in_other_hands_are_waited_for(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce(GOOD))
    work.decide(case, Action.DISCARD)
    assert len(cloud.poison_messages()) == 8  # and keeps them for ten minutes
    settle, calls = cloud.handlers["SettleCase"], []

    def back_at_the_second_call(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if calls:
            give_messages_back()
        calls.append(1)
        return settle(event, context)

    cloud.handlers["SettleCase"] = back_at_the_second_call
    closed(cloud, start(cloud, case))
    assert len(calls) == 2
    assert 330 in cloud.slept
    assert cloud.poison_messages() == []


def test_the_pace_holds(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce(GOOD))
    work.decide(case, Action.REDRIVE, pace=0.001)
    closed(cloud, start(cloud, case))
    waits = [seconds for seconds in cloud.slept if 0.5 < seconds <= 1]
    assert len(waits) == 8


def test_what_is_decided_is_redriven_once_however_often_the_machine_is_started(cloud: Cloud, work: Casework) -> None:
    case = work.open(cloud.produce(GOOD))
    work.decide(case, Action.REDRIVE)
    for name in ("first", "second", "third"):
        closed(cloud, start(cloud, case, name=name))
    assert len(cloud.stream_records()) == 16
    assert work.history(case).count("settled") == 1
    assert (case.id, HandOver.DECIDED) not in work.cases.hand_overs()


def test_the_task_token_is_in_no_log_message_response_or_event(
    cloud: Cloud, work: Casework, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOGGER_LOG_EVENT", "true")
    responses: list[str] = []
    for step, handler in cloud.handlers.items():

        def listening(event: Any, context: Any, handler: Any = handler) -> Any:
            result = handler(event, context)
            responses.append(json.dumps(result))
            return result

        cloud.handlers[step] = listening
    case = work.open(cloud.produce(GOOD), remind_at=format_time(work.clock.now()))
    arn = start(cloud, case, seconds=1)
    wait_for(lambda: work.history(case).count("notified") == 2)
    token = work.cases.token(case.id)
    assert token is not None
    work.decide(case, Action.REDRIVE)
    wait_for(lambda: sweep(cloud)["told"] == 1)
    execution = closed(cloud, arn)
    printed = capsys.readouterr()
    events = [str(event) for event in work.cases.events(case.id)]
    queued = [json.dumps(message) for message in cloud.poison_messages()]
    known = [str(work.standing(case)), execution["output"], *events, *queued]
    for place in (printed.out, printed.err, *responses, *messages(), *known):
        assert token not in place
