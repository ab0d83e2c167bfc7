"""The steps of a case's workflow: what each does with the case as it finds it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from stream_redrive.core.approval import NotifyApprovers, ReviewCase
from stream_redrive.core.cases import Action, Case, CaseStatus, Decision
from stream_redrive.core.errors import (
    AccessDenied,
    CaseNotDecided,
    CaseNotRedriven,
    CasesNotSwept,
    CaseUnknown,
    ServiceUnreachable,
)
from stream_redrive.core.handing_over import AnnouncingProposal, HandingOver, HandOvers
from stream_redrive.core.notices import format_time
from stream_redrive.core.open_calls import OpenCalls
from stream_redrive.core.policy import parse_policy
from stream_redrive.core.ports import CaseChange, HandOver
from stream_redrive.core.records import Lineage
from stream_redrive.core.redrive_case import ConfirmCase, RedriveChunk
from stream_redrive.core.sending import Sender
from stream_redrive.core.settling import SettleCase
from stream_redrive.core.sweeping import SweepCases
from stream_redrive.core.taking_over import TakeOverRecords
from stream_redrive.core.work_list import load
from tests.support import casework
from tests.support.casework import Casework, place_of
from tests.support.cuts import Cuts
from tests.support.memory import (
    MemoryApproverTopic,
    MemoryClock,
    MemoryExecutions,
    MemoryStream,
    MemoryTaskTokens,
)
from tests.support.memory_cases import MemoryCaseStore

BOOK = parse_policy('{"default": {"approval": {"reminder_hours": 12}}}', "1")


class Office:
    """A case, and all that its workflow meets."""

    def __init__(self, records: int = 7) -> None:
        self.clock = MemoryClock()
        self.stream = MemoryStream(clock=self.clock)
        self.work: Casework = casework.in_memory(self.clock)
        self.topic = MemoryApproverTopic()
        self.tokens = MemoryTaskTokens("token-1", "token-2")
        self.executions = MemoryExecutions()
        self.batch = [self.stream.produce("k", b'{"n": %d}' % n) for n in range(records)]
        self.clock.time += timedelta(minutes=5)
        self.case = self.work.open(self.batch)
        self.hand_over = HandingOver(self.work.cases, self.tokens, "vault")
        self.reported: list[tuple[str, str]] = []

    def notify(self, token: str = "token-1") -> bool:
        step = NotifyApprovers(self.work.cases, self.work.vault, self.topic, self.hand_over, lambda: BOOK, self.clock)
        return step(self.case.id, token)

    def review(self) -> ReviewCase:
        return ReviewCase(self.work.cases, "vault", lambda: BOOK, self.clock)

    def redrive_chunk(self, index: int = 0, cuts: Cuts | None = None) -> int:
        stream = (cuts or Cuts()).guard(self.stream)
        send = Sender(self.work.ledger, stream, stream, self.clock, 15)
        decision = self.standing.decision
        chunks = load(self.work.vault, decision.work) if decision else []
        return RedriveChunk(self.work.vault, self.work.cases, send)(self.case.id, chunks[index]).sent

    def confirm(self, *, waited: bool = True) -> ConfirmCase:
        step = ConfirmCase(self.work.vault, self.work.cases, self.work.ledger, lambda: BOOK, self.clock)
        step(self.case.id, waited=waited)
        return step

    def settle(self) -> SettleCase:
        return SettleCase(self.work.vault, self.work.cases, self.work.ledger, self.work.queue, self.clock)

    def sweep(self) -> SweepCases:
        hand_overs: HandOvers = {
            HandOver.DECIDED: HandingOver(self.work.cases, self.tokens, "vault"),
            HandOver.PROPOSED: AnnouncingProposal(self.work.cases, self.topic, self.clock),
        }
        return SweepCases(self.work.cases, self.executions, self.tokens, hand_overs, self.clock, 120, self._report)

    def _report(self, case_id: str, problem: Exception) -> None:
        self.reported.append((case_id, type(problem).__name__))

    @property
    def standing(self) -> Case:
        return self.work.standing(self.case)


@pytest.fixture
def office() -> Office:
    return Office()


# Telling and waiting


def test_whoever_is_told_first_is_reminded_later(office: Office) -> None:
    assert office.notify("token-1")
    assert office.notify("token-2")
    assert [subject.startswith("Reminder: ") for subject, _ in office.topic.told] == [False, True]
    assert office.work.cases.token(office.case.id) == "token-2"


def test_a_topic_that_fails_does_not_lose_the_token(office: Office) -> None:
    class NoTopic(MemoryApproverTopic):
        def publish(self, subject: str, text: str) -> None:
            raise ServiceUnreachable("sns:Publish")

    office.topic = NoTopic()
    with pytest.raises(ServiceUnreachable):
        office.notify()
    assert office.work.cases.token(office.case.id) == "token-1"
    office.work.decide(office.case, Action.KEEP)
    assert office.hand_over(office.case.id)


def test_a_case_that_is_decided_answers_the_task_that_asks(office: Office) -> None:
    office.work.decide(office.case, Action.KEEP)
    assert not office.notify()
    assert '"action":"keep"' in office.tokens.answers["token-1"]
    assert office.topic.told == []
    assert (office.case.id, HandOver.DECIDED) not in office.work.cases.hand_overs()


def test_a_case_that_is_not_there_is_named(office: Office) -> None:
    with pytest.raises(CaseUnknown, match="fff-1"):
        office.review()("fff-1")


def test_a_message_shows_no_value_and_no_control_character() -> None:
    office = Office(records=0)
    record = office.stream.produce("k", b'{"card": "4111 1111", "\\u001b[2J": 1}')
    office.case = office.work.open([record], fingerprint="f" * 16, message="\x1b[31mred\u202e")
    office.notify()
    [(subject, text)] = office.topic.told
    assert subject.isascii()
    assert len(subject) <= 100
    assert "4111" not in text
    assert "token-1" not in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_silence_moves_the_reminder_on_and_at_last_ends_the_case(office: Office) -> None:
    office.clock.time += timedelta(hours=24)
    review = office.review()(office.case.id)
    assert (review.decision, review.wait_seconds) == ({"action": "remind"}, 12 * 3600)
    office.clock.time += timedelta(days=13)
    assert office.review()(office.case.id).decision == {"action": "expired"}
    assert office.standing.status is CaseStatus.EXPIRED
    assert office.review()(office.case.id).decision == {"action": "expired"}
    assert office.work.history(office.case) == ["expired"]


def test_the_last_wait_ends_with_the_case(office: Office) -> None:
    office.clock.time += timedelta(days=13, hours=20)
    assert office.review()(office.case.id).wait_seconds == 4 * 3600


def test_of_a_decision_and_the_expiry_at_one_moment_exactly_one_counts() -> None:
    for _ in range(200):
        office = Office(records=1)
        office.clock.time += timedelta(days=14)
        seen, results, barrier = office.standing, {}, threading.Barrier(2)

        def decide(office: Office = office, seen: Case = seen, results: dict[str, bool] = results) -> None:
            results["decided"] = office.work.decide(office.case, Action.DISCARD, seen=seen)

        def expire(office: Office = office, results: dict[str, bool] = results) -> None:
            results["expired"] = office.review()(office.case.id).decision["action"] == "expired"

        def at_once(work: Callable[[], None], barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            work()

        threads = [threading.Thread(target=at_once, args=[work]) for work in (decide, expire)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results["decided"] != results["expired"]
        assert office.standing.status is (CaseStatus.DECIDED if results["decided"] else CaseStatus.EXPIRED)


def test_a_decision_between_a_reviews_look_and_its_write_counts(office: Office) -> None:
    class Overtaken(MemoryCaseStore):
        def commit(self, change: CaseChange) -> bool:
            if change.case.status is CaseStatus.EXPIRED and self.overtake:
                self.overtake = False
                assert office.work.decide(office.case, Action.KEEP)
            return super().commit(change)

        overtake = True

    office.work.cases = Overtaken()
    office.case = office.work.open(office.batch)
    office.clock.time += timedelta(days=14)
    assert office.review()(office.case.id).decision["action"] == "keep"
    assert office.standing.status is CaseStatus.DECIDED


# Carrying out


def test_a_case_without_a_decision_is_not_carried_out(office: Office) -> None:
    with pytest.raises(CaseNotDecided):
        office.settle()(office.case.id, {})


def test_an_edited_record_keeps_its_origin_and_key_and_counts_an_attempt_more(office: Office) -> None:
    office.work.decide(office.case, Action.EDIT, edit=lambda data: data + b" ")
    assert [office.redrive_chunk(index) for index in range(3)] == [3, 3, 1]
    copies = [r for r in office.stream.records[office.batch[0].shard_id] if r not in office.batch]
    assert [(c.partition_key, c.data) for c in copies] == [("k", r.data + b" ") for r in office.batch]
    lineage = office.work.ledger.lineage_of("orders-stream", [place_of(c) for c in copies])
    assert [lineage[place_of(c)] for c in copies] == [Lineage(place_of(r), 1) for r in office.batch]


def test_a_chunk_is_sent_once_whichever_call_is_cut(office: Office) -> None:
    office.work.decide(office.case, Action.REDRIVE)
    with pytest.raises(ServiceUnreachable):
        office.redrive_chunk(0, Cuts({1: True}))
    early = OpenCalls(office.work.vault, office.work.ledger, "orders-stream")
    copies = [r for r in office.stream.records[office.batch[0].shard_id] if r not in office.batch]
    assert [early.lineage_of(copy) for copy in copies] == [Lineage(place_of(r), 1) for r in office.batch[:3]]
    assert office.redrive_chunk(0) == 3
    assert len(office.stream.records[office.batch[0].shard_id]) == len(office.batch) + 3


def test_the_pace_spreads_records_over_time() -> None:
    office = Office(records=9)
    office.work.decide(office.case, Action.REDRIVE, pace=0.002)
    office.redrive_chunk(0)
    assert office.stream.calls.count("put") == 2
    assert sum(office.clock.slept) == pytest.approx(1.5)


def test_a_redrive_that_ended_early_is_not_taken_for_a_whole_one(office: Office) -> None:
    office.work.decide(office.case, Action.REDRIVE)
    office.redrive_chunk(0)
    with pytest.raises(CaseNotRedriven, match="only 3 records"):
        office.confirm()


def test_settling_goes_on_where_its_time_ran_out(office: Office) -> None:
    office.work.decide(office.case, Action.DISCARD)
    office.clock.time += timedelta(seconds=1)
    office.clock.limit = office.clock.time
    assert office.settle()(office.case.id, {}).more
    assert office.standing.status is CaseStatus.DECIDED
    office.clock.limit = office.clock.time + timedelta(minutes=15)
    assert office.settle()(office.case.id, {}).outcome == {"discarded": 7}
    assert office.settle()(office.case.id, {}).outcome == {"discarded": 7}
    assert office.work.history(office.case) == ["decided", "settled"]


def test_taking_over_takes_each_piece_once() -> None:
    office = Office(records=130)
    office.work.chunk_size = 1
    wide = office.work.open(office.batch, fingerprint="e" * 16)
    left_out = [r.sequence_number for r in office.batch[:100]]
    office.work.decide(wide, Action.DISCARD, left_out=left_out)
    successor = office.work.standing("e" * 16 + "-2")
    step = TakeOverRecords(office.work.cases, office.work.vault, office.clock)
    assert step(successor.id) == 100
    assert step(successor.id) == 0
    taken = office.work.standing(successor)
    assert (taken.records, taken.left_over_of) == (100, None)
    assert len(office.work.cases.pieces(successor.id)) == 100
    assert step(office.case.id) == 0


# Sweeping


def test_a_workflow_that_is_not_there_is_started_and_one_that_runs_is_let_alone(office: Office) -> None:
    assert office.sweep()().started == 1
    assert office.sweep()().started == 0
    assert list(office.executions.started) == [office.case.id]


def test_a_workflow_that_fails_for_ever_is_started_more_and_more_rarely(office: Office) -> None:
    starts = []
    for minute in range(40):
        office.clock.limit = office.clock.time + timedelta(minutes=5)
        if office.sweep()().started:
            starts.append(minute)
            office.executions.statuses[list(office.executions.started)[-1]] = "FAILED"
        office.clock.time += timedelta(minutes=1)
    assert len(starts) < 8
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps[-1] > gaps[0]


def test_a_dead_token_keeps_the_hand_over_until_the_case_is_closed(office: Office) -> None:
    office.executions.start(office.case.id, "{}")
    office.work.cases.delivered(office.case.id, HandOver.START)
    office.work.cases.save_token(office.case.id, "dead")
    office.work.decide(office.case, Action.KEEP)
    assert office.sweep()().told == 0
    assert office.work.cases.hand_overs() == [(office.case.id, HandOver.DECIDED)]
    closed = replace(office.standing, status=CaseStatus.CLOSED, revision=office.standing.revision + 1)
    assert office.work.cases.commit(CaseChange(closed))
    office.sweep()()
    assert office.work.cases.hand_overs() == []


def test_a_sweep_ends_before_its_time_is_up(office: Office) -> None:
    office.clock.limit = office.clock.time
    assert not office.sweep()().complete
    assert office.executions.started == {}


def test_the_oldest_case_is_measured(office: Office) -> None:
    office.clock.time += timedelta(hours=3)
    office.clock.limit = office.clock.time + timedelta(minutes=5)
    assert office.sweep()().oldest_seconds == 3 * 3600


def propose(office: Office) -> None:
    """As the API leaves it when the topic can't be reached."""
    at = format_time(office.clock.now())
    by = casework.ALICE
    proposal = Decision(Action.DISCARD, "d" * 64, "because", "", 7, "cases/w", "stream", 1, "1", by, at)
    proposed = replace(office.standing, status=CaseStatus.PROPOSED, proposal=proposal, revision=2)
    assert office.work.cases.commit(CaseChange(proposed, hand_overs=[HandOver.PROPOSED]))


def test_a_proposal_is_told_by_the_sweep_once_and_the_first_message_is_no_reminder(office: Office) -> None:
    propose(office)
    assert office.sweep()().told == 1
    assert office.sweep()().told == 0
    [(_, text)] = office.topic.told
    assert f"redrive cases decide {office.case.id} --approve --digest {'d' * 64}" in text
    office.notify()
    subject, text = office.topic.told[-1]
    assert not subject.startswith("Reminder")
    assert "--approve" in text


def test_a_proposal_that_nobody_awaits_any_more_is_not_told(office: Office) -> None:
    propose(office)
    assert office.work.decide(office.case, Action.DISCARD)
    office.sweep()()
    assert office.topic.told == []
    assert (office.case.id, HandOver.PROPOSED) not in office.work.cases.hand_overs()


def test_what_one_case_meets_keeps_no_other_waiting(office: Office) -> None:
    """Each sort of work fails for the first case, and is done for another."""

    class Refusing(MemoryExecutions):
        def start(self, name: str, body: str) -> None:
            if name.startswith("b" * 16):
                raise AccessDenied("states:StartExecution")
            super().start(name, body)

    class Broken(MemoryTaskTokens):
        def succeed(self, token: str, output: str) -> bool:
            if token == "broken":
                raise ValueError("not foreseen")
            return super().succeed(token, output)

        def fail(self, token: str, error: str) -> bool:
            if token == "broken":
                raise AccessDenied("states:SendTaskFailure")
            return super().fail(token, error)

    office.executions = Refusing()
    names = {}
    for kind in "abcd":
        names[kind] = office.work.open(office.batch, fingerprint=kind * 16)
    office.sweep()()  # "b" can't be started
    assert set(office.executions.started) == {office.case.id, *(names[kind].id for kind in "acd")}
    assert office.reported == [(names["b"].id, "AccessDenied")]

    office.reported.clear()
    office.tokens = Broken("of-c", "of-d")
    for kind, token in (("a", "broken"), ("c", "of-c"), ("d", "of-d")):
        office.work.cases.save_token(names[kind].id, token)
    office.work.cases.save_token(office.case.id, "broken")
    for kind in "ac":
        assert office.work.decide(names[kind], Action.KEEP)
    office.clock.time += timedelta(days=1, minutes=3)
    office.clock.limit = office.clock.time + timedelta(minutes=5)
    sweep = office.sweep()()
    assert (sweep.told, sweep.woken, sweep.complete) == (1, 1, True)
    assert set(office.tokens.answers) == {"of-c", "of-d"}
    failed = {names["a"].id: "ValueError", names["b"].id: "AccessDenied", office.case.id: "AccessDenied"}
    assert dict(office.reported) == failed
    assert sweep.failed == len(office.reported) == 3
    with pytest.raises(CasesNotSwept, match="3 cases"):
        sweep.insist()


def test_a_sweep_that_did_all_it_had_to_is_content(office: Office) -> None:
    office.sweep()().insist()
