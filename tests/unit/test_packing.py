"""Packing of PutRecords calls."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_redrive.core.packing import MAX_BYTES, MAX_RECORDS, pack, put_bytes
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support.build import ARRIVED, SHARD_ID, STREAM_ARN

MEBIBYTE = 1024 * 1024


def record(data: bytes, key: str | None = "k") -> Record:
    return Record(STREAM_ARN, StreamRecord(SHARD_ID, "7", key, ARRIVED, data), Lineage(Origin(SHARD_ID, "5"), 0))


def numbered(*records: Record) -> list[tuple[int, Record]]:
    return list(enumerate(records))


def weights(items: list[tuple[int, Record]]) -> int:
    return sum(len(r.stream.data) + len((r.stream.partition_key or "5").encode()) for _, r in items)


def check_calls(calls: list[list[tuple[int, Record]]], items: list[tuple[int, Record]], most: int, size: int) -> None:
    assert [item for call in calls for item in call] == items
    for call in calls:
        assert 1 <= len(call) <= most
        assert len(call) == 1 or weights(call) <= size
    for call, following in pairwise(calls):
        full = len(call) == most or weights([*call, following[0]]) > size
        assert full, "the call could have taken the next record"


KEYS = st.sampled_from(["k", "\u00e4" * 8, "\U0001f600" * 5, None])


@given(st.lists(st.tuples(st.integers(0, 60), KEYS), max_size=60), st.integers(1, 9), st.integers(1, 120))
@settings(deadline=None)
def test_calls_are_the_input_in_order_within_the_limits_and_as_full_as_can_be(
    contents: list[tuple[int, str | None]], most: int, size: int
) -> None:
    items = numbered(*(record(bytes(length), key) for length, key in contents))
    check_calls(list(pack(items, most, size)), items, most, size)


LARGE = [bytes(n) for n in (0, 1, 10_000, 100_000, 524_288, MEBIBYTE - 1, MEBIBYTE)]


@given(st.lists(st.tuples(st.sampled_from(LARGE), KEYS), max_size=40))
@settings(max_examples=50, deadline=None)
def test_calls_keep_the_limits_of_the_service(contents: list[tuple[bytes, str | None]]) -> None:
    items = numbered(*(record(data, key) for data, key in contents))
    check_calls(list(pack(items)), items, 500, 5 * MEBIBYTE)


def test_the_limits_are_those_of_the_service() -> None:
    assert (MAX_RECORDS, MAX_BYTES) == (500, 5 * MEBIBYTE)


def test_five_hundred_records_make_a_call_and_one_more_makes_two() -> None:
    assert [len(call) for call in pack(numbered(*[record(b"x")] * 501))] == [500, 1]


@pytest.mark.parametrize(("spare", "calls"), [(0, [5]), (-1, [4, 1])])
def test_a_call_is_filled_to_the_byte_with_the_keys_counted(spare: int, calls: list[int]) -> None:
    key = "\u00e4\U0001f600"
    length = len(key.encode())
    records = [record(bytes(MEBIBYTE - length), key)] * 4 + [record(bytes(MEBIBYTE - length - spare), key)]
    assert [len(call) for call in pack(numbered(*records))] == calls


def test_a_record_larger_than_a_call_goes_alone() -> None:
    large: Any = record(bytes(MAX_BYTES + 1))
    assert [[n for n, _ in call] for call in pack(numbered(record(b"x"), large, record(b"x")))] == [[0], [1], [2]]


def test_nothing_makes_no_call() -> None:
    assert list(pack(numbered())) == []


def test_a_record_keeps_its_partition_key() -> None:
    assert record(b"x", "\u00e4").put_key == "\u00e4"
    assert put_bytes(record(b"xy", "\u00e4")) == 4


def test_a_record_without_a_key_gets_its_origin_as_one_that_spreads() -> None:
    assert record(b"x", None).put_key == "5"
