"""The stream poller at work: what reaches the function, what becomes of failures."""

from __future__ import annotations

import base64
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from stream_redrive.core.event_filter import RecordFilter
from stream_redrive_cli.lab.mapping.backoff import Backoff
from stream_redrive_cli.lab.mapping.lane import lane_of
from stream_redrive_cli.lab.mapping.readers import After, ReadError, Shard, ShardGoneError, Since
from tests.unit.lab_mapping.support import (
    FakeLambda,
    ListDestination,
    ListReader,
    client_error,
    event,
    eventually,
    is_idle,
    mapping,
    polling,
)


def numbers(received: dict[str, Any]) -> list[int]:
    return [int(record["kinesis"]["sequenceNumber"]) for record in received["Records"]]


def raises_on(*poison: int) -> FakeLambda:
    def handler(received: dict[str, Any]) -> None:
        if set(poison) & set(numbers(received)):
            raise ZeroDivisionError

    return FakeLambda(handler)


def reports(*poison: int) -> FakeLambda:
    def handler(received: dict[str, Any]) -> dict[str, Any]:
        bad = [number for number in numbers(received) if number in poison]
        return {"batchItemFailures": [{"itemIdentifier": str(number)} for number in bad]}

    return FakeLambda(handler)


def accepts() -> FakeLambda:
    return FakeLambda(lambda _: None)


def test_records_come_in_order_and_in_batches_of_the_set_size() -> None:
    reader, function = ListReader(), accepts()
    reader.put(*(event(number) for number in range(1, 26)))
    with polling(mapping(batch_size=10), function, reader) as poller:
        eventually(is_idle(poller, time.time()))
    assert function.batches == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]
    assert poller.tally.snapshot() == {
        "read": 25,
        "filtered": 0,
        "delivered": 25,
        "discarded": 0,
        "invocations": 3,
        "errors": 0,
        "refused": 0,
        "notices": 0,
        "notice_failures": 0,
    }


def test_poison_pill_is_bisected_out_and_reported_once() -> None:
    reader, function, destination = ListReader(), raises_on(2), ListDestination()
    reader.put(event(1), event(2), event(3))
    with polling(mapping(bisect=True, maximum_retry_attempts=2), function, reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    assert destination.ranges == [(2, 2, 1)]
    assert function.batches == [[1, 2, 3], [1], [2, 3], [2], [2], [2], [3]]
    notice = destination.notices[0]
    assert notice["requestContext"]["approximateInvokeCount"] == 3
    assert notice["requestContext"]["requestId"] == "request-6"
    assert notice["responseContext"]["functionError"] == "Unhandled"
    counts = poller.tally.snapshot()
    assert (counts["delivered"], counts["discarded"], counts["notices"]) == (2, 1, 1)
    assert (counts["invocations"], counts["errors"]) == (7, 5)


def test_partial_response_retries_from_its_checkpoint() -> None:
    reader, function, destination = ListReader(), reports(3, 4), ListDestination()
    reader.put(*(event(number) for number in range(1, 6)))
    settings = mapping(partial_responses=True, maximum_retry_attempts=1)
    with polling(settings, function, reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[1, 2, 3, 4, 5], [3, 4, 5]]
    assert destination.ranges == [(3, 5, 3)]
    assert destination.notices[0]["responseContext"]["functionError"] is None


@pytest.mark.parametrize("identifier", ["", None, "99"])
def test_invalid_item_identifier_fails_the_whole_batch(identifier: str | None) -> None:
    function = FakeLambda(lambda _: {"batchItemFailures": [{"itemIdentifier": identifier}]})
    reader, destination = ListReader(), ListDestination()
    reader.put(event(1), event(2))
    settings = mapping(partial_responses=True, maximum_retry_attempts=0)
    with polling(settings, function, reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    assert destination.ranges == [(1, 2, 2)]


def test_throttles_use_up_no_retry() -> None:
    refusals = [client_error("TooManyRequestsException"), client_error("ServiceException")] * 3

    def handler(_: dict[str, Any]) -> None:
        if refusals:
            raise refusals.pop()

    reader, function, destination = ListReader(), FakeLambda(handler), ListDestination()
    reader.put(event(1))
    with polling(mapping(maximum_retry_attempts=0), function, reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    counts = poller.tally.snapshot()
    assert (counts["refused"], counts["invocations"], counts["delivered"]) == (6, 1, 1)
    assert not destination.notices


def test_event_over_the_payload_limit_ends_in_a_notice() -> None:
    def handler(_: dict[str, Any]) -> None:
        raise client_error("RequestTooLargeException")

    reader, destination = ListReader(), ListDestination()
    reader.put(event(1))
    with polling(mapping(maximum_retry_attempts=1), FakeLambda(handler), reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    assert destination.ranges == [(1, 1, 1)]
    assert destination.notices[0]["responseContext"]["statusCode"] == 413


def test_expired_records_are_never_delivered_and_young_ones_are() -> None:
    reader, function, destination = ListReader(), accepts(), ListDestination()
    old = time.time() - 61
    reader.put(event(1, arrived_at=old), event(2, arrived_at=old), event(3))
    with polling(mapping(maximum_record_age_seconds=60), function, reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[3]]
    assert destination.ranges == [(1, 2, 2)]
    assert destination.notices[0]["requestContext"]["condition"] == "RecordAgeExceeded"
    assert destination.notices[0]["requestContext"]["approximateInvokeCount"] == 1
    assert "responseContext" not in destination.notices[0]


def test_record_that_expires_between_retries_is_given_up() -> None:
    now = time.time()
    reader, destination = ListReader(), ListDestination()
    function = raises_on(1)
    reader.put(event(1, arrived_at=now))
    ages = iter(range(0, 1_000_000, 30))  # half a minute passes between any two looks at the clock
    lock = threading.Lock()

    def clock() -> float:
        with lock:
            return now + next(ages)

    settings = mapping(maximum_record_age_seconds=120, maximum_retry_attempts=-1)
    with polling(settings, function, reader, destination, clock=clock):
        eventually(lambda: bool(destination.notices))
    assert destination.notices[0]["requestContext"]["condition"] == "RecordAgeExceeded"
    assert destination.notices[0]["requestContext"]["approximateInvokeCount"] == len(function.events) >= 1


def test_filtered_records_are_passed_in_silence() -> None:
    reader, function, destination = ListReader(), raises_on(4), ListDestination()
    odd, even = (base64.b64encode(data).decode() for data in (b'{"even": false}', b'{"even": true}'))
    reader.put(*(event(number, data=odd if number % 2 else even) for number in range(1, 7)))
    only_even = RecordFilter.parse(['{"data": {"even": [true]}}'])
    settings = mapping(filters=only_even, maximum_retry_attempts=0)
    with polling(settings, function, reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[2, 4, 6]]
    # The range on the shard holds 5 records; the batch held 3.
    assert destination.ranges == [(2, 6, 3)]
    assert poller.tally.snapshot()["filtered"] == 3


def test_lanes_keep_the_order_of_each_key_and_run_side_by_side() -> None:
    keys = [f"key-{number}" for number in range(8)]
    lanes = {lane_of(key, 2) for key in keys}
    assert lanes == {0, 1}
    both = threading.Barrier(2, timeout=20)
    meet = iter([True, True])

    def handler(_: dict[str, Any]) -> None:
        if next(meet, False):
            both.wait()  # passes only with two invocations in flight

    reader, function = ListReader(), FakeLambda(handler)
    reader.put(*(event(number, key=keys[number % 8]) for number in range(1, 81)))
    with polling(mapping(batch_size=5, parallelization_factor=2), function, reader) as poller:
        eventually(is_idle(poller, time.time()))
    seen: dict[str, list[int]] = defaultdict(list)
    for received in function.events:
        assert len({lane_of(r["kinesis"]["partitionKey"], 2) for r in received["Records"]}) == 1
        for r in received["Records"]:
            seen[r["kinesis"]["partitionKey"]].append(int(r["kinesis"]["sequenceNumber"]))
    assert sorted(number for lane in seen.values() for number in lane) == list(range(1, 81))
    assert all(order == sorted(order) for order in seen.values())
    assert function.most_running == 2
    assert poller.positions() == {"shard-0": After("80")}


def test_stuck_lane_holds_the_checkpoint_but_not_the_other_lane() -> None:
    slow, fast = next(k for k in "abcdef" if not lane_of(k, 2)), next(k for k in "abcdef" if lane_of(k, 2))
    release = threading.Event()

    def handler(received: dict[str, Any]) -> None:
        if received["Records"][0]["kinesis"]["partitionKey"] == slow:
            release.wait(20)

    reader, function = ListReader(), FakeLambda(handler)
    reader.put(event(1, key=fast), event(2, key=slow), event(3, key=fast))
    with polling(mapping(parallelization_factor=2), function, reader) as poller:
        eventually(lambda: poller.tally.snapshot()["delivered"] == 2)
        assert poller.positions() == {"shard-0": After("1")}
        assert poller.settled_until() is None
        release.set()
        eventually(is_idle(poller, time.time()))
    assert poller.positions() == {"shard-0": After("3")}


def test_window_gathers_records_that_come_one_by_one() -> None:
    reader, function = ListReader(), accepts()
    with polling(mapping(batch_size=3, window_seconds=300), function, reader) as poller:
        for number in (1, 2, 3):
            reader.put(event(number))
            eventually(lambda n=number: poller.tally.snapshot()["read"] == n)  # type: ignore[misc]  # bound now
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[1, 2, 3]]


def test_window_ends_with_a_batch_that_is_not_full() -> None:
    reader, function = ListReader(), accepts()
    reader.put(event(1), event(2))
    began = time.monotonic()
    with polling(mapping(batch_size=3, window_seconds=0.2), function, reader) as poller:
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[1, 2]]
    assert time.monotonic() - began >= 0.2


def test_notice_is_tried_until_the_destination_takes_it() -> None:
    reader, destination = ListReader(), ListDestination(failures=3)
    reader.put(event(1))
    with polling(mapping(maximum_retry_attempts=0), raises_on(1), reader, destination) as poller:
        eventually(is_idle(poller, time.time()))
    counts = poller.tally.snapshot()
    assert (counts["notice_failures"], counts["notices"], len(destination.notices)) == (3, 1, 1)


def test_undelivered_notice_keeps_the_records_unsettled() -> None:
    reader, destination = ListReader(), ListDestination(failures=1_000_000)
    reader.put(event(1))
    settings = mapping(maximum_retry_attempts=0)
    slowly = Backoff(base=0.01, most=0.01)
    with polling(settings, raises_on(1), reader, destination, backoff=slowly) as poller:
        eventually(lambda: poller.tally.snapshot()["notice_failures"] > 2)
        assert poller.settled_until() is None
    assert poller.tally.snapshot()["discarded"] == 0
    assert poller.positions() == {"shard-0": "TRIM_HORIZON"}


def test_stop_ends_a_long_backoff_at_once() -> None:
    reader, function = ListReader(), raises_on(1)
    reader.put(event(1))
    with polling(mapping(), function, reader, backoff=Backoff(base=3_600, most=3_600)):
        eventually(lambda: len(function.events) == 1)


def test_next_poller_goes_on_where_the_last_one_stood() -> None:
    reader, function = ListReader(), accepts()
    reader.put(event(1), event(2))
    with polling(mapping(starting_position="LATEST"), function, reader) as first:
        eventually(lambda: first.ready)
        reader.put(event(3))
        eventually(lambda: first.positions() == {"shard-0": After("3")})
    reader.put(event(4))
    with polling(mapping(batch_size=1), function, reader, positions=first.positions()) as second:
        eventually(is_idle(second, time.time()))
    assert function.batches == [[3], [4]]


def test_unread_latest_shard_is_resumed_from_the_time_it_began() -> None:
    reader, before = ListReader(), time.time()
    with polling(mapping(starting_position="LATEST"), accepts(), reader) as poller:
        eventually(lambda: poller.ready)
    start = poller.positions()["shard-0"]
    assert isinstance(start, Since)
    assert before <= start.moment <= time.time()


def test_lost_iterator_is_fetched_again_and_no_record_comes_twice() -> None:
    reader, function = ListReader(), accepts()
    reader.put(event(1))
    with polling(mapping(), function, reader) as poller:
        eventually(lambda: function.batches == [[1]])
        reader.lost.set()
        eventually(lambda: not reader.lost.is_set())
        reader.put(event(2))
        eventually(lambda: len(function.batches) == 2)
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[1], [2]]
    assert reader.starts == [("shard-0", "TRIM_HORIZON"), ("shard-0", After("1"))]


def test_failing_reads_are_waited_out() -> None:
    reader, function = ListReader(), accepts()
    reader.put(event(1))
    reader.failures = [ReadError("throttled")] * 6
    with polling(mapping(), function, reader) as poller:
        eventually(is_idle(poller, time.time()))
    assert function.batches == [[1]]


def test_child_shard_waits_for_its_parent() -> None:
    parent, child = Shard("shard-0"), Shard("shard-1", parents=("shard-0",))
    reader, function = ListReader(parent, child), accepts()
    reader.put(event(1))
    reader.put(event(2), shard_id="shard-1")
    with polling(mapping(), function, reader) as poller:
        eventually(lambda: poller.ready and function.batches == [[1]])
        assert [shard_id for shard_id, _ in reader.starts] == ["shard-0"]
        reader.closed.add("shard-0")
        eventually(lambda: function.batches == [[1], [2]])


def test_new_shard_is_read_from_its_beginning() -> None:
    reader, function = ListReader(), accepts()
    with polling(mapping(starting_position="LATEST"), function, reader) as poller:
        eventually(lambda: poller.ready)
        reader.put(event(7), shard_id="shard-1")
        reader.listed.append(Shard("shard-1"))
        eventually(lambda: function.batches == [[7]])
    assert reader.starts == [("shard-0", "LATEST"), ("shard-1", "TRIM_HORIZON")]


def test_deleted_shard_is_done_and_its_id_may_come_back() -> None:
    reader, function = ListReader(), accepts()
    reader.put(event(50))
    with polling(mapping(), function, reader) as poller:
        eventually(lambda: function.batches == [[50]])
        reader.listed = []
        reader.failures = [ShardGoneError("shard-0")] * 4
        eventually(lambda: not reader.failures)
        reader.events["shard-0"] = [event(1)]
        reader.listed = [Shard("shard-0")]
        eventually(lambda: function.batches == [[50], [1]])
        eventually(is_idle(poller, time.time()))
