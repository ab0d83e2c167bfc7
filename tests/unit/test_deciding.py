"""One decision a case: bound to a person, a reason and the exact records; what is refused changes nothing."""

import base64
import gzip
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stream_redrive.core.cases import CaseStatus, Word
from stream_redrive.core.deciding import MAX_TEXT
from stream_redrive.core.errors import AccessDenied, RetryableError, ServiceBusy, WriteConflict
from stream_redrive.core.ports import CaseChange, HandOver
from stream_redrive.core.refusals import (
    AlreadyDecided,
    CaseExpired,
    EmptyPayload,
    InvalidPatch,
    MalformedRequest,
    NotAnApprover,
    NotSigned,
    PayloadTooLarge,
    PlanIncomplete,
    ReasonMissing,
    Refusal,
    SchemaStillBroken,
    SelfApproval,
    StaleDigest,
    UnknownCase,
    UnknownRecord,
)
from tests.support.build import SHARD_ID
from tests.support.deciding import ALICE, BOB, CASE, FINGERPRINT, STRANGER, Desk, new_case, record

NEXT = f"{FINGERPRINT}-2"
NOBODY = "0" * 64
SET_N = [{"op": "add", "path": "/n", "value": 1}]
PEOPLE = {"approvers": ["role/operator", "user/*"]}


def desk(*payloads: bytes, **policy: Any) -> Desk:
    return Desk(*(payloads or (b'{"a":1}', b'{"a":2}', b'{"a":3}')), approval=PEOPLE, **policy)


def test_a_decision_says_who_what_why_and_of_which_records() -> None:
    d = desk()
    plan = d.plan("redrive")
    decided = d.decide("redrive", plan.digest, ALICE, "the consumer is mended")
    assert d.case() == decided
    assert (decided.status, decided.proposal, decided.revision) == (CaseStatus.DECIDED, None, 2)
    decision = decided.decision
    assert decision is not None
    assert (decision.by.arn, decision.reason, decision.records) == (ALICE, "the consumer is mended", 3)
    assert (decision.digest, decision.target, decision.policy_version) == (plan.digest, "stream", "7")
    [event] = d.events("decided")
    assert (event.actor, event.before, event.after, event.digest) == (ALICE, "open", "decided", plan.digest)
    assert event.details["reason"] == "the consumer is mended"


def test_the_work_list_names_the_chunks_and_their_lines() -> None:
    d = desk()
    piece = d.join("incident-2", b"{}", first=50)
    assert d.work(d.planned_and_decided("redrive")) == [
        {"index": 0, "bucket": "vault", "key": d.store.pieces(CASE)[0].key, "lines": [0, 1, 2], "records": 3},
        {"index": 1, "bucket": "vault", "key": piece.key, "lines": [0], "records": 1},
    ]


def test_the_workflow_is_told_at_once() -> None:
    d = desk()
    d.store.save_token(CASE, "token-of-the-task")
    decided = d.planned_and_decided("keep")
    assert decided.decision is not None
    assert json.loads(d.tokens.answers["token-of-the-task"]) == {
        "action": "keep",
        "work": {"bucket": "vault", "key": decided.decision.work},
        "target": "",
        "pace": 0.25,
        "records": 3,
    }
    assert (CASE, HandOver.DECIDED) not in d.store.hand_overs()


@pytest.mark.parametrize("token", [None, "dead"])
def test_a_workflow_that_can_not_be_told_now_is_told_later(token: str | None) -> None:
    d = desk()
    if token:
        d.store.save_token(CASE, token)
    assert d.planned_and_decided("keep").status is CaseStatus.DECIDED
    assert (CASE, HandOver.DECIDED) in d.store.hand_overs()


def test_a_decision_stands_when_step_functions_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    d = desk()
    d.store.save_token(CASE, "token-of-the-task")

    def busy(*_: str) -> bool:
        raise ServiceBusy("states:SendTaskSuccess")

    monkeypatch.setattr(d.tokens, "succeed", busy)
    assert d.planned_and_decided("keep").status is CaseStatus.DECIDED
    assert (CASE, HandOver.DECIDED) in d.store.hand_overs()


@pytest.mark.parametrize("problem", [AccessDenied("states:SendTaskSuccess"), ValueError("a bug")])
def test_a_telling_that_fails_is_reported_and_the_decision_stands(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = desk()
    d.store.save_token(CASE, "token-of-the-task")

    def fail(*_: str) -> bool:
        raise problem

    monkeypatch.setattr(d.tokens, "succeed", fail)
    standing = d.standing("keep", d.plan("keep").digest)
    assert (standing.case.status, standing.told) == (CaseStatus.DECIDED, False)
    assert d.reported == [(CASE, problem)]
    assert (CASE, HandOver.DECIDED) in d.store.hand_overs()


def test_the_approvers_hear_of_a_proposal_and_how_to_approve_it() -> None:
    d = desk()
    digest = d.plan("discard").digest
    assert d.standing("discard", digest, ALICE, "test data\nApprove:   rm").told
    [(subject, text)] = d.topic.told
    assert "discard 3 records" in subject
    assert f'redrive cases decide {CASE} --approve --digest {digest} --reason "say why"' in text.splitlines()[-1]
    assert ALICE in text
    assert "\\nApprove:   rm" in text, "a reason forges no line"
    assert d.case().expires_at in text
    assert len(d.events("notified")) == 1
    assert d.store.hand_overs() == [(CASE, HandOver.START)]
    d.decide("discard", digest, BOB)
    assert len(d.topic.told) == 1


def test_a_proposal_that_replaces_another_is_told_too() -> None:
    d = desk()
    d.planned_and_decided("discard")
    d.planned_and_decided("edit", BOB, patch=SET_N)
    assert [BOB in text for _, text in d.topic.told] == [False, True]


def test_a_proposal_that_could_not_be_told_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    d = desk()

    def denied(*_: str) -> None:
        raise AccessDenied("sns:Publish")

    monkeypatch.setattr(d.topic, "publish", denied)
    standing = d.standing("discard", d.plan("discard").digest)
    assert (standing.case.status, standing.told) == (CaseStatus.PROPOSED, False)
    assert (CASE, HandOver.PROPOSED) in d.store.hand_overs()


# What a decision leaves over


def test_records_that_a_decision_leaves_out_go_to_the_next_case_with_it() -> None:
    d = desk()
    decided = d.planned_and_decided("redrive", only=[record(2)])
    successor = d.case(NEXT)
    assert (successor.status, successor.previous, successor.left_over_of) == (CaseStatus.OPEN, CASE, CASE)
    assert (successor.records, successor.revision, successor.decision) == (0, 1, None)
    assert (NEXT, HandOver.START) in d.store.hand_overs()
    assert d.events("opened", NEXT)[0].details == {"left_over_of": CASE, "records": 2}
    assert d.work(decided)[0]["lines"] == [1]


def test_what_is_left_over_lies_beside_the_work_list_as_pieces() -> None:
    d = desk()
    whole = d.join("incident-2", b"{}", first=50, shard="other")
    decided = d.planned_and_decided("redrive", only=[record(2)])
    assert decided.decision is not None
    left = json.loads(d.vault.get(decided.decision.work.replace("chunks.json", "left_over.json")))
    assert [(piece["incident_id"], piece["lines"]) for piece in left] == [("incident-1", [0, 2]), ("incident-2", [0])]
    assert left[1]["digest"] == whole.digest
    assert left[0]["digest"] != d.store.pieces(CASE)[0].digest


def test_a_proposal_that_leaves_records_out_opens_nothing_before_it_is_approved() -> None:
    d = desk()
    digest = d.plan("discard", only=[record(2)]).digest
    d.decide("discard", digest, only=[record(2)])
    assert d.store.case(NEXT) is None
    d.decide("discard", digest, BOB)
    assert d.case(NEXT).left_over_of == CASE


def test_what_is_left_over_comes_after_a_case_that_opened_meanwhile() -> None:
    d = desk()
    digest = d.plan("discard", only=[record(2)]).digest
    d.decide("discard", digest, only=[record(2)])
    assert d.store.commit(CaseChange(new_case(id=NEXT, generation=2)))
    d.decide("discard", digest, BOB)
    assert d.case(f"{FINGERPRINT}-3").left_over_of == CASE


# Edits


def test_an_edited_chunk_holds_the_new_bytes_and_says_who_edited_what() -> None:
    d = desk()
    d.decide("edit", d.plan("edit", patch=SET_N).digest, patch=SET_N)
    [entry] = d.work(d.case())
    assert (entry["lines"], entry["records"]) == (None, 3)
    [piece] = d.store.pieces(CASE)
    for line, original in zip(d.lines(entry["key"]), d.lines(piece.key), strict=True):
        assert json.loads(base64.b64decode(line["data"])) == {**json.loads(base64.b64decode(original["data"])), "n": 1}
        assert line["edited"] == {"from_sha256": original["sha256"], "by": ALICE}
        same = {k: v for k, v in line.items() if k not in ("data", "sha256", "edited")}
        assert same == {k: v for k, v in original.items() if k not in ("data", "sha256")}


def test_edits_that_grow_are_spread_over_chunks() -> None:
    d = desk(*(json.dumps({"n": n}).encode() for n in range(9)))
    patch = [{"op": "add", "path": "/x", "value": "x" * 500_000}]
    d.decide("edit", d.plan("edit", patch=patch).digest, patch=patch)
    entries = d.work(d.case())
    assert [entry["index"] for entry in entries] == list(range(len(entries)))
    assert sum(entry["records"] for entry in entries) == 9
    assert max(len(gzip.decompress(d.vault.get(entry["key"]))) for entry in entries) < 4 * 1024 * 1024
    numbers = [line["sequence_number"] for entry in entries for line in d.lines(entry["key"])]
    assert numbers == [str(n) for n in range(1, 10)]


def test_a_replacement_is_for_its_one_record() -> None:
    d = desk(b"broken", b"{}")
    fields = {"only": [record(1)], "replacement": base64.b64encode(b'{"mended":true}').decode()}
    d.decide("edit", d.plan("edit", **fields).digest, **fields)
    [line] = d.lines(d.work(d.case())[0]["key"])
    assert base64.b64decode(line["data"]) == b'{"mended":true}'
    assert line["partition_key"] == "k"


# Two people


@pytest.mark.parametrize("action", ["edit", "discard"])
def test_an_edit_and_a_discard_take_two_people(action: str) -> None:
    d = desk()
    fields = {"patch": SET_N} if action == "edit" else {}
    digest = d.plan(action, **fields).digest
    proposed = d.decide(action, digest, ALICE, "first", **fields)
    assert (proposed.status, proposed.decision) == (CaseStatus.PROPOSED, None)
    assert (CASE, HandOver.DECIDED) not in d.store.hand_overs()
    approved = d.decide(action, digest, BOB, "second")
    assert approved.decision is not None
    assert approved.decision.approved_by is not None
    assert (approved.decision.by.arn, approved.decision.approved_by.arn) == (ALICE, BOB)
    assert [e.details["reason"] for e in d.events("proposed") + d.events("decided")] == ["first", "second"]


@pytest.mark.parametrize("again", [ALICE, ALICE.replace("alice", "alias")])
def test_the_first_person_can_not_be_the_second_by_another_session(again: str) -> None:
    d = desk()
    d.planned_and_decided("discard")
    before = d.everything()
    with pytest.raises(SelfApproval, match="counts as the same person"):
        d.decide("discard", d.plan("discard", again).digest, again)
    assert d.everything() == before


def test_another_digest_replaces_the_proposal_and_its_author_is_the_new_first_person() -> None:
    d = desk()
    d.planned_and_decided("discard")
    d.planned_and_decided("edit", BOB, patch=SET_N)
    proposal = d.case().proposal
    assert proposal is not None
    assert (proposal.action, proposal.by.arn) == ("edit", BOB)
    with pytest.raises(SelfApproval):
        d.decide("edit", proposal.digest, BOB)
    assert d.decide("edit", proposal.digest, ALICE).status is CaseStatus.DECIDED


def test_a_decision_for_one_person_replaces_a_proposal_at_once() -> None:
    d = desk()
    d.planned_and_decided("discard")
    decided = d.planned_and_decided("keep", BOB)
    assert (decided.status, decided.proposal) == (CaseStatus.DECIDED, None)


def test_the_digest_of_a_proposal_approves_no_other_action() -> None:
    d = desk()
    digest = d.plan("discard").digest
    d.decide("discard", digest)
    with pytest.raises(StaleDigest, match="the digest is of the proposal to discard, not to keep"):
        d.decide("keep", digest, BOB)


def test_the_word_of_a_proposer_who_is_no_approver_any_more_does_not_count() -> None:
    d = desk()
    digest = d.plan("discard").digest
    d.decide("discard", digest, ALICE)
    d.policy["approval"] = {"approvers": ["user/*"]}
    proposed = d.decide("discard", digest, BOB)
    assert proposed.status is CaseStatus.PROPOSED
    assert proposed.proposal is not None
    assert proposed.proposal.by.arn == BOB


# Refusals: each by its own name, nothing changed, and kept in the history


def expired(d: Desk) -> str:
    digest = d.plan("keep").digest
    d.clock.sleep(15 * 86_400)
    return digest


def closed_by_the_machine(d: Desk) -> str:
    digest = d.plan("keep").digest
    case = d.case()
    assert d.store.commit(CaseChange(replace(case, revision=case.revision + 1, status=CaseStatus.EXPIRED)))
    return digest


def decided_before(d: Desk) -> str:
    return (d.planned_and_decided("keep", BOB).decision or pytest.fail("undecided")).digest


def grown(d: Desk) -> str:
    digest = d.plan("keep").digest
    d.join("incident-2", b"{}", first=50)
    return digest


def proposed_by_alice(d: Desk) -> str:
    return (d.planned_and_decided("edit", patch=SET_N).proposal or pytest.fail("undecided")).digest


def planned(d: Desk) -> str:
    return d.plan("keep").digest


def anything(_: Desk) -> str:
    return NOBODY


Prepare = Callable[[Desk], str]
REFUSALS: list[tuple[str, type[Refusal], Prepare, dict[str, Any], str]] = [
    ("unsigned", NotSigned, planned, {"arn": None}, "not signed"),
    ("stranger", NotAnApprover, planned, {"arn": STRANGER}, f"{STRANGER} is none of the approvers"),
    ("no reason", ReasonMissing, planned, {"reason": ""}, "needs a reason"),
    ("blank reason", ReasonMissing, planned, {"reason": " \n\t"}, "needs a reason"),
    ("control character", MalformedRequest, planned, {"reason": "a\x1b[2J"}, r"U\+001B"),
    ("long reason", MalformedRequest, planned, {"reason": "x" * (MAX_TEXT + 1)}, "at most 4000"),
    ("no plan", StaleDigest, anything, {}, "no plan of case .* has this digest"),
    ("grown", StaleDigest, grown, {}, "was about 3 of 3 records of the case, now it would be about 4 of 4"),
    ("other action", StaleDigest, planned, {"action": "redrive"}, "of a plan to keep, not to redrive"),
    ("decided", AlreadyDecided, decided_before, {}, rf"{BOB} has decided to keep 3 records at 2026-01-05T12:00"),
    ("past its time", CaseExpired, expired, {}, "expired at 2026-01-19.* still in quarantine"),
    ("expired", CaseExpired, closed_by_the_machine, {}, "still in quarantine"),
    ("self-approval", SelfApproval, proposed_by_alice, {"action": "edit"}, f"{ALICE} has proposed this at"),
    ("invalid patch", InvalidPatch, anything, {"action": "edit", "patch": [{"op": "no"}]}, "operation 0: op is none"),
    (
        "emptied",
        EmptyPayload,
        anything,
        {"action": "edit", "patch": [{"op": "replace", "path": "", "value": {}}]},
        "nothing would be left",
    ),
    (
        "too large",
        PayloadTooLarge,
        anything,
        {"action": "edit", "patch": [{"op": "add", "path": "/x", "value": "x" * 1_100_000}]},
        "at most 1048576 can be sent",
    ),
    (
        "schema still broken",
        SchemaStillBroken,
        anything,
        {"action": "edit", "patch": [{"op": "replace", "path": "/a", "value": "text"}]},
        "at a: rule 'type'",
    ),
    ("unknown record", UnknownRecord, anything, {"only": [f"{SHARD_ID}:99"]}, ":99"),
]


@pytest.mark.parametrize(
    ("refusal", "prepare", "fields", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_what_is_refused_has_its_own_message_changes_nothing_and_is_kept_in_the_history(
    refusal: type[Refusal], prepare: Prepare, fields: dict[str, Any], message: str
) -> None:
    d = desk(schema={"properties": {"a": {"type": "number"}}})
    digest = prepare(d)
    before, status = d.everything(), d.case().status
    with pytest.raises(refusal, match=message):
        d.decide(**{"action": "keep", "digest": digest, **fields})
    assert d.everything() == before
    [event] = d.events("denied")
    assert event.actor == (fields.get("arn", ALICE) or "unsigned")
    assert (event.before, event.after) == (status, status)
    assert (event.details["request"], event.details["refusal"]) == ("decide", refusal.__name__)


def test_a_denial_that_names_no_case_is_kept_as_well() -> None:
    d = desk()
    for name in ("f" * 16 + "-1", "../TOKEN", f"{CASE}\n"):
        with pytest.raises(UnknownCase):
            d.decide("keep", NOBODY, name=name)
    assert [event.details["refusal"] for event in d.store.audit] == ["UnknownCase"] * 3


def test_an_incomplete_plan_is_not_decided() -> None:
    d = desk()
    d.planned_and_decided("keep", only=[record(1)])
    before = d.everything()
    with pytest.raises(PlanIncomplete, match="still taking over"):
        d.decide("keep", NOBODY, name=NEXT)
    assert d.everything() == before


def test_a_stale_digest_of_other_records_says_so_when_the_counts_are_the_same() -> None:
    d = desk()
    digest = d.plan("redrive", only=[record(1)]).digest
    with pytest.raises(StaleDigest, match="about 1 of 3 records as this one is, but not the same"):
        d.decide("redrive", digest, only=[record(2)])


# Races


def outcome_of(d: Desk, action: str, digest: str, arn: str) -> str:
    try:
        return d.decide(action, digest, arn).status
    except Refusal as exc:
        return f"{type(exc).__name__}: {exc}"


def assert_one_has_won(d: Desk, outcomes: dict[str, str]) -> None:
    won = d.case().decision
    assert won is not None
    [loser] = {ALICE, BOB} - {won.by.arn}
    assert outcomes[won.by.arn] == "decided"
    assert outcomes[loser].startswith(f"AlreadyDecided: {won.by.arn} has decided to {won.action} 3 records at ")
    assert len(d.events("decided")) == len(d.events("denied")) == 1
    assert json.loads(d.tokens.answers["token-of-the-task"])["action"] == won.action


@pytest.mark.parametrize("port", ["case", "pieces", "commit"])
@pytest.mark.parametrize("actions", [("redrive", "keep"), ("keep", "redrive"), ("keep", "keep")])
def test_whoever_decides_while_another_one_does_wins_and_the_other_is_told(
    port: str, actions: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    d = desk()
    d.store.save_token(CASE, "token-of-the-task")
    digests = [d.plan(action).digest for action in actions]
    outcomes: dict[str, str] = {}
    method = getattr(d.store, port)

    def decide_first(*args: Any) -> Any:
        monkeypatch.setattr(d.store, port, method)
        outcomes[BOB] = outcome_of(d, actions[1], digests[1], BOB)
        return method(*args)

    monkeypatch.setattr(d.store, port, decide_first)
    outcomes[ALICE] = outcome_of(d, actions[0], digests[0], ALICE)
    assert outcomes[BOB] == "decided"
    assert_one_has_won(d, outcomes)


def test_of_two_who_decide_at_the_same_moment_one_wins_200_times() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(200):
            d = desk()
            d.store.save_token(CASE, "token-of-the-task")
            digests = {action: d.plan(action).digest for action in ("redrive", "keep")}
            outcomes: dict[str, str] = {}
            together = threading.Barrier(2)

            def decide(arn: str, action: str, d: Desk = d, found: dict[str, str] = outcomes) -> None:
                together.wait()  # noqa: B023 - the threads end within the round
                found[arn] = outcome_of(d, action, digests[action], arn)  # noqa: B023

            threads = [threading.Thread(target=decide, args=pair) for pair in ((ALICE, "redrive"), (BOB, "keep"))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert_one_has_won(d, outcomes)
    finally:
        sys.setswitchinterval(interval)


def test_a_record_that_joins_while_somebody_decides_makes_the_digest_stale() -> None:
    d = desk()
    digest = d.plan("keep").digest
    commit = d.store.commit

    def join_first(change: CaseChange) -> bool:
        d.store.commit = commit  # type: ignore[method-assign]
        d.join("incident-2", b"{}", first=50)
        return commit(change)

    d.store.commit = join_first  # type: ignore[method-assign]
    with pytest.raises(StaleDigest, match="now it would be about 4 of 4"):
        d.decide("keep", digest)
    assert d.case().status is CaseStatus.OPEN


def test_a_record_that_joins_while_somebody_decides_about_named_ones_goes_to_the_next_case() -> None:
    d = desk()
    digest = d.plan("keep", only=[record(1)]).digest
    commit = d.store.commit

    def join_first(change: CaseChange) -> bool:
        d.store.commit = commit  # type: ignore[method-assign]
        d.join("incident-2", b"{}", first=50)
        return commit(change)

    d.store.commit = join_first  # type: ignore[method-assign]
    decided = d.decide("keep", digest, only=[record(1)])
    assert decided.decision is not None
    left = json.loads(d.vault.get(decided.decision.work.replace("chunks.json", "left_over.json")))
    assert sum(len(piece["lines"]) for piece in left) == 3


def test_a_case_that_never_stands_still_is_given_up_with_a_retryable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    d = desk()
    digest = d.plan("keep").digest
    monkeypatch.setattr(d.store, "commit", lambda _: False)
    with pytest.raises(WriteConflict):
        d.decide("keep", digest)
    assert issubclass(WriteConflict, RetryableError)


# Looks, notes and views


def test_a_look_changes_nothing_and_shows_no_payload() -> None:
    d = desk(b'{"name":"SECRET"}')
    before, events = d.everything(), list(d.store.events(CASE))
    details = d.desk.show(d.call(), CASE)
    [view] = d.desk.records(d.call(), CASE, limit=10, after=0)
    assert d.desk.cases(d.call(), every=False, limit=10, after=None)[0] == [d.case()]
    assert (view.id, view.bytes, view.document) == (record(1), 17, {"name": "<string, 6 characters>"})
    assert "SECRET" not in repr((details, view))
    assert (d.everything(), list(d.store.events(CASE))) == (before, events)


def test_records_are_paged_over_chunks() -> None:
    d = desk()
    d.join("incident-2", b"{}", b"{}", first=50)
    pages = [[v.id for v in d.desk.records(d.call(), CASE, limit=2, after=after)] for after in (0, 2, 4, 6)]
    assert pages == [[record(1), record(2)], [record(3), record(50)], [record(51)], []]


def test_nobody_unsigned_sees_anything() -> None:
    d, arn = desk(), None
    looks: list[Callable[[], object]] = [
        lambda: d.desk.cases(d.call(arn), every=True, limit=1, after=None),
        lambda: d.desk.show(d.call(arn), CASE),
        lambda: d.desk.records(d.call(arn), CASE, limit=1, after=0),
        lambda: d.desk.view(d.call(arn), CASE, record(1)),
        lambda: d.desk.note(d.call(arn), CASE, "text"),
        lambda: d.plan("keep", arn),
    ]
    for look in looks:
        with pytest.raises(NotSigned):
            look()


def test_who_views_a_payload_is_kept_in_the_history_without_it() -> None:
    d = desk(b'{"name":"SECRET"}')
    line = d.desk.view(d.call(BOB), CASE, record(1))
    assert base64.b64decode(line["data"]) == b'{"name":"SECRET"}'
    [event] = d.events("viewed")
    assert (event.actor, event.details) == (BOB, {"record": record(1), "sha256": line["sha256"]})
    with pytest.raises(UnknownRecord):
        d.desk.view(d.call(), CASE, record(9))


def test_notes_are_added_and_stay() -> None:
    d = desk()
    for text in ("first\nline", "second"):
        d.desk.note(d.call(BOB), CASE, text)
    d.planned_and_decided("keep")
    d.desk.note(d.call(), CASE, "after it was decided")
    notes = d.desk.show(d.call(), CASE).notes
    assert [(n.by.arn, n.text) for n in notes] == [
        (BOB, "first\nline"),
        (BOB, "second"),
        (ALICE, "after it was decided"),
    ]
    assert len(d.events("noted")) == 3


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MAX_TEXT + 1), "a\x1b]0;title\x07", "a\u202egnp.exe", "\x7f"])
def test_a_note_that_says_nothing_too_much_or_something_hidden_is_refused(text: str) -> None:
    d = desk()
    with pytest.raises(MalformedRequest):
        d.desk.note(d.call(), CASE, text)
    assert d.store.notes(CASE) == []


def test_no_task_token_is_in_an_event_or_an_answer() -> None:
    d = desk()
    d.store.save_token(CASE, "token-of-the-task")
    plan = d.plan("redrive")
    answers: list[object] = [plan, d.decide("redrive", plan.digest), d.desk.show(d.call(), CASE), d.store.events(CASE)]
    with pytest.raises(AlreadyDecided) as raised:
        d.desk.decide(d.call(), CASE, {"action": "keep"}, Word(NOBODY, "x"))
    assert "token-of-the-task" not in repr([*answers, str(raised.value)])
