"""What Kinesis answers and moto doesn't."""

import base64
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from stream_redrive.adapters import clients
from stream_redrive.adapters.kinesis import KinesisReader, KinesisWriter
from stream_redrive.core.errors import (
    AccessDenied,
    IteratorExpired,
    SequenceNumberRejected,
    ServiceBusy,
    ServiceUnreachable,
    ShardNotFound,
    StreamReadError,
)
from stream_redrive.core.ports import PutResult, ShardInfo
from stream_redrive.core.records import Origin
from tests.support.build import SHARD_ID, STREAM_ARN
from tests.support.memory import START
from tests.support.wire import Answer, Wire, broken, refusal, reply

pytestmark = pytest.mark.usefixtures("pauses")
ITERATOR = reply({"ShardIterator": "iterator"})
TIMEOUT = ReadTimeoutError(endpoint_url="https://kinesis")


def reader(*answers: Answer) -> tuple[KinesisReader, Wire]:
    client = clients.kinesis()
    return KinesisReader(client), Wire(client, *answers)


def writer(*answers: Answer) -> tuple[KinesisWriter, Wire]:
    client = clients.kinesis_once()
    return KinesisWriter(client), Wire(client, *answers)


def stored(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "SequenceNumber": str(number),
        "ApproximateArrivalTimestamp": START.timestamp(),
        "Data": base64.b64encode(b"\x00\xff").decode(),
        **fields,
    }


# reading


def test_a_number_that_the_shard_does_not_know_is_rejected() -> None:
    kinesis, _ = reader(refusal("InvalidArgumentException"))
    with pytest.raises(SequenceNumberRejected):
        kinesis.open_at(STREAM_ARN, SHARD_ID, "1")
    with pytest.raises(SequenceNumberRejected):
        kinesis.open_after(STREAM_ARN, SHARD_ID, "1")


def test_an_iterator_that_is_too_old_is_reported_as_such_and_a_new_one_serves() -> None:
    kinesis, _ = reader(ITERATOR, refusal("ExpiredIteratorException"), ITERATOR, reply({"Records": [stored(7)]}))
    with pytest.raises(IteratorExpired):
        kinesis.read(STREAM_ARN, kinesis.open_at(STREAM_ARN, SHARD_ID, "1"))
    [record] = kinesis.read(STREAM_ARN, kinesis.open_after(STREAM_ARN, SHARD_ID, "1")).records
    assert record.sequence_number == "7"


@pytest.mark.parametrize("body", [{"NextShardIterator": None}, {}], ids=["null", "absent"])
def test_the_end_of_a_closed_shard_has_no_next_iterator(body: dict[str, Any]) -> None:
    kinesis, _ = reader(ITERATOR, reply({"Records": [stored(7)], "MillisBehindLatest": 0, **body}))
    page = kinesis.read(STREAM_ARN, kinesis.open_at(STREAM_ARN, SHARD_ID, "7"))
    assert ([r.sequence_number for r in page.records], page.next_iterator) == (["7"], None)


def test_an_empty_page_in_the_middle_of_a_shard_says_how_far_behind_it_is() -> None:
    empty = {"Records": [], "NextShardIterator": "next", "MillisBehindLatest": 86_000}
    kinesis, _ = reader(ITERATOR, reply(empty))
    page = kinesis.read(STREAM_ARN, kinesis.open_at(STREAM_ARN, SHARD_ID, "7"))
    assert (list(page.records), page.next_iterator, page.millis_behind) == ([], "next", 86_000)


def test_a_record_may_have_no_partition_key() -> None:
    kinesis, _ = reader(ITERATOR, reply({"Records": [stored(7), stored(8, PartitionKey="key")]}))
    page = kinesis.read(STREAM_ARN, kinesis.open_at(STREAM_ARN, SHARD_ID, "7"))
    assert [(r.partition_key, r.data) for r in page.records] == [(None, b"\x00\xff"), ("key", b"\x00\xff")]


def test_shards_are_listed_over_all_pages_and_a_token_stands_alone() -> None:
    def page(number: int, **fields: Any) -> Answer:
        ranges = {"SequenceNumberRange": {"StartingSequenceNumber": f"{number}00"}, "HashKeyRange": HASHES}
        return reply({"Shards": [{"ShardId": f"shardId-{number}", **ranges}], **fields})

    kinesis, wire = reader(page(1, NextToken="one"), page(2, NextToken="two"), page(3))
    assert list(kinesis.shards(STREAM_ARN)) == [ShardInfo(f"shardId-{n}", f"{n}00") for n in (1, 2, 3)]
    # Kinesis refuses a token beside a stream's name or ARN.
    assert wire.requests == [{"StreamARN": STREAM_ARN}, {"NextToken": "one"}, {"NextToken": "two"}]


HASHES = {"StartingHashKey": "0", "EndingHashKey": "1"}


def test_the_reading_client_repeats_a_call_that_is_throttled() -> None:
    busy = refusal("ProvisionedThroughputExceededException")
    kinesis, wire = reader(ITERATOR, busy, busy, reply({"Records": []}))
    assert list(kinesis.read(STREAM_ARN, kinesis.open_at(STREAM_ARN, SHARD_ID, "7")).records) == []
    assert len(wire.requests) == 4


def test_the_reading_client_gives_up_after_six_attempts(pauses: list[float]) -> None:
    kinesis, wire = reader(refusal("InternalFailure", status=500))
    with pytest.raises(ServiceBusy):
        kinesis.shards(STREAM_ARN)
    assert len(wire.requests) == 6
    assert len(pauses) == 5


# writing

RECORDS = [(f"key-{n}", b"%d" % n) for n in range(4)]


def landed(number: int) -> dict[str, str]:
    return {"ShardId": SHARD_ID, "SequenceNumber": str(number)}


def test_a_put_that_fails_in_part_says_which_records_failed_and_why() -> None:
    throttled = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
    failed = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."}
    kinesis, wire = writer(reply({"FailedRecordCount": 2, "Records": [landed(7), throttled, failed, landed(8)]}))
    assert list(kinesis.put(STREAM_ARN, RECORDS)) == [
        PutResult(Origin(SHARD_ID, "7")),
        PutResult(None, "ProvisionedThroughputExceededException"),
        PutResult(None, "InternalFailure"),
        PutResult(Origin(SHARD_ID, "8")),
    ]
    assert len(wire.requests) == 1


def test_records_are_sent_in_order_and_encoded_once() -> None:
    kinesis, wire = writer(reply({"FailedRecordCount": 0, "Records": [landed(n) for n in range(4)]}))
    kinesis.put(STREAM_ARN, RECORDS)
    [request] = wire.requests
    assert [(r["PartitionKey"], base64.b64decode(r["Data"])) for r in request["Records"]] == RECORDS
    assert all(set(r) == {"PartitionKey", "Data"} for r in request["Records"])
    assert request["StreamARN"] == STREAM_ARN


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal("InternalFailure", status=500), ServiceBusy),
        (refusal("ServiceUnavailable", status=503), ServiceBusy),
        (refusal("ProvisionedThroughputExceededException"), ServiceBusy),
        (refusal("KMSThrottlingException"), ServiceBusy),
        (refusal("KMSAccessDeniedException"), AccessDenied),
        (refusal("ResourceNotFoundException"), ShardNotFound),
        (broken(TIMEOUT), ServiceUnreachable),
    ],
)
@pytest.mark.parametrize("mode", ["standard", "adaptive", "legacy"])
def test_a_put_is_never_repeated_by_the_client_itself(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], answer: Answer, expected: type[Exception], mode: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    monkeypatch.setenv("AWS_RETRY_MODE", mode)
    kinesis, wire = writer(answer)
    with pytest.raises(expected):
        kinesis.put(STREAM_ARN, RECORDS)
    assert len(wire.requests) == 1
    assert pauses == []


def test_a_put_that_breaks_a_limit_is_no_trouble_with_a_sequence_number() -> None:
    kinesis, _ = writer(refusal("InvalidArgumentException"))
    with pytest.raises(ClientError) as raised:
        kinesis.put(STREAM_ARN, RECORDS)
    assert not isinstance(raised.value, StreamReadError)
