"""What every reader and writer of streams does."""

import gzip
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import boto3
import pytest
from moto.kinesis.models import kinesis_backends

from stream_redrive.adapters import clients, kinesis
from stream_redrive.adapters.kinesis import KinesisReader, KinesisWriter
from stream_redrive.core.errors import ShardNotFound
from stream_redrive.core.ports import StreamReader, StreamWriter
from stream_redrive.core.records import Origin, StreamRecord
from tests.support.build import SHARD_ID, STREAM_ARN
from tests.support.cloud import ACCOUNT, REGION, STREAM
from tests.support.memory import START, MemoryStream

NO_SUCH_SHARD = "shardId-000000000099"
PAYLOADS = {
    "JSON": '{"größe": "✓"}'.encode(),
    "no text": bytes(range(256)),
    "gzip": gzip.compress(b"x" * 1000, mtime=0),
    "KPL aggregate": b"\xf3\x89\x9a\xc2" + b"\x0a\x01a",
    "base64 by itself": b"aGVsbG8=",
    "nothing": b"",
    "large": b"\x00\xff" * 400_000,
}


class Streams(Protocol):
    """A stream of two shards and the ways into it that its port doesn't have."""

    reader: StreamReader
    writer: StreamWriter

    def produce(self, key: str, data: bytes, at: datetime = START) -> Origin: ...
    def page(self, size: int) -> None: ...


class Memory:
    def __init__(self) -> None:
        self._stream = MemoryStream(2)
        self.reader: StreamReader = self._stream
        self.writer: StreamWriter = self._stream

    def produce(self, key: str, data: bytes, at: datetime = START) -> Origin:
        self._stream.clock.time = at
        record = self._stream.produce(key, data)
        return Origin(record.shard_id, record.sequence_number)

    def page(self, size: int) -> None:
        self._stream.page_size = size


class Kinesis:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._client = boto3.client("kinesis")
        self._client.create_stream(StreamName=STREAM, ShardCount=2)
        self.reader: StreamReader = KinesisReader(clients.kinesis())
        self.writer: StreamWriter = KinesisWriter(clients.kinesis_once())

    def produce(self, key: str, data: bytes, at: datetime = START) -> Origin:
        reply = self._client.put_record(StreamName=STREAM, PartitionKey=key, Data=data)
        held: Any = kinesis_backends[ACCOUNT][REGION].streams[STREAM].shards[reply["ShardId"]].records
        record = held[int(reply["SequenceNumber"])]
        record.created_at_datetime, record.created_at = at, at.timestamp()
        return Origin(reply["ShardId"], reply["SequenceNumber"])

    def page(self, size: int) -> None:
        self._monkeypatch.setattr(kinesis, "MAX_PAGE", size)


@pytest.fixture
def streams(implementation: str, monkeypatch: pytest.MonkeyPatch) -> Streams:
    return Memory() if implementation == "memory" else Kinesis(monkeypatch)


def read_pages(streams: Streams, iterator: str, count: int) -> list[Sequence[StreamRecord]]:
    pages = []
    for _ in range(count):
        page = streams.reader.read(STREAM_ARN, iterator)
        pages.append(page.records)
        assert page.next_iterator is not None
        iterator = page.next_iterator
    return pages


def numbers(records: Sequence[StreamRecord]) -> list[str]:
    return [record.sequence_number for record in records]


def one_shard(streams: Streams, count: int, every: timedelta = timedelta(0)) -> list[Origin]:
    return [streams.produce("key", b"%d" % n, START + n * every) for n in range(count)]


def test_open_at_starts_with_the_record_of_the_number(streams: Streams) -> None:
    places = one_shard(streams, 4)
    iterator = streams.reader.open_at(STREAM_ARN, places[1].shard_id, places[1].sequence_number)
    [page] = read_pages(streams, iterator, 1)
    assert numbers(page) == [p.sequence_number for p in places[1:]]


def test_open_after_starts_behind_the_record_of_the_number(streams: Streams) -> None:
    places = one_shard(streams, 4)
    iterator = streams.reader.open_after(STREAM_ARN, places[1].shard_id, places[1].sequence_number)
    [page] = read_pages(streams, iterator, 1)
    assert numbers(page) == [p.sequence_number for p in places[2:]]


@pytest.mark.parametrize(("seconds", "first"), [(-3600, 0), (0, 0), (10, 1), (15, 2), (20, 2), (21, 3)])
def test_open_from_starts_with_the_first_record_that_arrived_then_or_later(
    streams: Streams, seconds: int, first: int
) -> None:
    places = one_shard(streams, 3, timedelta(seconds=10))
    iterator = streams.reader.open_from(STREAM_ARN, places[0].shard_id, START + timedelta(seconds=seconds))
    [page] = read_pages(streams, iterator, 1)
    assert numbers(page) == [p.sequence_number for p in places[first:]]


def test_a_shard_is_read_page_by_page_without_a_gap(streams: Streams) -> None:
    places = one_shard(streams, 5)
    streams.page(2)
    iterator = streams.reader.open_at(STREAM_ARN, places[0].shard_id, places[0].sequence_number)
    pages = read_pages(streams, iterator, 4)
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert numbers([record for page in pages for record in page]) == [p.sequence_number for p in places]


def test_a_page_says_whether_the_tip_is_reached(streams: Streams) -> None:
    places = one_shard(streams, 2, timedelta(seconds=10))
    streams.page(1)
    iterator = streams.reader.open_at(STREAM_ARN, places[0].shard_id, places[0].sequence_number)
    first = streams.reader.read(STREAM_ARN, iterator)
    assert first.millis_behind > 0
    assert first.next_iterator is not None
    assert streams.reader.read(STREAM_ARN, first.next_iterator).millis_behind == 0


def test_at_the_tip_a_page_is_empty_and_the_next_one_holds_what_came_since(streams: Streams) -> None:
    [place] = one_shard(streams, 1)
    page = streams.reader.read(STREAM_ARN, streams.reader.open_after(STREAM_ARN, place.shard_id, place.sequence_number))
    assert (list(page.records), page.millis_behind) == ([], 0)
    later = streams.produce("key", b"later")
    assert page.next_iterator is not None
    [record] = streams.reader.read(STREAM_ARN, page.next_iterator).records
    assert (record.sequence_number, record.data) == (later.sequence_number, b"later")


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_bytes_come_back_exactly_as_they_were_put(streams: Streams, payload: bytes) -> None:
    [result] = streams.writer.put(STREAM_ARN, [("key", payload)])
    assert result.landed is not None
    iterator = streams.reader.open_at(STREAM_ARN, result.landed.shard_id, result.landed.sequence_number)
    [record] = streams.reader.read(STREAM_ARN, iterator).records
    assert record.data == payload


@pytest.mark.parametrize("key", ["schlüssel-✓-🚀", " ", "k" * 256, '"\\', "名" * 256])
def test_a_partition_key_comes_back_exactly_as_it_was_put(streams: Streams, key: str) -> None:
    [result] = streams.writer.put(STREAM_ARN, [(key, b"x")])
    assert result.landed is not None
    iterator = streams.reader.open_at(STREAM_ARN, result.landed.shard_id, result.landed.sequence_number)
    [record] = streams.reader.read(STREAM_ARN, iterator).records
    assert record.partition_key == key


def test_a_record_carries_its_shard_and_its_time_to_the_millisecond(streams: Streams) -> None:
    place = streams.produce("key", b"x", START + timedelta(milliseconds=7))
    iterator = streams.reader.open_at(STREAM_ARN, place.shard_id, place.sequence_number)
    [record] = streams.reader.read(STREAM_ARN, iterator).records
    assert record.shard_id == place.shard_id
    assert record.arrived_at == "2026-01-05T12:00:00.007Z"


def test_a_put_says_of_each_record_in_order_where_it_landed(streams: Streams) -> None:
    records = [(f"key-{n}", b"%d" % n) for n in range(20)]
    landed = [result.landed for result in streams.writer.put(STREAM_ARN, records)]
    assert len({place.shard_id for place in landed if place}) == 2
    for (key, data), place in zip(records, landed, strict=True):
        assert place is not None
        iterator = streams.reader.open_at(STREAM_ARN, place.shard_id, place.sequence_number)
        record = streams.reader.read(STREAM_ARN, iterator).records[0]
        assert (record.partition_key, record.data) == (key, data)


def test_all_shards_are_listed_with_the_number_they_start_at(streams: Streams) -> None:
    shards = streams.reader.shards(STREAM_ARN)
    assert [info.shard_id for info in shards] == [SHARD_ID, "shardId-000000000001"]
    assert all(int(info.starting_sequence_number) == 0 for info in shards)


def test_a_shard_that_is_not_there_is_reported_as_such(streams: Streams) -> None:
    with pytest.raises(ShardNotFound):
        streams.reader.open_at(STREAM_ARN, NO_SUCH_SHARD, "1")
    with pytest.raises(ShardNotFound):
        streams.reader.open_after(STREAM_ARN, NO_SUCH_SHARD, "1")
    with pytest.raises(ShardNotFound):
        streams.reader.open_from(STREAM_ARN, NO_SUCH_SHARD, START)


@pytest.mark.usefixtures("aws")
def test_a_stream_that_is_gone_is_reported_by_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Kinesis(monkeypatch)
    place = streams.produce("key", b"x")
    iterator = streams.reader.open_at(STREAM_ARN, place.shard_id, place.sequence_number)
    boto3.client("kinesis").delete_stream(StreamName=STREAM)
    with pytest.raises(ShardNotFound):
        streams.reader.read(STREAM_ARN, iterator)
    with pytest.raises(ShardNotFound):
        streams.reader.open_at(STREAM_ARN, place.shard_id, place.sequence_number)
    with pytest.raises(ShardNotFound):
        streams.reader.shards(STREAM_ARN)
    with pytest.raises(ShardNotFound):
        streams.writer.put(STREAM_ARN, [("key", b"x")])
