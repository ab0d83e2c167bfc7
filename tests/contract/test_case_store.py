"""What every case store does."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.core.cases import Action, Case, CaseEvent, CaseStatus, Decision, Note, Person, Piece, case_id
from stream_redrive.core.ports import CaseChange, CaseStore, HandOver
from tests.support.build import CONSUMER, SHARD_ID, STREAM_ARN
from tests.support.cloud import TABLE, create_table
from tests.support.memory import MemoryClock
from tests.support.memory_cases import MemoryCaseStore

KIND, OTHER_KIND = "0123456789abcdef", "fedcba9876543210"
ALICE, BOB = (Person(f"arn:aws:sts::1:assumed-role/oncall/{name}") for name in ("alice", "bob"))
DECISION = Decision(
    action=Action.REDRIVE,
    digest="d" * 64,
    reason="the table is there again",
    ticket="OPS-7",
    records=3,
    work="cases/1/2/chunks.json",
    target="stream",
    pace=0.25,
    policy_version="7",
    by=ALICE,
    at="2026-01-05T13:00:00.000Z",
)


@pytest.fixture
def store(implementation: str) -> CaseStore:
    if implementation == "memory":
        return MemoryCaseStore()
    create_table(boto3.client("dynamodb"))
    return DynamoCaseStore(clients.dynamodb(), TABLE, MemoryClock())


def case(kind: str = KIND, generation: int = 1, **fields: Any) -> Case:
    defaults: dict[str, Any] = {
        "consumer": CONSUMER,
        "stream_arn": STREAM_ARN,
        "verdict": "poison",
        "rule": "payload-decode",
        "reason": "no JSON",
        "error_type": "ValueError",
        "message": "<value> is none",
        "status": CaseStatus.OPEN,
        "revision": 1,
        "records": 0,
        "opened_at": moment(0),
        "last_joined_at": moment(0),
        "expires_at": "2026-01-19T12:00:00.000Z",
        "remind_at": "2026-01-06T12:00:00.000Z",
    }
    return Case(case_id(kind, generation), kind, generation, **{**defaults, **fields})


def moment(second: int) -> str:
    return f"2026-01-05T12:00:{second:02}.000Z"


def piece(index: int, incident: str = "one", lines: tuple[int, ...] = (0, 1, 2, 7)) -> Piece:
    return Piece(
        incident,
        index,
        "vault",
        f"quarantine/{incident}/{index}",
        SHARD_ID,
        lines,
        f"digest-{index}",
        moment(0),
        moment(1),
    )


def event(kind: str, second: int = 0, operation: str = "op", **fields: Any) -> CaseEvent:
    return CaseEvent(operation, moment(second), kind, ALICE.arn, "api", **fields)


def opened(store: CaseStore, kind: str = KIND, generation: int = 1, **fields: Any) -> Case:
    """Open a case; it is as it was stored."""
    made = case(kind, generation, **fields)
    assert store.commit(CaseChange(made))
    return made


def changed(store: CaseStore, before: Case, **fields: Any) -> Case:
    """Commit a change to a case; it is as it was stored."""
    after = replace(before, revision=before.revision + 1, **fields)
    assert store.commit(CaseChange(after))
    return after


def the(found: Case | None) -> Case:
    assert found is not None
    return found


# opening and changing


def test_there_is_no_case_before_one_is_opened(store: CaseStore) -> None:
    assert store.case(case_id(KIND, 1)) is None
    assert store.latest(KIND) is None
    assert store.cases(every=True, limit=9, after=None) == ([], None)


def test_every_field_of_a_case_comes_back(store: CaseStore) -> None:
    proposal = replace(DECISION, action=Action.EDIT, approved_by=BOB, approved_at=moment(9))
    full = opened(
        store,
        previous=case_id(KIND, 0),
        left_over_of=case_id(KIND, 0),
        records=17,
        proposal=proposal,
        decision=DECISION,
        closed_at=moment(8),
        outcome={"sent": 3, "failed_again": 1},
    )
    assert store.case(full.id) == store.latest(KIND) == full


def test_generations_follow_each_other_without_a_gap_and_only_once(store: CaseStore) -> None:
    assert not store.commit(CaseChange(case(generation=2)))
    first = opened(store, records=4)
    for generation in (1, 3):
        assert not store.commit(CaseChange(case(generation=generation)))
    second = opened(store, generation=2)
    assert store.latest(KIND) == second
    assert store.case(first.id) == first
    assert store.latest(OTHER_KIND) is None


def test_a_change_is_made_over_the_revision_that_was_read_only(store: CaseStore) -> None:
    first = opened(store)
    second = changed(store, first, status=CaseStatus.PROPOSED, proposal=DECISION)
    for revision in (1, 2, 4):
        assert not store.commit(CaseChange(replace(first, revision=revision, status=CaseStatus.DECIDED)))
    assert store.case(first.id) == second
    assert changed(store, second, status=CaseStatus.DECIDED).revision == 3


def test_a_case_that_is_not_there_is_not_changed(store: CaseStore) -> None:
    assert not store.commit(CaseChange(case(revision=2)))
    assert store.case(case_id(KIND, 1)) is None


def test_of_two_equal_changes_one_is_made(store: CaseStore) -> None:
    opening = CaseChange(case(records=4), pieces=[piece(0)])
    assert store.commit(opening)
    assert not store.commit(replace(opening, pieces=[piece(0, "two")]))
    change = CaseChange(replace(opening.case, revision=2, status=CaseStatus.DECIDED, decision=DECISION))
    assert [store.commit(change) for _ in range(3)] == [True, False, False]
    assert the(store.case(opening.case.id)).revision == 2
    assert store.joined("two") == {}


def test_of_a_change_that_is_refused_nothing_is_kept(store: CaseStore) -> None:
    first = opened(store)
    changed(store, first, records=1)
    change = CaseChange(
        replace(first, revision=2, status=CaseStatus.CLOSED),
        pieces=[piece(0)],
        taken_over=[piece(1)],
        successor=case(generation=2),
        successor_events=[event("opened")],
        events=[event("decided")],
        hand_overs=[HandOver.DECIDED],
    )
    assert not store.commit(change)
    assert the(store.case(first.id)).status is CaseStatus.OPEN
    assert store.case(case_id(KIND, 2)) is None
    assert list(store.pieces(first.id)) == []
    assert store.joined("one") == {}
    assert list(store.events(first.id)) == []
    assert list(store.hand_overs()) == [(first.id, HandOver.START)]


# records


def test_records_that_join_are_counted_marked_and_found(store: CaseStore) -> None:
    first = opened(store)
    assert store.join(first, [piece(0), piece(3, lines=(4,))], [event("joined", 5)], moment(5))
    held = the(store.case(first.id))
    assert (held.records, held.revision, held.last_joined_at) == (5, 2, moment(5))
    assert replace(held, records=0, revision=1, last_joined_at=moment(0)) == first
    assert list(store.pieces(first.id)) == [piece(0), piece(3, lines=(4,))]
    assert store.joined("one") == {(0, KIND): first.id, (3, KIND): first.id}
    assert list(store.events(first.id)) == [event("joined", 5)]


def test_pieces_are_in_the_order_of_incident_and_chunk(store: CaseStore) -> None:
    first = opened(store)
    for index, incident in ((10, "two"), (9, "two"), (100, "one"), (99, "one")):
        assert store.join(first, [piece(index, incident)], [], moment(1))
    order = [(found.incident_id, found.index) for found in store.pieces(first.id)]
    assert order == [("one", 99), ("one", 100), ("two", 9), ("two", 10)]


def test_forty_pieces_join_at_once_whatever_their_lines(store: CaseStore) -> None:
    pieces = [piece(index, lines=tuple(range(0, 500, 2))) for index in range(80)]
    first = case(records=40 * 250)
    assert store.commit(CaseChange(first, pieces=pieces[:40], events=[event("opened"), event("joined")]))
    assert store.join(first, pieces[40:], [event("joined", 1)], moment(1))
    assert list(store.pieces(first.id)) == pieces
    assert the(store.case(first.id)).records == 80 * 250
    assert len(store.joined("one")) == 80


def test_a_join_does_not_mind_that_the_case_was_changed_meanwhile(store: CaseStore) -> None:
    first = opened(store)
    changed(store, first, remind_at=moment(9))
    assert store.join(first, [piece(0)], [], moment(1))
    held = the(store.case(first.id))
    assert (held.revision, held.remind_at, held.records) == (3, moment(9), 4)


@pytest.mark.parametrize("status", [status for status in CaseStatus if status is not CaseStatus.OPEN])
def test_a_case_takes_records_while_it_is_open_only(store: CaseStore, status: CaseStatus) -> None:
    first = opened(store)
    frozen = changed(store, first, status=status)
    assert not store.join(first, [piece(0)], [event("joined")], moment(1))
    assert store.case(first.id) == frozen
    assert list(store.pieces(first.id)) == []
    assert store.joined("one") == {}
    assert list(store.events(first.id)) == []


def test_a_case_that_is_not_there_takes_none(store: CaseStore) -> None:
    assert not store.join(case(), [piece(0)], [], moment(1))
    assert store.case(case_id(KIND, 1)) is None


def test_records_join_once_however_often_they_are_told_to(store: CaseStore) -> None:
    first = opened(store)
    for _ in range(3):
        assert store.join(first, [piece(0), piece(1)], [event("joined")], moment(1))
    assert (the(store.case(first.id)).records, the(store.case(first.id)).revision) == (8, 2)
    changed(store, the(store.case(first.id)), status=CaseStatus.DECIDED)
    assert store.join(first, [piece(0), piece(1)], [], moment(2)), "they are in it, whatever became of it"


def test_records_that_are_in_a_case_join_no_other(store: CaseStore) -> None:
    first = opened(store)
    assert store.join(first, [piece(0)], [], moment(1))
    changed(store, the(store.case(first.id)), status=CaseStatus.DECIDED)
    second = opened(store, generation=2)
    assert not store.join(second, [piece(0), piece(1)], [], moment(2))
    assert not store.commit(CaseChange(replace(second, revision=2, records=4), pieces=[piece(0)]))
    assert store.case(second.id) == second
    assert list(store.pieces(second.id)) == []
    assert store.joined("one") == {(0, KIND): first.id}


def test_of_pieces_that_are_in_the_case_in_part_none_joins(store: CaseStore) -> None:
    first = opened(store)
    assert store.join(first, [piece(0)], [], moment(1))
    assert not store.join(first, [piece(0), piece(1)], [], moment(2))
    assert the(store.case(first.id)).records == 4


def test_records_of_one_chunk_may_be_in_cases_of_several_kinds(store: CaseStore) -> None:
    first, other = opened(store), opened(store, OTHER_KIND)
    assert store.join(first, [piece(0, lines=(0,))], [], moment(1))
    assert store.join(other, [piece(0, lines=(1,))], [], moment(1))
    assert store.joined("one") == {(0, KIND): first.id, (0, OTHER_KIND): other.id}
    assert store.joined("on") == {}


def test_a_case_is_opened_with_its_first_records(store: CaseStore) -> None:
    first = case(records=4)
    assert store.commit(CaseChange(first, pieces=[piece(0)], events=[event("opened")]))
    assert store.case(first.id) == first
    assert list(store.pieces(first.id)) == [piece(0)]
    assert store.joined("one") == {(0, KIND): first.id}
    assert not store.commit(CaseChange(case(OTHER_KIND, generation=2), pieces=[piece(1)]))
    assert store.joined("one") == {(0, KIND): first.id}


# what a decision leaves over


def test_a_successor_is_opened_with_the_decision(store: CaseStore) -> None:
    first = opened(store)
    decided = replace(first, revision=2, status=CaseStatus.DECIDED, decision=DECISION)
    successor = case(generation=2, previous=first.id, left_over_of=first.id)
    change = CaseChange(
        decided, successor=successor, successor_events=[event("opened", 1)], hand_overs=[HandOver.DECIDED]
    )
    assert store.commit(change)
    assert store.case(first.id) == decided
    assert store.latest(KIND) == successor
    assert list(store.events(successor.id)) == [event("opened", 1)]
    assert sorted(store.hand_overs()) == [
        (first.id, HandOver.DECIDED),
        (first.id, HandOver.START),
        (successor.id, HandOver.START),
    ]


def test_what_is_taken_over_keeps_its_marks(store: CaseStore) -> None:
    first = opened(store)
    assert store.join(first, [piece(0)], [], moment(1))
    changed(store, the(store.case(first.id)), status=CaseStatus.DECIDED)
    second = opened(store, generation=2, left_over_of=first.id)
    rest = piece(0, lines=(7,))
    assert store.commit(CaseChange(replace(second, revision=2, left_over_of=None, records=1), taken_over=[rest]))
    assert list(store.pieces(second.id)) == [rest]
    assert list(store.pieces(first.id)) == [piece(0)]
    assert store.joined("one") == {(0, KIND): first.id}


# lists


def pages(store: CaseStore, *, every: bool, limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = None
    while True:
        page, after = store.cases(every=every, limit=limit, after=after)
        found.append([listed.id for listed in page])
        if after is None:
            return found


def test_cases_are_listed_page_by_page_and_none_twice(store: CaseStore) -> None:
    cases = [opened(store, f"{n:016}", opened_at=moment(n)) for n in range(5)]
    ids = [made.id for made in cases]
    assert pages(store, every=False, limit=2) == [ids[:2], ids[2:4], ids[4:]]
    assert pages(store, every=True, limit=5) == [ids[::-1]]
    assert pages(store, every=True, limit=4) == [ids[:0:-1], ids[:1]]


def test_a_list_shows_cases_as_they_are(store: CaseStore) -> None:
    first = opened(store)
    store.join(first, [piece(0)], [], moment(1))
    [listed], _ = store.cases(every=False, limit=9, after=None)
    assert listed == store.case(first.id)


def test_what_has_ended_is_listed_only_where_every_case_is_asked_for(store: CaseStore) -> None:
    statuses = list(CaseStatus)
    made = [opened(store, f"{n:016}", opened_at=moment(n)) for n in range(len(statuses))]
    for found, status in zip(made, statuses, strict=True):
        changed(store, found, status=status)
    [live] = pages(store, every=False, limit=9)
    assert live == [made[n].id for n in range(3)]
    [every] = pages(store, every=True, limit=9)
    assert every == [found.id for found in made[::-1]]


def test_cases_of_one_moment_are_listed_in_one_order(store: CaseStore) -> None:
    ids = [opened(store, f"{n:016}").id for n in range(3)]
    assert pages(store, every=False, limit=1) == [[name] for name in ids]


# history and notes


def test_every_field_of_an_event_comes_back_and_the_history_is_in_order(store: CaseStore) -> None:
    full = event("denied", 9, before="open", after="open", digest="d", policy_version="7", details={"why": "stranger"})
    first = opened(store)
    store.record_event(first.id, full)
    store.record_event(first.id, event("viewed", 2))
    store.record_event(first.id, event("noted", 5))
    assert list(store.events(first.id)) == [event("viewed", 2), event("noted", 5), full]


def test_events_of_one_moment_are_all_kept(store: CaseStore) -> None:
    first = opened(store)
    events = [event("viewed", operation=name) for name in ("a", "b")] + [event("planned", operation="b")]
    for happened in events:
        store.record_event(first.id, happened)
    store.record_event(first.id, events[0])
    assert sorted(store.events(first.id), key=lambda e: (e.operation, e.kind)) == [events[0], events[2], events[1]]


def test_an_event_may_be_of_no_case(store: CaseStore) -> None:
    store.record_event(None, event("denied", details={"why": "no such case"}))
    assert list(store.events("None")) == []


def test_notes_are_only_ever_added(store: CaseStore) -> None:
    first = opened(store)
    notes = [Note(moment(1), ALICE, "looks like the new release"), Note(moment(2), BOB, "it is")]
    for number, note in enumerate(notes[::-1]):
        store.add_note(first.id, note, event("noted", operation=f"op-{number}"))
    assert list(store.notes(first.id)) == notes
    same_time = Note(moment(2), ALICE, "thanks")
    store.add_note(first.id, same_time, event("noted", operation="op-9"))
    assert [note.text for note in store.notes(first.id)][:1] == [notes[0].text]
    assert set(store.notes(first.id)) == {*notes, same_time}
    assert len(store.events(first.id)) == 3
    assert store.case(first.id) == first


# what workflows are told


def test_a_case_that_is_opened_is_handed_over_until_it_was_heard(store: CaseStore) -> None:
    first, other = opened(store), opened(store, OTHER_KIND)
    assert sorted(store.hand_overs()) == sorted((made.id, HandOver.START) for made in (first, other))
    for _ in range(2):
        store.delivered(first.id, HandOver.START)
    assert list(store.hand_overs()) == [(other.id, HandOver.START)]


def test_a_decision_is_handed_over_beside_the_start(store: CaseStore) -> None:
    first = opened(store)
    assert store.commit(
        CaseChange(replace(first, revision=2, status=CaseStatus.DECIDED), hand_overs=[HandOver.DECIDED])
    )
    store.delivered(first.id, HandOver.START)
    assert list(store.hand_overs()) == [(first.id, HandOver.DECIDED)]


def test_a_proposal_that_came_after_what_was_told_is_still_to_be_told(store: CaseStore) -> None:
    first = opened(store)
    store.delivered(first.id, HandOver.START)
    for revision in (2, 3):
        proposed = replace(first, revision=revision, status=CaseStatus.PROPOSED)
        assert store.commit(CaseChange(proposed, hand_overs=[HandOver.PROPOSED]))
    store.delivered(first.id, HandOver.PROPOSED, 2)
    assert list(store.hand_overs()) == [(first.id, HandOver.PROPOSED)]
    for _ in range(2):
        store.delivered(first.id, HandOver.PROPOSED, 3)
    assert list(store.hand_overs()) == []


def test_the_last_token_counts_and_shows_nowhere_else(store: CaseStore) -> None:
    first = opened(store)
    assert store.token(first.id) is None
    for token in ("first-token", "second-token"):
        store.save_token(first.id, token)
    assert store.token(first.id) == "second-token"
    assert store.token(case_id(OTHER_KIND, 1)) is None
    assert "token" not in repr((store.case(first.id), store.events(first.id), store.hand_overs(), store.joined("one")))


def test_revisions_count_every_change_and_every_join(store: CaseStore) -> None:
    first = opened(store)
    revisions = [first.revision]
    for index in range(3):
        assert store.join(first, [piece(index)], [], moment(index))
        revisions.append(the(store.case(first.id)).revision)
        revisions.append(changed(store, the(store.case(first.id))).revision)
    assert all(later == earlier + 1 for earlier, later in pairwise(revisions))
