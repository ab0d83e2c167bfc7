"""What DynamoDB answers and moto doesn't."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from stream_redrive.adapters import clients
from stream_redrive.adapters.dynamodb import DynamoLedger, decode_positions, encode_positions
from stream_redrive.core.errors import ServiceBusy, WriteConflict
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import ProbeCall, QuarantinedRecord, RedriveCursor, RedrivenCopy
from stream_redrive.core.records import Lineage, Origin
from tests.support.build import SHARD_ID
from tests.support.cloud import TABLE, create_table
from tests.support.memory import START, MemoryClock
from tests.support.wire import Answer, Wire, broken, refusal, reply

pytestmark = pytest.mark.usefixtures("pauses")
RANGES = [("1", "5"), ("6", "9"), ("10", "19")]
WON, LOST, RACED = {"Code": "None"}, {"Code": "ConditionalCheckFailed"}, {"Code": "TransactionConflict"}
THROTTLED = {"Code": "ThrottlingError"}
TIMEOUT = ReadTimeoutError(endpoint_url="https://dynamodb")


def ledger(*answers: Answer) -> tuple[DynamoLedger, Wire, MemoryClock]:
    client, clock = clients.dynamodb(), MemoryClock()
    return DynamoLedger(client, TABLE, clock), Wire(client, *answers), clock


def cancelled(*reasons: dict[str, str]) -> Answer:
    return refusal("TransactionCanceledException", CancellationReasons=list(reasons))


def asked(request: dict[str, Any]) -> list[str]:
    """The claims of a transaction, each by its start."""
    return [str(int(a["Put"]["Item"]["sk"]["S"].split("#")[1])) for a in request["TransactItems"]]


def test_a_claim_that_races_with_another_is_tried_again_after_a_pause() -> None:
    table, wire, clock = ledger(cancelled(WON, RACED, WON), cancelled(RACED, WON, THROTTLED), reply({}))
    assert list(table.claim("one", "shard", RANGES)) == [True, True, True]
    assert [asked(request) for request in wire.requests] == [["1", "6", "10"]] * 3
    assert len(clock.slept) == 2
    assert clock.slept[0] < clock.slept[1]


def test_a_claim_that_is_lost_is_left_out_of_the_next_transaction() -> None:
    table, wire, _ = ledger(cancelled(LOST, RACED, WON), cancelled(LOST, WON), reply({}))
    assert list(table.claim("one", "shard", RANGES)) == [False, False, True]
    assert [asked(request) for request in wire.requests] == [["1", "6", "10"], ["6", "10"], ["10"]]


def test_no_transaction_is_sent_for_claims_that_are_all_lost() -> None:
    table, wire, clock = ledger(cancelled(LOST, LOST, LOST))
    assert list(table.claim("one", "shard", RANGES)) == [False, False, False]
    assert (len(wire.requests), clock.slept) == (1, [])


def test_claims_that_race_for_ever_are_given_up() -> None:
    table, _, _ = ledger(cancelled(RACED, WON, WON))
    with pytest.raises(ServiceBusy, match="contended"):
        table.claim("one", "shard", RANGES)


def test_a_transaction_whose_answer_was_lost_is_repeated_as_the_same_one() -> None:
    table, wire, _ = ledger(broken(TIMEOUT), refusal("TransactionInProgressException"), reply({}))
    assert list(table.claim("one", "shard", RANGES)) == [True, True, True]
    assert len({request["ClientRequestToken"] for request in wire.requests}) == 1
    assert len(wire.requests) == 3


def test_a_transaction_takes_a_hundred_claims() -> None:
    table, wire, _ = ledger(reply({}))
    table.claim("one", "shard", [(str(n), str(n)) for n in range(250)])
    assert [len(request["TransactItems"]) for request in wire.requests] == [100, 100, 50]


# batches


def place(number: int) -> Origin:
    return Origin(SHARD_ID, str(number))


def copies(count: int) -> list[RedrivenCopy]:
    return [RedrivenCopy(place(n), Lineage(place(n), 1), place(n)) for n in range(count)]


def marks(count: int) -> list[QuarantinedRecord]:
    return [QuarantinedRecord(place(n), place(n), "rule", "poison", "key", n, "kind-1") for n in range(count)]


WRITES: dict[str, Callable[[DynamoLedger, int], None]] = {
    "lineage": lambda table, count: table.record_redriven("s", "one", copies(count)),
    "quarantine": lambda table, count: table.record_quarantined("s", "one", marks(count)),
}


def written(request: dict[str, Any]) -> list[str]:
    return [r["PutRequest"]["Item"]["pk"]["S"].split("#")[-1] for r in request["RequestItems"][TABLE]]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_twenty_five_items_are_written_a_call(write: Callable[[DynamoLedger, int], None]) -> None:
    table, wire, clock = ledger(reply({"UnprocessedItems": {}}))
    write(table, 60)
    assert [len(written(request)) for request in wire.requests] == [25, 25, 10]
    assert sorted(n for request in wire.requests for n in written(request)) == sorted(str(n) for n in range(60))
    assert clock.slept == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_items_that_were_not_written_are_written_again_and_no_others(
    write: Callable[[DynamoLedger, int], None],
) -> None:
    def leave(*numbers: int) -> Answer:
        left = [{"PutRequest": {"Item": {"pk": {"S": f"RECORD#s#{SHARD_ID}#{n}"}}}} for n in numbers]
        return reply({"UnprocessedItems": {TABLE: left} if left else {}})

    table, wire, clock = ledger(leave(3, 4), leave(4), leave())
    write(table, 6)
    assert [written(request) for request in wire.requests] == [["0", "1", "2", "3", "4", "5"], ["3", "4"], ["4"]]
    assert clock.slept[0] < clock.slept[1]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_items_that_are_never_written_are_given_up(write: Callable[[DynamoLedger, int], None]) -> None:
    left = {"PutRequest": {"Item": {"pk": {"S": "RECORD#s#shard#1"}}}}
    table, _, _ = ledger(reply({"UnprocessedItems": {TABLE: [left]}}))
    with pytest.raises(ServiceBusy, match="unprocessed"):
        write(table, 2)


def lineage_item(number: int) -> dict[str, Any]:
    return {
        "pk": {"S": f"RECORD#s#{SHARD_ID}#{number}"},
        "sk": {"S": "LINEAGE"},
        "origin_shard": {"S": SHARD_ID},
        "origin_sequence": {"S": f"{number}0"},
        "attempt": {"N": "2"},
    }


def test_keys_that_were_not_read_are_read_again() -> None:
    def keys(*numbers: int) -> dict[str, Any]:
        left = [{name: lineage_item(n)[name] for name in ("pk", "sk")} for n in numbers]
        return {TABLE: {"Keys": left, "ConsistentRead": True}} if left else {}

    table, wire, clock = ledger(
        reply({"Responses": {TABLE: [lineage_item(1)]}, "UnprocessedKeys": keys(2, 3)}),
        reply({"Responses": {}, "UnprocessedKeys": keys(2, 3)}),
        reply({"Responses": {TABLE: [lineage_item(3)]}, "UnprocessedKeys": {}}),
    )
    found = table.lineage_of("s", [place(1), place(2), place(3)])
    assert dict(found) == {place(n): Lineage(place(n * 10), 2) for n in (1, 3)}
    asked_for = [[k["pk"]["S"][-1] for k in r["RequestItems"][TABLE]["Keys"]] for r in wire.requests]
    assert asked_for == [["1", "2", "3"], ["2", "3"], ["2", "3"]]
    assert all(r["RequestItems"][TABLE]["ConsistentRead"] for r in wire.requests)
    assert len(clock.slept) == 2


def test_keys_that_are_never_read_are_given_up() -> None:
    left = {TABLE: {"Keys": [{"pk": {"S": "RECORD"}, "sk": {"S": "LINEAGE"}}]}}
    table, _, _ = ledger(reply({"Responses": {}, "UnprocessedKeys": left}))
    with pytest.raises(ServiceBusy, match="unprocessed"):
        table.lineage_of("s", [place(1)])


def test_a_hundred_keys_are_read_a_call() -> None:
    table, wire, _ = ledger(reply({"Responses": {}, "UnprocessedKeys": {}}))
    table.lineage_of("s", [place(n) for n in range(230)])
    assert [len(r["RequestItems"][TABLE]["Keys"]) for r in wire.requests] == [100, 100, 30]


# the cursor

CURSOR = RedriveCursor(
    next_line=3, carried=((0, 1),), open_since=START + timedelta(microseconds=7_900), open_records=((0, 2),), version=4
)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("cursor", [CURSOR, replace(CURSOR, open_since=None, open_records=())])
def test_a_save_whose_own_answer_was_lost_is_not_taken_for_a_conflict(cursor: RedriveCursor) -> None:
    create_table(boto3.client("dynamodb"))
    client = clients.dynamodb()
    table = DynamoLedger(client, TABLE, MemoryClock())
    before = saved_up_to(table, cursor.version)
    table.save_redrive_cursor("one", replace(cursor, version=before))  # the write whose answer nobody heard
    saved = table.save_redrive_cursor("one", replace(cursor, version=before))  # what botocore sends again
    assert saved.version == before + 1
    assert table.save_redrive_cursor("one", saved).version == before + 2


def saved_up_to(table: DynamoLedger, version: int) -> int:
    cursor = RedriveCursor()
    while cursor.version < version:
        cursor = table.save_redrive_cursor("one", cursor)
    return cursor.version


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    "change",
    [
        {"next_line": 4},
        {"next_chunk": 1},
        {"carried": ()},
        {"sent": 1},
        {"open_records": ((0, 3),)},
        {"open_since": START},
        {"open_since": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_save_of_another_run_is_a_conflict_however_alike(change: dict[str, Any]) -> None:
    create_table(boto3.client("dynamodb"))
    table = DynamoLedger(clients.dynamodb(), TABLE, MemoryClock())
    version = saved_up_to(table, CURSOR.version)
    table.save_redrive_cursor("one", replace(CURSOR, version=version, **change))
    with pytest.raises(WriteConflict):
        table.save_redrive_cursor("one", replace(CURSOR, version=version))


def test_the_client_repeats_a_save_whose_answer_was_lost() -> None:
    table, wire, _ = ledger(broken(TIMEOUT), reply({}))
    assert table.save_redrive_cursor("one", CURSOR).version == 5
    assert wire.requests[0] == wire.requests[1]


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ((), ""),
        (((0, 0),), "0:0"),
        (tuple((0, n) for n in range(500)), "0:0-499"),
        (((0, 8), (0, 9), (1, 10), (1, 0), (1, 2), (1, 1)), "0:8-9 1:10 1:0 1:2 1:1"),
    ],
)
def test_positions_are_kept_short_and_in_order(positions: tuple[tuple[int, int], ...], text: str) -> None:
    assert encode_positions(positions) == text
    assert decode_positions(text) == positions


# the probe's announcements

CALL = ProbeCall(START, (7, 8))
REFUSED = refusal("ConditionalCheckFailedException")


def stored_call(moment: str) -> Answer:
    item = {
        "pk": {"S": "INCIDENT#one"},
        "sk": {"S": "PROBE#0000"},
        "records": {"S": "7 8"},
        "announced_at": {"S": moment},
    }
    return reply({"Items": [item]})


def test_an_announcement_whose_answer_was_lost_is_no_conflict() -> None:
    table, wire, _ = ledger(broken(TIMEOUT), REFUSED, stored_call(format_time(START)))
    table.announce_probe("one", 0, CALL)
    assert len(wire.requests) == 3


def test_an_announcement_of_another_run_is_a_conflict_though_its_records_are_the_same() -> None:
    table, _, _ = ledger(REFUSED, stored_call(format_time(START - timedelta(seconds=1))))
    with pytest.raises(WriteConflict):
        table.announce_probe("one", 0, CALL)


# what the table holds


@pytest.mark.usefixtures("aws")
def test_every_item_outlives_its_messages_and_goes_by_itself_in_the_end() -> None:
    client = boto3.client("dynamodb")
    create_table(client)
    table = DynamoLedger(clients.dynamodb(), TABLE, MemoryClock())
    table.claim("one", "shard", RANGES)
    for write in WRITES.values():
        write(table, 1)
    table.save_redrive_cursor("one", RedriveCursor())
    table.mark_done("one", "step")
    table.announce_probe("one", 0, CALL)
    table.record_probe("one", 0, CALL)
    items = client.scan(TableName=TABLE)["Items"]
    assert len(items) == 8
    for item in items:
        left = int(item["expires_at"]["N"]) - START.timestamp()
        assert timedelta(days=23 + 14 + 14 + 90) < timedelta(seconds=left) < timedelta(days=500)
