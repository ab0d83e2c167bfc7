"""Cases of quarantined records: each is in exactly one, whatever is cut and whatever is decided meanwhile."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stream_redrive.core.case_records import records_digest
from stream_redrive.core.cases import Action, Case, CaseStatus, Decision, Person
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import ServiceUnreachable, WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.notices import format_time, parse_time
from stream_redrive.core.ports import MAX_PIECES, CaseChange, HandOver
from stream_redrive.core.quarantine import QuarantineManifest
from stream_redrive.core.records import Origin
from tests.support.build import CONSUMER, STREAM_ARN, incident, notice_of
from tests.support.cuts import Cuts
from tests.support.interleaving import Interleaving
from tests.support.memory import START, MemoryVault
from tests.support.memory_cases import MemoryCaseStore
from tests.support.scene import STREAM_NAME, Scene

TWO_KINDS: dict[str, Any] = {"decoder": "json", "schema": {"required": ["n"]}}
CLOSED_TO_JOINS = [status for status in CaseStatus if status is not CaseStatus.OPEN]


def lines_of(scene: Scene, failed: Incident) -> list[dict[str, Any]]:
    written = QuarantineManifest.load(scene.vault, failed).chunks
    return [json.loads(line) for c in written for line in gzip.decompress(scene.vault.get(c.key)).splitlines()]


def case_ids(scene: Scene, failed: Incident) -> list[str]:
    return [line["case_id"] for line in lines_of(scene, failed)]


def move(scene: Scene, case: Case, status: CaseStatus, **fields: Any) -> Case:
    moved = replace(case, revision=case.revision + 1, status=status, **fields)
    assert scene.cases.commit(CaseChange(moved))
    return moved


def the_only(scene: Scene) -> Case:
    [case] = scene.cases.all.values()
    return case


def decision(action: Action) -> Decision:
    return Decision(action, "digest", "reason", "", 1, "work", "stream", 0.25, "1", Person("arn"), format_time(START))


def in_small_chunks(scene: Scene, count: int) -> Incident:
    """An incident of as many chunks as records."""
    scene.stream.page_size = 1
    failed = incident(*(notice_of([record]) for record in scene.produce(*[b"x"] * count)))
    scene.clock.limit = scene.clock.time
    while scene.capture(failed).more:
        pass
    scene.classify(failed)
    return failed


# what a case is made of


def test_a_case_says_what_failed_first_and_until_when_a_person_can_decide() -> None:
    scene = Scene(default="held", approval={"reminder_hours": 6, "expire_days": 3})
    produced = scene.produce(b"a", b"b", b"c")
    failed = scene.fail(produced)
    scene.quarantine(failed)
    case, verdict = the_only(scene), scene.verdicts(failed)[0]
    assert case.id == f"{verdict.fingerprint}-1"
    assert (case.consumer, case.stream_arn, case.status, case.previous) == (
        CONSUMER,
        STREAM_ARN,
        CaseStatus.OPEN,
        None,
    )
    assert (case.verdict, case.rule, case.reason) == ("held", "default", verdict.reason)
    assert (case.records, case.revision) == (3, 1)
    assert case.opened_at == case.last_joined_at == format_time(scene.clock.now())
    assert parse_time(case.remind_at) == START + timedelta(hours=6)
    assert parse_time(case.expires_at) == START + timedelta(days=3)
    assert list(scene.cases.hand_overs()) == [(case.id, HandOver.START)]
    [event] = scene.cases.events(case.id)
    assert (event.kind, event.details) == ("opened", {"incident_id": failed.id, "records": 3})


def test_nobody_is_reminded_after_the_case_has_expired() -> None:
    scene = Scene(default="held", approval={"reminder_hours": 100, "expire_days": 2})
    scene.quarantine(scene.fail(scene.produce(b"x")))
    assert the_only(scene).remind_at == the_only(scene).expires_at


def test_a_piece_names_its_lines_and_a_digest_of_places_and_payloads() -> None:
    scene = Scene(**TWO_KINDS)
    produced = scene.produce(b"bad", b'{"n": 1}', b"{}", b"worse")
    failed = scene.fail(produced)
    scene.quarantine(failed)
    lines = lines_of(scene, failed)
    pieces = [piece for name in scene.cases.all for piece in scene.cases.pieces(name)]
    assert sorted(line for piece in pieces for line in piece.lines) == [0, 1, 2]
    for piece in pieces:
        assert (piece.bucket, piece.key, piece.index) == ("vault", VaultKeys(failed).quarantine_chunk(0), 0)
        assert piece.digest == records_digest([lines[number] for number in piece.lines])
        assert {lines[number]["case_id"] for number in piece.lines} == {
            scene.cases.joined(failed.id)[0, lines[piece.lines[0]]["verdict"]["fingerprint"]]
        }
    other = {**lines[0], "sha256": lines[1]["sha256"]}
    assert records_digest([other]) != records_digest([lines[0]])
    assert records_digest(lines) != records_digest(lines[::-1])


def test_records_that_fail_alike_are_one_case_however_many_incidents_bring_them() -> None:
    scene = Scene(**TWO_KINDS)
    incidents = [scene.fail(scene.produce(b"bad", b"{}", b"worse", b'{"n": 1}')) for _ in range(3)]
    for failed in incidents:
        scene.clock.sleep(60)
        scene.quarantine(failed)
    joined = Counter(name for failed in incidents for name in case_ids(scene, failed))
    assert {name: case.records for name, case in scene.cases.all.items()} == joined
    assert sorted(joined.values()) == [3, 6]
    for name, case in scene.cases.all.items():
        assert case.revision == 3
        assert case.last_joined_at == format_time(scene.clock.now())
        assert [event.kind for event in scene.cases.events(name)] == ["opened", "joined", "joined"]


def test_thousands_of_equal_records_are_a_handful_of_writes_to_their_case() -> None:
    scene = Scene(default="held")
    for _ in range(5):
        scene.quarantine(scene.fail(scene.produce(*[b"x"] * 2_000)))
    case = the_only(scene)
    assert case.records == 10_000
    assert scene.cases.writes[case.id] == 5


def test_more_chunks_than_a_transaction_takes_join_in_several() -> None:
    scene = Scene(default="held")
    failed = in_small_chunks(scene, 2 * MAX_PIECES + 1)
    scene.quarantine(failed)
    case = the_only(scene)
    assert (case.records, case.revision) == (2 * MAX_PIECES + 1, 3)
    assert [piece.index for piece in scene.cases.pieces(case.id)] == list(range(2 * MAX_PIECES + 1))
    assert len(scene.cases.events(case.id)) == 3


# what comes between


@pytest.mark.parametrize("status", CLOSED_TO_JOINS)
def test_a_frozen_case_takes_no_more_and_the_next_one_is_linked_to_it(status: CaseStatus) -> None:
    scene = Scene(default="held")
    scene.quarantine(scene.fail(scene.produce(b"x")))
    frozen = move(scene, the_only(scene), status)
    failed = scene.fail(scene.produce(b"y", b"z"))
    scene.quarantine(failed)
    [name] = set(case_ids(scene, failed))
    following = scene.cases.all[name]
    assert (following.generation, following.previous, following.records) == (2, frozen.id, 2)
    assert scene.cases.all[frozen.id] == frozen


@pytest.mark.parametrize("status", CLOSED_TO_JOINS)
def test_a_decision_between_the_object_and_the_join_sends_the_records_to_the_next_case(status: CaseStatus) -> None:
    scene = Scene(default="held")
    earlier = scene.fail(scene.produce(b"x"))
    scene.quarantine(earlier)
    first = the_only(scene)
    failed = scene.fail(scene.produce(b"y", b"z"))
    cut_before_the_join(scene, failed)
    assert list(scene.cases.joined(failed.id)) == []
    assert VaultKeys(failed).quarantine_chunk(0) in scene.vault.objects
    frozen = move(scene, first, status)
    scene.quarantine(failed)
    assert set(case_ids(scene, failed)) == {f"{first.fingerprint}-2"}
    assert scene.cases.all[first.id] == frozen
    assert_consistent(scene, [earlier, failed])


def cut_before_the_join(scene: Scene, failed: Incident) -> None:
    class Unreachable(MemoryCaseStore):
        def __getattribute__(self, name: str) -> Any:
            if name in ("join", "commit"):
                raise ServiceUnreachable(name)
            return getattr(held, name)

    held, scene.cases = scene.cases, Unreachable()
    with pytest.raises(ServiceUnreachable):
        scene.quarantine(failed)
    scene.cases = held


def test_records_that_have_joined_stay_in_their_case_whatever_becomes_of_it() -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(b"x"))
    cut_after_the_join(scene, failed)
    move(scene, the_only(scene), CaseStatus.DECIDED)
    scene.quarantine(failed)
    assert case_ids(scene, failed) == list(scene.cases.all)
    [message] = scene.queue.messages.values()
    assert message.attributes["case_id"] == the_only(scene).id


def cut_after_the_join(scene: Scene, failed: Incident) -> None:
    for call in range(1, 50):
        with pytest.raises(ServiceUnreachable):
            scene.quarantine(failed, Cuts({call: True}))
        if scene.cases.joined(failed.id):
            return


@pytest.mark.parametrize(
    ("action", "sent"), [(Action.REDRIVE, 0), (Action.EDIT, 0), (Action.DISCARD, 0), (Action.KEEP, 1)]
)
def test_no_message_asks_for_a_decision_that_was_carried_out(action: Action, sent: int) -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(b"x"))
    cut_after_the_join(scene, failed)
    move(scene, the_only(scene), CaseStatus.CLOSED, decision=decision(action))
    marks = dict(scene.ledger.quarantined)
    scene.quarantine(failed)
    assert len(scene.queue.messages) == sent
    assert scene.ledger.quarantined == marks


def test_the_marks_of_records_are_written_before_anybody_can_decide_about_them() -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(b"x"))

    class Watched(MemoryCaseStore):
        def commit(self, change: CaseChange) -> bool:
            assert len(scene.ledger.quarantined) == 1
            scene.ledger.quarantined.clear()
            return super().commit(change)

    scene.cases = Watched()
    scene.quarantine(failed)
    assert scene.ledger.quarantined == {}, "and not again afterwards"


def test_cases_that_are_closed_faster_than_they_are_joined_are_a_conflict() -> None:
    scene = Scene(default="held")

    class Closing(MemoryCaseStore):
        def commit(self, change: CaseChange) -> bool:
            opened = replace(change.case, records=0)
            assert super().commit(CaseChange(opened))
            return super().commit(CaseChange(replace(opened, revision=2, status=CaseStatus.CLOSED))) and False

    scene.cases = Closing()
    with pytest.raises(WriteConflict, match="faster"):
        scene.quarantine(scene.fail(scene.produce(b"x")))


def test_a_chunk_whose_object_names_no_case_yet_gets_one() -> None:
    scene = Scene(default="held")
    failed = scene.fail(scene.produce(b"x", b"y"))
    cut_before_the_join(scene, failed)
    key = VaultKeys(failed).quarantine_chunk(0)
    old = [{**json.loads(line), "case_id": None} for line in gzip.decompress(scene.vault.get(key)).splitlines()]
    scene.vault.put(key, gzip.compress("".join(json.dumps(line) + "\n" for line in old).encode()))
    scene.quarantine(failed)
    assert case_ids(scene, failed) == [the_only(scene).id] * 2
    assert_consistent(scene, [failed])


# many runs at once


def assert_consistent(scene: Scene, incidents: list[Incident]) -> None:
    """Every quarantined record is in exactly one case, and everything that names its case names that one."""
    places: Counter[tuple[str, int]] = Counter()
    for name, case in scene.cases.all.items():
        pieces = scene.cases.pieces(name)
        assert case.records == sum(len(piece.lines) for piece in pieces), "the count is that of its pieces"
        for piece in pieces:
            body = list(map(json.loads, gzip.decompress(scene.vault.get(piece.key)).splitlines()))
            assert {body[number]["case_id"] for number in piece.lines} == {name}
            assert piece.digest == records_digest([body[number] for number in piece.lines])
            places.update((piece.key, number) for number in piece.lines)
    expected = [
        (chunk.key, number)
        for failed in incidents
        for chunk in QuarantineManifest.load(scene.vault, failed).chunks
        for number in range(chunk.records)
    ]
    assert places == Counter(expected)
    for failed in incidents:
        for line in lines_of(scene, failed):
            marks = [mark for (_, place), mark in scene.ledger.quarantined.items() if number_of(line) == place]
            assert [mark.case for mark in marks] == [line["case_id"]]
        assert set(QuarantineManifest.load(scene.vault, failed).cases) == set(case_ids(scene, failed))
    for message in scene.queue.messages.values():
        body = json.loads(message.body)
        place = (body["payload"]["s3"]["key"], body["payload"]["s3"]["line"])
        [line] = [json.loads(t) for t in [gzip.decompress(scene.vault.get(place[0])).splitlines()[place[1]]]]
        assert body["case_id"] == body["record"]["case_id"] == message.attributes["case_id"] == line["case_id"]
    assert len({stream for stream, _ in scene.ledger.quarantined}) == 1
    assert next(iter(scene.ledger.quarantined))[0] == STREAM_NAME


def number_of(line: dict[str, Any]) -> object:
    return Origin(line["shard_id"], line["sequence_number"])


def decide(scene: Scene, store: MemoryCaseStore, fingerprints: set[str], chance: random.Random) -> None:
    """Somebody decides about whatever is open, and with some decisions leaves records over."""
    for _ in range(4):
        for kind in sorted(fingerprints):
            case = store.latest(kind)
            if case is None or case.status is not CaseStatus.OPEN or chance.random() < 0.3:
                continue
            decided = replace(case, revision=case.revision + 1, status=CaseStatus.DECIDED)
            successor = None
            if chance.random() < 0.5:
                successor = replace(
                    case,
                    id=f"{kind}-{case.generation + 1}",
                    generation=case.generation + 1,
                    revision=1,
                    records=0,
                    previous=case.id,
                    left_over_of=case.id,
                )
            store.commit(CaseChange(decided, successor=successor))


def test_a_run_that_comes_late_does_not_rename_what_another_has_joined() -> None:
    scene = Scene(default="held")
    earlier, failed = scene.fail(scene.produce(b"w")), scene.fail(scene.produce(b"x"))
    scene.quarantine(earlier)
    cut_before_the_join(scene, failed)
    first = move(scene, the_only(scene), CaseStatus.DECIDED)
    between = scene.fail(scene.produce(b"y"))
    late = Scene(default="held")
    late.ledger, late.queue, late.cases, late.clock = scene.ledger, scene.queue, scene.cases, scene.clock

    class Stalled(MemoryVault):
        def revise(self, key: str, change: Callable[[bytes], bytes]) -> bytes:
            """The second case comes and goes, and another run joins the third, before this run goes on."""
            scene.quarantine(between)
            move(scene, scene.cases.all[f"{first.fingerprint}-2"], CaseStatus.DECIDED)
            scene.quarantine(failed)
            super().revise(key, change)
            raise ServiceUnreachable("killed")

    late.vault = Stalled()
    late.vault.objects = scene.vault.objects
    with pytest.raises(ServiceUnreachable):
        late.quarantine(failed)
    assert case_ids(scene, failed) == [f"{first.fingerprint}-3"]
    assert_consistent(scene, [earlier, between, failed])


def in_some_order(seed: int) -> tuple[Scene, list[Incident]]:
    """Two runs of one incident's step, one of another's, each cut somewhere and run again, and decisions meanwhile."""
    order, chance = Interleaving(seed), random.Random(seed)
    scene, guarded = Scene(**TWO_KINDS), Scene(**TWO_KINDS)
    first, second = (scene.fail(scene.produce(b"bad", b"{}", b'{"n": 1}', b"worse")) for _ in range(2))
    kinds = {v.fingerprint for v in scene.verdicts(first) if v.fingerprint}
    assert len(kinds) == 2
    guarded.clock = scene.clock
    ports = (scene.vault, scene.ledger, scene.queue, scene.cases)
    guarded.vault, guarded.ledger, guarded.queue, guarded.cases = map(order.guard, ports)

    def cut_and_again(failed: Incident) -> None:
        try:
            guarded.quarantine(failed, Cuts({chance.randrange(1, 40): chance.random() < 0.5}))
        except ServiceUnreachable:
            guarded.quarantine(failed)

    order.run(
        lambda: cut_and_again(first),
        lambda: cut_and_again(first),
        lambda: cut_and_again(second),
        lambda: decide(scene, guarded.cases, kinds, chance),
    )
    return scene, [first, second]


@pytest.mark.parametrize("seeds", [range(start, start + 50) for start in range(0, 300, 50)], ids=lambda s: f"{s[0]}")
def test_no_record_slips_between_a_decision_and_the_next_case_in_any_order_of_things(seeds: range) -> None:
    for seed in seeds:
        try:
            assert_consistent(*in_some_order(seed))
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc
