"""Chunks: their limits, their lines and their keys."""

import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_redrive.core import chunks
from stream_redrive.core.chunks import MAX_BYTES, MAX_RECORDS, ChunkBuffer, VaultKeys, consumer_name, stream_name
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support.build import ARRIVED, CONSUMER, SHARD, SHARD_ID, STREAM_ARN, TABLE_STREAM_ARN, incident, notice

KEYS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256))


def stream_record(data: bytes = b"", key: str | None = "k", number: str = "4" * 56) -> StreamRecord:
    return StreamRecord(SHARD_ID, number, key, ARRIVED, data)


def record(data: bytes = b"", key: str | None = "k") -> Record:
    return Record(STREAM_ARN, stream_record(data, key), Lineage(Origin("shardId-000000000007", "3" * 56), 2))


def fill(records: list[StreamRecord]) -> list[list[StreamRecord]]:
    buffer, filled = ChunkBuffer(), []
    for item in records:
        if not buffer.has_room_for(item):
            filled.append(buffer.take())
        buffer.add(item)
    return [*filled, buffer.take()] if buffer else filled


@given(st.lists(st.tuples(st.binary(max_size=200), KEYS), max_size=10))
def test_records_come_back_from_a_chunk_as_they_went_in(contents: list[tuple[bytes, str | None]]) -> None:
    records = [record(data, key) for data, key in contents]
    assert list(chunks.decode(chunks.encode(r.to_line() for r in records))) == records


def test_equal_records_give_equal_bytes() -> None:
    assert chunks.encode([record(b"x").to_line()]) == chunks.encode([record(b"x").to_line()])


def test_a_line_is_what_the_contract_says() -> None:
    (line,) = gzip.decompress(chunks.encode([record(b"\x00\xff").to_line()])).splitlines()
    assert json.loads(line) == {
        "stream_arn": STREAM_ARN,
        "shard_id": SHARD_ID,
        "sequence_number": "4" * 56,
        "partition_key": "k",
        "arrived_at": ARRIVED,
        "data": "AP8=",
        "sha256": "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8",
        "lineage": {"origin": {"shard_id": "shardId-000000000007", "sequence_number": "3" * 56}, "attempt": 2},
    }


def test_a_line_without_data_lacks_nothing_else() -> None:
    whole = record(b"secret").to_line()
    del whole["data"]
    assert record(b"secret").without_data() == whole


def test_a_chunk_takes_five_hundred_records_and_no_more() -> None:
    assert [len(chunk) for chunk in fill([stream_record()] * (2 * MAX_RECORDS + 1))] == [MAX_RECORDS, MAX_RECORDS, 1]


def test_an_empty_chunk_has_room_for_any_record() -> None:
    assert ChunkBuffer().has_room_for(stream_record(bytes(MAX_BYTES)))


def test_a_record_larger_than_a_chunk_fills_one_alone() -> None:
    small, large = stream_record(b"s"), stream_record(bytes(MAX_BYTES))
    assert fill([small, large, small, small]) == [[small], [large], [small, small]]


def test_a_chunk_of_records_of_one_mebibyte_stays_below_the_limit() -> None:
    for chunk in fill([stream_record(bytes(1024 * 1024))] * 7):
        lines = [replace(record(), stream=item).to_line() for item in chunk]
        assert len(gzip.decompress(chunks.encode(lines))) <= MAX_BYTES


@given(
    st.lists(
        st.tuples(st.integers(0, 1_200_000), st.sampled_from([None, "k", "\u00e4" * 256, "\U0001f600" * 256, '"' * 9])),
        max_size=30,
    )
)
@settings(max_examples=20, deadline=None)
def test_chunks_keep_the_order_and_their_limits(contents: list[tuple[int, str | None]]) -> None:
    records = [stream_record(bytes(size), key) for size, key in contents]
    filled = fill(records)
    assert [item for chunk in filled for item in chunk] == records
    for chunk in filled:
        text = gzip.decompress(chunks.encode(replace(record(), stream=item).to_line() for item in chunk))
        assert len(chunk) == 1 or (len(chunk) <= MAX_RECORDS and len(text) <= MAX_BYTES)


@pytest.mark.parametrize("key", [None, "k", "\u00e4" * 256, "\U0001f600" * 256, '"' * 256, "\x00" * 256])
def test_a_line_is_never_longer_than_the_limit_counts_it(key: str | None) -> None:
    item = stream_record(b"abcd" * 100, key)
    longest = replace(record(), stream=item, stream_arn=f"{STREAM_ARN[:-13]}{'s' * 128}")
    assert len(gzip.decompress(chunks.encode([longest.to_line()]))) <= chunks.line_bytes(item)


def test_chunk_keys_name_the_consumer_the_day_and_the_incident() -> None:
    failed = incident(notice("1", "5", failed_at="2023-12-10T23:30:00-02:00"))
    keys = VaultKeys(failed)
    assert keys.captured_chunk(7) == f"captured/orders/2023/12/11/{failed.id}/00007.ndjson.gz"
    assert keys.quarantine_chunk(12345) == f"quarantine/orders/2023/12/11/{failed.id}/12345.ndjson.gz"
    assert keys.captured_chunk(0).startswith(keys.captured)


def test_everything_else_of_an_incident_lies_below_its_id() -> None:
    failed = incident(notice("1", "5"))
    keys = VaultKeys(failed)
    own = [keys.verdicts(3), keys.capture_manifest, keys.quarantine_manifest, chunks.notices_key(failed.id)]
    assert all(key.startswith(f"incidents/{failed.id}/") for key in own)
    assert len(set(own)) == 4


def test_two_consumers_of_one_name_but_other_qualifiers_have_other_prefixes() -> None:
    live = incident(notice("1", "5"), shard=replace(SHARD, consumer=f"{CONSUMER}:live"))
    assert VaultKeys(live).captured.startswith("captured/orders@live/")


@pytest.mark.parametrize(("arn", "name"), [(CONSUMER, "orders"), (f"{CONSUMER}:live", "orders@live")])
def test_a_consumers_name_carries_its_qualifier(arn: str, name: str) -> None:
    assert consumer_name(arn) == name


@pytest.mark.parametrize(
    ("arn", "name"),
    [(STREAM_ARN, "orders-stream"), (TABLE_STREAM_ARN, "table/orders/stream/2026-01-01T00:00:00.000")],
)
def test_a_streams_name_tells_two_generations_of_a_table_stream_apart(arn: str, name: str) -> None:
    assert stream_name(arn) == name
