"""What every ledger does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.ports import Ledger, QuarantinedRecord, RedriveCursor, RedrivenCopy
from stream_redrive.core.records import Lineage, Origin
from tests.support.build import SHARD_ID
from tests.support.cloud import TABLE, create_table
from tests.support.memory import START, MemoryClock, MemoryLedger

SHARD = f"consumer#stream#{SHARD_ID}"
STREAM = "orders-stream"
OTHER_SHARD = "shardId-000000000001"
HIGH = 10**55  # of the size of a real sequence number


@dataclass
class Ledgers:
    """A ledger, and what of its quarantine marks no port reads: (stream, place) to mark."""

    ledger: Ledger
    quarantined: Callable[[], dict[tuple[str, Origin], QuarantinedRecord]]


@pytest.fixture
def ledgers(implementation: str) -> Ledgers:
    if implementation == "memory":
        memory = MemoryLedger()
        return Ledgers(memory, lambda: memory.quarantined)
    create_table(boto3.client("dynamodb"))
    return Ledgers(DynamoLedger(clients.dynamodb(), TABLE, MemoryClock()), scan_quarantine)


@pytest.fixture
def ledger(ledgers: Ledgers) -> Ledger:
    return ledgers.ledger


def scan_quarantine() -> dict[tuple[str, Origin], QuarantinedRecord]:
    pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=TABLE)
    found: dict[tuple[str, Origin], QuarantinedRecord] = {}
    for item in (item for page in pages for item in page["Items"] if item["sk"]["S"] == "QUARANTINE"):
        _, stream, shard_id, number = item["pk"]["S"].split("#")
        place = Origin(shard_id, number)
        found[stream, place] = QuarantinedRecord(
            place,
            Origin(item["origin_shard"]["S"], item["origin_sequence"]["S"]),
            item["rule"]["S"],
            item["verdict"]["S"],
            item["chunk_key"]["S"],
            int(item["line"]["N"]),
            item["case"]["S"],
        )
        assert item["state"]["S"] == "QUARANTINED"
    return found


def ranges(*starts: int) -> list[tuple[str, str]]:
    return [(str(HIGH + start), str(HIGH + start + 5)) for start in starts]


# claims


def test_a_free_notice_is_the_incidents(ledger: Ledger) -> None:
    assert list(ledger.claim("one", SHARD, ranges(1, 2, 3))) == [True, True, True]


def test_a_notice_stays_the_incidents_when_it_claims_again(ledger: Ledger) -> None:
    ledger.claim("one", SHARD, ranges(1, 2))
    assert list(ledger.claim("one", SHARD, ranges(2, 1, 3))) == [True, True, True]


def test_a_notice_of_another_incident_is_not_given_away(ledger: Ledger) -> None:
    ledger.claim("one", SHARD, ranges(2, 4))
    assert list(ledger.claim("two", SHARD, ranges(1, 2, 3, 4, 5))) == [True, False, True, False, True]
    assert list(ledger.claim("one", SHARD, ranges(1, 2, 3, 4, 5))) == [False, True, False, True, False]


def test_nothing_is_claimed_when_nothing_is_asked(ledger: Ledger) -> None:
    assert list(ledger.claim("one", SHARD, [])) == []


@pytest.mark.parametrize("taken", [(0, 99, 100, 109), tuple(range(100))])
def test_any_number_of_notices_is_claimed_whoever_holds_some(ledger: Ledger, taken: tuple[int, ...]) -> None:
    ledger.claim("one", SHARD, ranges(*taken))
    ours = ledger.claim("two", SHARD, ranges(*range(110)))
    assert [n for n, mine in enumerate(ours) if not mine] == list(taken)


def test_claims_of_another_shard_or_consumer_do_not_count(ledger: Ledger) -> None:
    ledger.claim("one", SHARD, ranges(1))
    assert list(ledger.claim("two", SHARD + "1", ranges(1))) == [True]


def test_a_notice_is_its_whole_range(ledger: Ledger) -> None:
    ledger.claim("one", SHARD, [("10", "20")])
    assert list(ledger.claim("two", SHARD, [("10", "19"), ("11", "20"), ("10", "20")])) == [True, True, False]


def test_ranges_are_compared_as_numbers(ledger: Ledger) -> None:
    ledger.claim("one", SHARD, [("7", "9" * 128)])
    assert list(ledger.claim("two", SHARD, [("007", "9" * 128)])) == [False]


def test_the_same_range_twice_is_one_claim(ledger: Ledger) -> None:
    assert list(ledger.claim("one", SHARD, [("1", "5"), ("9", "9"), ("01", "5")])) == [True, True, True]
    assert list(ledger.claim("two", SHARD, [("1", "5"), ("1", "5"), ("2", "5")])) == [False, False, True]


# lineage


def copy(number: int, attempt: int = 1, shard_id: str = SHARD_ID) -> RedrivenCopy:
    place, source = Origin(shard_id, str(HIGH + number)), Origin(SHARD_ID, str(number))
    return RedrivenCopy(place, Lineage(source, attempt), source)


def test_a_record_that_was_never_redriven_has_no_lineage(ledger: Ledger) -> None:
    assert dict(ledger.lineage_of(STREAM, [Origin(SHARD_ID, "1")])) == {}
    assert dict(ledger.lineage_of(STREAM, [])) == {}


def test_hundreds_of_copies_are_found_by_their_places(ledger: Ledger) -> None:
    copies = [copy(n, attempt=n % 3 + 1) for n in range(230)]
    ledger.record_redriven(STREAM, "one", copies)
    strangers = [Origin(SHARD_ID, str(HIGH + n)) for n in range(500, 520)]
    places = [c.place for c in copies] + strangers
    assert dict(ledger.lineage_of(STREAM, iter(places))) == {c.place: c.lineage for c in copies}


def test_a_place_may_be_asked_for_twice(ledger: Ledger) -> None:
    ledger.record_redriven(STREAM, "one", [copy(1)])
    assert dict(ledger.lineage_of(STREAM, [copy(1).place, copy(1).place])) == {copy(1).place: copy(1).lineage}


def test_a_place_is_of_one_stream_and_one_shard(ledger: Ledger) -> None:
    ledger.record_redriven(STREAM, "one", [copy(1)])
    assert dict(ledger.lineage_of("other-stream", [copy(1).place])) == {}
    assert dict(ledger.lineage_of(STREAM, [copy(1, shard_id=OTHER_SHARD).place])) == {}


def test_lineage_written_again_is_the_same(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.record_redriven(STREAM, "one", [copy(n) for n in range(30)])
    assert len(ledger.lineage_of(STREAM, [copy(n).place for n in range(30)])) == 30


# the cursor of a redrive

FULL = RedriveCursor(
    next_chunk=3,
    next_line=17,
    carried=((0, 4), (0, 5), (0, 6), (1, 0), (0, 2), (12, 499)),
    sent=1234,
    open_since=START + timedelta(milliseconds=7),
    open_records=tuple((2, line) for line in range(500)),
)


def test_a_redrive_that_has_not_begun_has_no_cursor(ledger: Ledger) -> None:
    assert ledger.redrive_cursor("one") is None


@pytest.mark.parametrize("cursor", [FULL, RedriveCursor()], ids=["full", "fresh"])
def test_every_field_of_a_cursor_comes_back(ledger: Ledger, cursor: RedriveCursor) -> None:
    saved = ledger.save_redrive_cursor("one", cursor)
    assert saved == ledger.redrive_cursor("one")
    assert saved == RedriveCursor(**{**fields(cursor), "version": 1})
    assert ledger.redrive_cursor("two") is None


def fields(cursor: RedriveCursor) -> dict[str, Any]:
    return {name: getattr(cursor, name) for name in RedriveCursor.__dataclass_fields__}


def test_an_open_call_is_forgotten_when_the_cursor_says_so(ledger: Ledger) -> None:
    saved = ledger.save_redrive_cursor("one", FULL)
    ledger.save_redrive_cursor("one", RedriveCursor(next_chunk=4, version=saved.version))
    assert ledger.redrive_cursor("one") == RedriveCursor(next_chunk=4, version=2)


def test_a_cursor_is_saved_over_the_version_it_was_read_at_only(ledger: Ledger) -> None:
    first = ledger.save_redrive_cursor("one", RedriveCursor())
    second = ledger.save_redrive_cursor("one", RedriveCursor(next_line=2, version=first.version))
    with pytest.raises(WriteConflict):
        ledger.save_redrive_cursor("one", RedriveCursor(next_line=9, version=first.version))
    assert ledger.redrive_cursor("one") == second == RedriveCursor(next_line=2, version=2)


def test_a_cursor_of_a_version_that_never_was_is_not_saved(ledger: Ledger) -> None:
    first = ledger.save_redrive_cursor("one", RedriveCursor())
    with pytest.raises(WriteConflict):
        ledger.save_redrive_cursor("one", RedriveCursor(next_line=9, version=first.version + 1))
    assert ledger.redrive_cursor("one") == first


def test_of_two_runs_that_begin_together_one_wins(ledger: Ledger) -> None:
    ledger.save_redrive_cursor("one", RedriveCursor(next_line=1))
    with pytest.raises(WriteConflict):
        ledger.save_redrive_cursor("one", RedriveCursor(next_line=2))
    assert ledger.save_redrive_cursor("two", RedriveCursor(next_line=2)).version == 1


# quarantine and marks


def quarantined(number: int) -> QuarantinedRecord:
    origin = Origin(SHARD_ID, str(number))
    return QuarantinedRecord(
        Origin(SHARD_ID, str(HIGH + number)), origin, "payload-decode", "poison", "quarantine/a/0", number, "kind-1"
    )


def test_each_quarantined_record_has_its_mark(ledgers: Ledgers) -> None:
    marks = [quarantined(n) for n in range(60)]
    for _ in range(2):
        ledgers.ledger.record_quarantined(STREAM, "one", marks)
    assert ledgers.quarantined() == {(STREAM, mark.place): mark for mark in marks}


def test_a_redriven_record_may_go_to_quarantine(ledgers: Ledgers) -> None:
    redriven, mark = copy(1), quarantined(1)
    assert redriven.place == mark.place
    ledgers.ledger.record_redriven(STREAM, "one", [redriven])
    ledgers.ledger.record_quarantined(STREAM, "two", [mark])
    assert dict(ledgers.ledger.lineage_of(STREAM, [redriven.place])) == {redriven.place: redriven.lineage}
    assert ledgers.quarantined() == {(STREAM, mark.place): mark}


def test_what_is_done_is_remembered_for_its_incident(ledger: Ledger) -> None:
    assert ledger.steps_done("one") == set()
    for step in ("quarantine:00001", "quarantine:00002", "quarantine:00001"):
        ledger.mark_done("one", step)
    ledger.mark_done("two", "quarantine:00009")
    ledger.save_redrive_cursor("one", RedriveCursor())
    assert ledger.steps_done("one") == {"quarantine:00001", "quarantine:00002"}
    assert ledger.steps_done("o") == set()


# Redrives under way


def test_a_redrive_is_open_until_it_is_closed(ledger: Ledger) -> None:
    for incident_id in ("two", "one", "one"):
        ledger.open_redrive("orders", incident_id)
    ledger.open_redrive("flights", "three")
    assert sorted(ledger.open_redrives("orders")) == ["one", "two"]
    ledger.close_redrive("orders", "one")
    assert ledger.open_redrives("orders") == ["two"]


def test_closing_what_is_not_open_changes_nothing(ledger: Ledger) -> None:
    ledger.close_redrive("orders", "one")
    assert ledger.open_redrives("orders") == []


def test_the_copy_that_came_into_quarantine_last_is_known_by_its_origin(ledger: Ledger) -> None:
    origin, first, second = (Origin("shard-1", str(n)) for n in (1, 2, 3))
    never = Origin("shard-1", "9")
    for place in (origin, first, second):
        ledger.record_quarantined("orders", "incident", [entry(place, origin)])
    assert ledger.last_quarantined("orders", [origin, never]) == {origin: second}
    assert ledger.last_quarantined("refunds", [origin]) == {}
    assert ledger.last_quarantined("orders", []) == {}


def test_many_origins_are_looked_up_at_once(ledger: Ledger) -> None:
    pairs = {Origin("shard-1", str(n)): Origin("shard-2", str(n)) for n in range(230)}
    ledger.record_quarantined("orders", "incident", [entry(place, origin) for origin, place in pairs.items()])
    assert ledger.last_quarantined("orders", list(pairs)) == pairs


def test_any_number_of_records_is_marked_as_settled_any_number_of_times(ledger: Ledger) -> None:
    places = [Origin("shard-1", str(n)) for n in range(230)]
    for _ in range(2):
        ledger.mark_settled("orders", [*places, places[0]], "DISCARDED")


def entry(place: Origin, origin: Origin) -> QuarantinedRecord:
    return QuarantinedRecord(place, origin, "rule", "poison", "quarantine/chunk", 0, "kind-1")
