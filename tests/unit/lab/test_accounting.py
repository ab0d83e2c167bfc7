"""The comparison behind the lab report: what is lost, doubled or damaged is found."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from stream_redrive_cli.lab.accounting import (
    Account,
    ChunkLine,
    MissingRange,
    Observation,
    Place,
    StreamRecord,
    account,
)
from stream_redrive_cli.lab.inputs import Fate, Input

GOOD = Place("shard-0", 10)
HEALED = Place("shard-0", 11)
POISON = Place("shard-0", 12)
COPY = Place("shard-0", 20)

PRODUCED = {
    GOOD: Input("good", "a", b"good", Fate.SINK, {"id": "good"}),
    HEALED: Input("good", "b", b"healed", Fate.SINK, {"id": "healed"}),
    POISON: Input("pill", "c", b"poison", Fate.QUARANTINE),
}


def line(place: Place, attempt: int = 0) -> ChunkLine:
    record = PRODUCED[place]
    return ChunkLine(place, attempt, record.partition_key, record.data, hashlib.sha256(record.data).hexdigest())


ALL_WELL = Observation(
    captured=[line(HEALED), line(POISON)],
    quarantined=[line(POISON)],
    sink={"good": {"id": "good"}, "healed": {"id": "healed"}},
    copies=[StreamRecord(COPY, "b", b"healed")],
    lineage={COPY: (HEALED, 1)},
    poison_payloads=[(POISON, b"poison")],
)


def after(**changes: Any) -> Account:
    return account(PRODUCED, replace(ALL_WELL, **changes))


def test_a_run_where_all_went_well_has_nothing_to_tell() -> None:
    result = after()
    assert (result.total.lost, result.duplicates, list(result.problems), result.settled) == (0, 0, [], True)
    assert (result.total.produced, result.total.consumed, result.total.healed) == (3, 2, 1)
    assert (result.total.captured, result.total.redriven, result.total.quarantined) == (2, 1, 1)
    assert result.kinds["pill"].quarantined == result.kinds["pill"].produced == 1


def test_a_record_that_is_nowhere_is_lost() -> None:
    result = after(sink={"good": {"id": "good"}})
    assert result.total.lost == 1
    assert not result.settled


def test_a_sink_item_with_other_content_does_not_count() -> None:
    result = after(sink={"good": {"id": "good"}, "healed": {"id": "healed", "extra": 1}})
    assert result.total.lost == 1
    assert "other content" in result.problems[0]


@pytest.mark.parametrize(
    "damage", [{"data": b"pois0n"}, {"partition_key": "x"}, {"sha256": "0" * 64}], ids=lambda change: next(iter(change))
)
def test_a_damaged_quarantine_copy_does_not_count(damage: dict[str, Any]) -> None:
    result = after(quarantined=[replace(line(POISON), **damage)])
    assert result.total.lost == 1
    assert any("differs" in problem for problem in result.problems)


def test_a_damaged_capture_is_told() -> None:
    result = after(captured=[line(POISON), replace(line(HEALED), data=b"heal3d")])
    assert any("captured record shard-0:11 differs" in problem for problem in result.problems)


def test_a_damaged_copy_in_the_stream_is_told() -> None:
    result = after(copies=[StreamRecord(COPY, "b", b"heal3d")])
    assert any("the copy shard-0:20 differs" in problem for problem in result.problems)


def test_a_record_twice_in_quarantine_is_a_duplicate() -> None:
    assert after(quarantined=[line(POISON), line(POISON)]).duplicates == 1


def test_a_record_in_sink_and_quarantine_is_a_duplicate() -> None:
    result = after(quarantined=[line(POISON), line(GOOD)])
    assert result.duplicates == 1
    assert any("should not be" in problem for problem in result.problems)


def test_the_same_attempt_put_twice_is_a_duplicate() -> None:
    again = Place("shard-1", 21)
    result = after(
        copies=[StreamRecord(COPY, "b", b"healed"), StreamRecord(again, "b", b"healed")],
        lineage={COPY: (HEALED, 1), again: (HEALED, 1)},
    )
    assert result.duplicates == 1


def test_the_next_attempt_is_no_duplicate() -> None:
    again = Place("shard-1", 21)
    result = after(
        copies=[StreamRecord(COPY, "b", b"healed"), StreamRecord(again, "b", b"healed")],
        lineage={COPY: (HEALED, 1), again: (HEALED, 2)},
    )
    assert result.duplicates == 0


def test_a_copy_taken_for_an_original_is_traced_back_and_told() -> None:
    second = Place("shard-1", 30)
    result = after(
        quarantined=[replace(line(POISON), origin=second)],
        copies=[StreamRecord(COPY, "b", b"healed"), StreamRecord(second, "c", b"poison")],
        lineage={COPY: (HEALED, 1), second: (POISON, 1)},
        poison_payloads=[(second, b"poison")],
    )
    assert (result.total.quarantined, result.total.lost) == (1, 0)
    assert any("as if it were an original" in problem for problem in result.problems)


def test_a_copy_that_no_lineage_explains_is_a_duplicate() -> None:
    assert after(lineage={}).duplicates == 1


@pytest.mark.parametrize("messages", [[], [(POISON, b"poison")] * 2, [(POISON, b"other")]])
def test_a_quarantined_record_needs_one_message_with_its_payload(messages: list[tuple[Place, bytes]]) -> None:
    assert any("poison messages" in problem for problem in after(poison_payloads=messages).problems)


def test_a_sink_item_that_nobody_produced_is_told() -> None:
    sink = {**ALL_WELL.sink, "stranger": {"id": "stranger"}}
    assert any("'stranger'" in problem for problem in after(sink=sink).problems)


def test_a_reported_gap_makes_a_record_expired_and_not_lost() -> None:
    result = after(sink={"good": {"id": "good"}}, missing=[MissingRange("shard-0", 11, 11)])
    assert (result.total.expired, result.total.lost) == (1, 0)


def test_a_gap_over_a_copy_makes_its_origin_expired() -> None:
    result = after(sink={"good": {"id": "good"}}, missing=[MissingRange("shard-0", 20, 20)])
    assert (result.total.expired, result.total.lost) == (1, 0)


@pytest.mark.parametrize("gap", [MissingRange("shard-1", 11, 11), MissingRange("shard-0", 12, 19)])
def test_a_gap_elsewhere_excuses_nothing(gap: MissingRange) -> None:
    assert after(sink={"good": {"id": "good"}}, missing=[gap]).total.lost == 1


def test_a_record_that_went_through_is_not_expired_whatever_was_reported() -> None:
    assert after(missing=[MissingRange("shard-0", 10, 20)]).total.expired == 0


def test_what_the_consumer_drops_on_purpose_is_consumed_and_not_lost() -> None:
    place = Place("shard-0", 13)
    produced = {place: Input("unclean", "d", b"#ERR", Fate.DROPPED)}
    result = account(produced, Observation())
    assert (result.total.consumed, result.total.dropped, result.total.lost) == (1, 1, 0)


def test_what_the_consumer_should_have_dropped_is_told_when_quarantined() -> None:
    place = Place("shard-0", 13)
    produced = {place: Input("unclean", "d", b"#ERR", Fate.DROPPED)}
    kept = ChunkLine(place, 0, "d", b"#ERR", hashlib.sha256(b"#ERR").hexdigest())
    result = account(produced, Observation(quarantined=[kept], poison_payloads=[(place, b"#ERR")]))
    assert (result.total.dropped, result.total.quarantined) == (0, 1)
    assert "should not be" in result.problems[0]


def test_what_the_filter_keeps_from_the_consumer_needs_no_end() -> None:
    place = Place("shard-0", 13)
    result = account({place: Input("note", "d", b"{}", Fate.FILTERED)}, Observation())
    assert (result.total.dropped, result.total.lost, result.settled, result.problems) == (1, 0, True, [])


def test_what_the_filter_keeps_from_the_consumer_is_not_to_be_redriven() -> None:
    place, copy = Place("shard-0", 13), Place("shard-0", 14)
    produced = {place: Input("note", "d", b"{}", Fate.FILTERED)}
    seen = Observation(copies=[StreamRecord(copy, "d", b"{}")], lineage={copy: (place, 1)})
    assert "never had it" in account(produced, seen).problems[0]


def test_every_record_is_counted_in_one_end_only() -> None:
    total = after(sink={"good": {"id": "good"}}, missing=[MissingRange("shard-0", 11, 11)]).total
    assert total.produced == total.consumed + total.quarantined + total.expired + total.lost
