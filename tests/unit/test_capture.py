"""Capture: what is copied into the vault, what is reported missing, and what each of it means."""

from dataclasses import replace
from datetime import timedelta

import pytest

from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import SourceNotSupported
from stream_redrive.core.incident import Reference, encode_notices
from stream_redrive.core.notices import Source
from stream_redrive.core.ports import RedrivenCopy
from stream_redrive.core.records import Lineage, Origin
from tests.support.build import SHARD, SHARD_ID, STREAM_ARN, TABLE_STREAM_ARN, incident, notice, notice_of
from tests.support.capturing import Bench, ExpiringStream, streamed
from tests.support.memory import MemoryStream


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("k", b""),
        ("k", b"\xf3\x89\x9a\xc2 an aggregate"),
        ("k", bytes(range(256)) * 4096),
        ("\u00e4" * 256, b"{}"),
        ("\U0001f600" * 256, b"{}"),
        ('"\\\n\x00', b'{"a": "\\u0000"}'),
    ],
    ids=["empty", "binary", "1 MiB", "unicode key", "key beyond the BMP", "key to be escaped"],
)
def test_payload_and_partition_key_are_captured_byte_for_byte(key: str, data: bytes) -> None:
    bench = Bench()
    produced = [bench.stream.produce(key, data)]
    failed = incident(notice_of(produced))
    assert bench.capture(failed).outcome == "COMPLETE"
    assert streamed(bench.captured(failed)) == produced


def test_a_record_of_a_stream_that_distributes_by_itself_has_no_partition_key() -> None:
    bench = Bench()
    produced = replace(bench.stream.produce("k", b"x"), partition_key=None)
    bench.stream.records[SHARD_ID] = [produced]
    failed = incident(notice_of([produced]))
    bench.capture(failed)
    assert streamed(bench.captured(failed)) == [produced]


def test_only_the_records_of_the_range_are_captured() -> None:
    bench = Bench()
    produced = bench.produce(20)
    failed = incident(notice_of(produced[5:9]), notice_of(produced[12:13]))
    result = bench.capture(failed)
    assert (result.records, result.missing, result.outcome) == (5, 0, "COMPLETE")
    assert streamed(bench.captured(failed)) == produced[5:9] + produced[12:13]


def test_a_captured_record_that_was_never_redriven_is_its_own_origin() -> None:
    bench = Bench()
    (produced,) = bench.produce(1)
    failed = incident(notice_of([produced]))
    bench.capture(failed)
    (record,) = bench.captured(failed)
    assert record.lineage == Lineage(Origin(SHARD_ID, produced.sequence_number), 0)
    assert record.stream_arn == STREAM_ARN


def test_a_redriven_copy_carries_its_lineage_over() -> None:
    bench = Bench()
    first, copy = bench.produce(2)
    lineage = Lineage(Origin("shardId-000000000003", "17"), 2)
    place = Origin(SHARD_ID, copy.sequence_number)
    bench.ledger.record_redriven("orders-stream", "earlier", [RedrivenCopy(place, lineage, lineage.origin)])
    failed = incident(notice_of([first, copy]))
    bench.capture(failed)
    assert [record.lineage for record in bench.captured(failed)] == [
        Lineage(Origin(SHARD_ID, first.sequence_number), 0),
        lineage,
    ]


def test_chunks_hold_five_hundred_records_and_lie_under_the_incidents_keys() -> None:
    bench = Bench()
    produced = bench.produce(1_001)
    failed = incident(notice_of(produced))
    assert bench.capture(failed).chunks == 3
    keys = VaultKeys(failed)
    assert [(chunk.bucket, chunk.key, chunk.records) for chunk in bench.manifest(failed).chunks] == [
        ("vault", keys.captured_chunk(0), 500),
        ("vault", keys.captured_chunk(1), 500),
        ("vault", keys.captured_chunk(2), 1),
    ]


# How the shard is read


def test_small_and_empty_pages_are_read_through() -> None:
    bench = Bench(MemoryStream(page_size=3))
    produced = bench.produce(10)
    bench.stream.empty_pages = 4
    failed = incident(notice_of(produced[1:9]))
    bench.capture(failed)
    assert streamed(bench.captured(failed)) == produced[1:9]


@pytest.mark.parametrize("expiring", [{1}, {2}, {4}, {1, 2, 3}, {2, 4, 6}])
def test_an_iterator_that_expires_half_way_loses_and_doubles_nothing(expiring: set[int]) -> None:
    bench = Bench(ExpiringStream(expiring, page_size=3))
    produced = bench.produce(10)
    failed = incident(notice_of(produced))
    assert bench.capture(failed).outcome == "COMPLETE"
    assert streamed(bench.captured(failed)) == produced


def test_after_an_expired_iterator_the_reader_goes_on_behind_the_last_record() -> None:
    bench = Bench(ExpiringStream({2}, page_size=3))
    bench.capture(incident(notice_of(bench.produce(6))))
    assert bench.stream.calls == ["open_at", "read", "read", "open_after", "read"]


def test_nothing_is_read_behind_the_last_number_of_the_range() -> None:
    bench = Bench(MemoryStream(page_size=4))
    bench.capture(incident(notice_of(bench.produce(4))))
    assert bench.stream.calls == ["open_at", "read"]


def test_a_closed_shard_is_read_to_its_end() -> None:
    bench = Bench()
    produced = bench.produce(4)
    bench.stream.closed.add(SHARD_ID)
    last = produced[-1].sequence_number
    failed = incident(notice_of(produced), notice(last, str(int(last) + 100), 2))
    result = bench.capture(failed)
    assert streamed(bench.captured(failed)) == produced
    assert (result.outcome, result.missing) == ("PARTIAL", 1)


def test_ten_thousand_records_take_at_most_three_reads_and_two_iterators() -> None:
    bench = Bench()
    produced = bench.produce(10_000)
    failed = incident(*(notice_of(produced[n : n + 100]) for n in range(0, 10_000, 100)))
    assert bench.capture(failed).records == 10_000
    assert bench.stream.calls.count("read") <= 3
    assert len(bench.stream.calls) - bench.stream.calls.count("read") <= 2


def test_near_ranges_are_read_through_without_a_seek() -> None:
    bench = Bench(MemoryStream(page_size=50))
    produced = bench.produce(100)
    failed = incident(*(notice_of(produced[n : n + 2]) for n in range(0, 100, 10)))
    bench.capture(failed)
    assert bench.stream.calls == ["open_at", "read", "read"]


def test_far_ranges_are_sought_and_the_gap_is_not_read() -> None:
    bench = Bench(MemoryStream(page_size=10))
    produced = bench.produce(2_000)
    failed = incident(notice_of(produced[:2]), notice_of(produced[-2:]))
    bench.capture(failed)
    assert streamed(bench.captured(failed)) == produced[:2] + produced[-2:]
    assert bench.stream.calls.count("open_at") == 2
    assert bench.stream.calls.count("read") <= 4


def test_overlapping_notices_capture_a_record_once_and_count_it_for_each() -> None:
    bench = Bench()
    produced = bench.produce(6)
    failed = incident(notice_of(produced[:4]), notice_of(produced[2:]))
    result = bench.capture(failed)
    assert (result.records, result.outcome) == (6, "COMPLETE")
    assert [n.found for n in bench.manifest(failed).notices] == [4, 4]
    assert streamed(bench.captured(failed)) == produced


def test_a_busy_streams_newer_records_are_neither_captured_nor_waited_for() -> None:
    bench = Bench(MemoryStream(page_size=10))
    produced = bench.produce(100)
    bench.capture(incident(notice_of(produced[:2])))
    assert bench.stream.calls == ["open_at", "read"]


# What was found


def test_a_trimmed_head_is_partial_and_names_what_is_missing() -> None:
    bench = Bench()
    produced = bench.produce(5)
    failed = incident(notice_of(produced))
    bench.stream.trim(SHARD_ID, 2)
    result = bench.capture(failed)
    assert (result.outcome, result.records, result.missing) == ("PARTIAL", 3, 2)
    (missing,) = bench.manifest(failed).missing
    assert (missing.start, missing.end) == (produced[0].sequence_number, produced[-1].sequence_number)
    assert (missing.size, missing.reason, missing.captured_from) == (2, "EXPIRED", produced[2].sequence_number)
    assert streamed(bench.captured(failed)) == produced[2:]


@pytest.mark.parametrize("of_trimmed", ["later", "nothing", "rejected"])
def test_what_is_still_there_is_captured_whatever_a_trimmed_number_opens(of_trimmed: str) -> None:
    bench = Bench(MemoryStream(page_size=2))
    produced = bench.produce(9, every=timedelta(seconds=5))
    bench.stream.of_trimmed = of_trimmed  # type: ignore[assignment]
    bench.stream.trim(SHARD_ID, 4)
    failed = incident(notice_of(produced[1:3]), notice_of(produced[3:8]))
    result = bench.capture(failed)
    assert streamed(bench.captured(failed)) == produced[4:8]
    assert (result.outcome, result.missing) == ("PARTIAL", 3)


class RejectingStream(ExpiringStream):
    """A stream that no longer lets a reader go on behind a number, though it holds the record."""

    def open_after(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        self.of_trimmed, held = "rejected", self._trimmed
        self._trimmed = {shard_id: 10**200}
        try:
            return super().open_after(stream_arn, shard_id, sequence_number)
        finally:
            self.of_trimmed, self._trimmed = "later", held


def test_a_reader_that_must_go_back_to_a_time_captures_nothing_twice() -> None:
    bench = Bench(RejectingStream({2}, page_size=3))
    produced = bench.produce(8)
    failed = incident(notice_of(produced))
    assert bench.capture(failed).outcome == "COMPLETE"
    assert streamed(bench.captured(failed)) == produced


def test_an_iterator_that_expires_while_a_trimmed_number_opens_nothing_loses_nothing() -> None:
    bench = Bench(ExpiringStream({2}, page_size=1))
    produced = bench.produce(2, every=timedelta(seconds=5))
    bench.stream.of_trimmed = "nothing"
    bench.stream.trim(SHARD_ID, 1)
    failed = incident(notice_of(produced))
    bench.capture(failed)
    assert streamed(bench.captured(failed)) == produced[1:]


@pytest.mark.parametrize("of_trimmed", ["later", "nothing", "rejected"])
def test_a_range_that_is_all_gone_is_expired(of_trimmed: str) -> None:
    bench = Bench()
    produced = bench.produce(5)
    bench.stream.of_trimmed = of_trimmed  # type: ignore[assignment]
    bench.stream.trim(SHARD_ID, 3)
    failed = incident(notice_of(produced[:3]))
    result = bench.capture(failed)
    assert (result.outcome, result.records, result.missing) == ("EXPIRED", 0, 3)
    (missing,) = bench.manifest(failed).missing
    assert (missing.size, missing.reason, missing.captured_from) == (3, "EXPIRED", None)


def test_one_notice_gone_and_one_complete_make_a_partial_incident() -> None:
    bench = Bench()
    produced = bench.produce(6)
    bench.stream.trim(SHARD_ID, 3)
    failed = incident(notice_of(produced[:3]), notice_of(produced[3:]))
    assert bench.capture(failed).outcome == "PARTIAL"
    assert [n.outcome for n in bench.manifest(failed).notices] == ["EXPIRED", "COMPLETE"]


def test_more_records_in_the_range_than_in_the_batch_are_ambiguous() -> None:
    bench = Bench()
    produced = bench.produce(5)
    batch = notice(produced[0].sequence_number, produced[-1].sequence_number, 3)
    result = bench.capture(incident(batch))
    assert (result.outcome, result.records, result.ambiguous, result.missing) == ("AMBIGUOUS", 5, 5, 0)


def test_a_range_whose_first_record_is_gone_is_ambiguous_when_too_many_others_are_there() -> None:
    bench = Bench()
    produced = bench.produce(5)
    batch = notice(produced[0].sequence_number, produced[-1].sequence_number, 4)
    bench.stream.trim(SHARD_ID, 1)
    result = bench.capture(incident(batch))
    assert (result.outcome, result.ambiguous, result.missing) == ("AMBIGUOUS", 4, 1)


def test_one_ambiguous_notice_makes_the_incident_ambiguous_and_leaves_the_others_as_they_are() -> None:
    bench = Bench()
    produced = bench.produce(6)
    lane = notice(produced[3].sequence_number, produced[5].sequence_number, 2)
    failed = incident(notice_of(produced[:3]), lane)
    assert bench.capture(failed).outcome == "AMBIGUOUS"
    assert [n.outcome for n in bench.manifest(failed).notices] == ["COMPLETE", "AMBIGUOUS"]


def test_the_manifest_keeps_the_evidence_of_each_notice() -> None:
    bench = Bench()
    produced = bench.produce(2)
    failed = incident(
        notice_of(produced[:1], condition="RecordAgeExceeded", function_error=None), notice_of(produced[1:])
    )
    bench.capture(failed)
    assert [(n.condition, n.function_error, n.size) for n in bench.manifest(failed).notices] == [
        ("RecordAgeExceeded", None, 1),
        ("RetryAttemptsExhausted", "Unhandled", 1),
    ]


def test_a_shard_that_is_gone_is_reported_with_all_its_records() -> None:
    bench = Bench(MemoryStream(shards=2))
    failed = incident(notice("1", "5", 5))
    del bench.stream.records[SHARD_ID]
    result = bench.capture(failed)
    assert (result.outcome, result.missing) == ("EXPIRED", 5)
    assert [m.reason for m in bench.manifest(failed).missing] == ["SHARD_NOT_FOUND"]


def test_a_stream_that_was_deleted_and_made_anew_is_told_from_one_that_forgot() -> None:
    bench = Bench()
    bench.stream.starting = str(10**20)
    newer = bench.produce(3)
    failed = incident(notice("9", "10", 2))
    result = bench.capture(failed)
    assert (result.outcome, result.records, result.missing) == ("EXPIRED", 0, 2)
    assert [m.reason for m in bench.manifest(failed).missing] == ["STREAM_RECREATED"]
    assert bench.stream.records[SHARD_ID] == newer


# Whose notices they are


def test_notices_that_another_incident_has_claimed_are_dropped() -> None:
    bench = Bench()
    produced = bench.produce(4)
    first = incident(notice_of(produced[:2]))
    bench.capture(first)
    second = incident(notice_of(produced[:2]), notice_of(produced[2:]))
    bench.capture(second)
    assert streamed(bench.captured(second)) == produced[2:]
    assert bench.manifest(second).claimed_elsewhere == 1
    assert streamed(bench.captured(first)) == produced[:2]


def test_an_incident_whose_notices_are_all_claimed_elsewhere_has_nothing_to_do() -> None:
    bench = Bench()
    produced = bench.produce(3)
    bench.capture(incident(notice_of(produced[:1]), notice_of(produced[1:])))
    late = incident(notice_of(produced[1:]))
    result = bench.capture(late)
    assert (result.outcome, result.records, result.missing, result.more) == ("COMPLETE", 0, 0, False)
    assert bench.manifest(late).claimed_elsewhere == 1


def test_the_same_range_of_another_consumer_is_captured_for_it_too() -> None:
    bench = Bench()
    produced = bench.produce(2)
    bench.capture(incident(notice_of(produced)))
    other = incident(notice_of(produced), shard=replace(SHARD, consumer=f"{SHARD.consumer}-2"))
    assert bench.capture(other).records == 2


def test_notices_in_the_vault_are_captured_like_those_of_the_input() -> None:
    bench = Bench()
    produced = bench.produce(3)
    inline = incident(*(notice_of([record]) for record in produced))
    assert inline.notices is not None
    bench.vault.put("notices", encode_notices(inline.notices))
    failed = replace(inline, notices=None, notices_ref=Reference("vault", "notices", 3))
    bench.capture(failed)
    assert streamed(bench.captured(failed)) == produced


def test_a_table_streams_notices_are_refused_by_name() -> None:
    shard = replace(SHARD, source=Source.DYNAMODB, stream_arn=TABLE_STREAM_ARN)
    with pytest.raises(SourceNotSupported, match="dynamodb"):
        Bench().capture(incident(notice("1", "5"), shard=shard))
