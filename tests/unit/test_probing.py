"""The probe: which records the consumer fails on, found in few invocations, however often the run dies."""

import base64
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.errors import (
    AccessDenied,
    ConsumerNotFound,
    RedriveError,
    ServiceBusy,
    ServiceUnreachable,
    WriteConflict,
)
from stream_redrive.core.policy import ProbeLimits
from stream_redrive.core.ports import ConsumerFunction, ProbeCall
from stream_redrive.core.probing import MAX_GROUP, MAX_GROUP_BYTES, STOP_BEFORE_SECONDS, Probe, ProbeFinding
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support import build
from tests.support.cuts import Cuts
from tests.support.memory import MemoryClock, MemoryConsumer, MemoryLedger

INCIDENT = build.incident(build.notice("1", "9"))
PROCESSED = ProbeFinding(True)
Handler = Callable[[Mapping[str, Any]], Any]


def records(count: int, data: bytes = b"{}") -> list[Record]:
    """Records whose numbers differ in their count of digits: as text they sort otherwise."""
    return [record(number, data) for number in range(8, 8 + count)]


def record(number: int, data: bytes = b"{}") -> Record:
    stream = StreamRecord(build.SHARD_ID, str(number), "k", build.ARRIVED, data)
    return Record(build.STREAM_ARN, stream, Lineage(Origin(build.SHARD_ID, str(number)), 0))


def numbers_of(event: Mapping[str, Any]) -> list[int]:
    return [int(entry["kinesis"]["sequenceNumber"]) for entry in event["Records"]]


def raising_on(*poison: int) -> Handler:
    """A consumer that handles its records in turn and raises at the first that is poison."""

    def handler(event: Mapping[str, Any]) -> None:
        for number in numbers_of(event):
            if number in poison:
                raise KeyError(f"air_time of {number}")

    return handler


def naming_all(*poison: int) -> Handler:
    """A consumer that handles every record and names all that failed."""
    return lambda event: named(n for n in numbers_of(event) if n in poison)


def stopping_at(*poison: int) -> Handler:
    """A consumer that stops at the first failure and names it alone."""
    return lambda event: named([n for n in numbers_of(event) if n in poison][:1])


def named(failed: Any) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": str(number)} for number in failed]}


def error(number: int) -> ProbeFinding:
    return ProbeFinding(False, "KeyError", f"'air_time of {number}'")


@dataclass
class Bench:
    """Probes of one incident. processed: how many times the consumer has processed each record."""

    consumer: MemoryConsumer
    limits: ProbeLimits
    clock: MemoryClock = field(default_factory=MemoryClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def probe(self, function: ConsumerFunction | None = None) -> Probe:
        return Probe(function or self.consumer, self.ledger, self.clock, self.limits, INCIDENT)

    @property
    def invoked(self) -> list[list[int]]:
        return [numbers_of(event) for event in self.consumer.events]


def bench(
    handler: Handler = lambda event: None, refusals: Mapping[int, RedriveError] | None = None, **limits: Any
) -> Bench:
    return Bench(MemoryConsumer(handler, refusals), ProbeLimits(**{"enabled": True, **limits}))


def findings(count: int, *poison: int, error: Callable[[int], ProbeFinding] = error) -> dict[int, ProbeFinding]:
    return {n: error(n) if n in poison else PROCESSED for n in range(8, 8 + count)}


# Which records, and in how many invocations


def test_a_probe_that_is_not_enabled_invokes_nothing() -> None:
    off = bench(enabled=False)
    assert off.probe()(records(3)) == {}
    assert (off.invoked, off.ledger.probes) == ([], {})


def test_few_records_are_invoked_one_by_one_in_the_order_of_the_shard() -> None:
    few = bench(raising_on(9, 11))
    assert few.probe()(records(5)[::-1]) == findings(5, 9, 11)
    assert few.invoked == [[8], [9], [10], [11], [12]]


def test_a_record_is_invoked_as_its_mapping_would_hand_it_over() -> None:
    one = bench()
    one.probe()([record(8, b"\x00\xff")])
    [event] = one.consumer.events
    [entry] = event["Records"]
    assert base64.b64decode(entry["kinesis"]["data"]) == b"\x00\xff"
    assert entry["eventSourceARN"] == build.STREAM_ARN


def test_many_records_that_are_processed_together_cost_one_invocation() -> None:
    many = bench()
    assert many.probe()(records(50)) == findings(50)
    assert many.invoked == [list(range(8, 58))]


@pytest.mark.parametrize("poison", [8, 50, 57, 82, 107])
def test_one_poison_record_among_a_hundred_is_found_within_the_calls_of_the_default(poison: int) -> None:
    hundred = bench(raising_on(poison))
    assert hundred.probe()(records(100)) == findings(100, poison)
    assert len(hundred.invoked) <= ProbeLimits().max_calls


def test_a_group_that_must_hold_the_culprit_is_split_without_being_invoked() -> None:
    late = bench(raising_on(107), max_calls=50)
    late.probe()(records(100))
    assert late.invoked[:3] == [list(range(8, 108)), list(range(8, 58)), list(range(58, 83))]


@given(
    count=st.integers(1, 130),
    poison=st.sets(st.integers(8, 137), max_size=6),
    consumer=st.sampled_from([raising_on, naming_all, stopping_at]),
    max_calls=st.integers(1, 100),
)
def test_what_is_found_is_true_and_what_counts_as_processed_was_processed(
    count: int, poison: set[int], consumer: Callable[..., Handler], max_calls: int
) -> None:
    processed: Counter[int] = Counter()
    handler = consumer(*poison)

    def watched(event: Mapping[str, Any]) -> Any:
        for number in numbers_of(event):
            if number not in poison:
                processed[number] += 1
            elif consumer is not naming_all:
                break
        return handler(event)

    any_bench = bench(watched, max_calls=max_calls, max_seconds=300)
    found = any_bench.probe()(records(count))
    assert len(any_bench.invoked) <= max_calls
    for number, finding in found.items():
        assert finding.processed == (number not in poison)
        assert not finding.processed or processed[number]


def test_a_group_is_no_larger_than_a_batch_and_than_an_invocation_can_take() -> None:
    large = bench(max_calls=4)
    large.probe()(records(MAX_GROUP + 1))
    assert [len(numbers) for numbers in large.invoked] == [MAX_GROUP, 1]
    heavy = bench(max_calls=2)
    heavy.probe()(records(3, bytes(MAX_GROUP_BYTES // 2)))
    assert [len(numbers) for numbers in heavy.invoked] == [2, 1]


def test_a_record_that_no_invocation_can_take_is_left_out() -> None:
    heavy = bench()
    assert heavy.probe()([record(8), record(9, bytes(MAX_GROUP_BYTES + 1)), record(10)]).keys() == {8, 10}


# What an answer says


def test_records_that_an_answer_names_failed_and_the_others_were_processed() -> None:
    naming = bench(naming_all(9, 30))
    unnamed = ProbeFinding(False)
    assert naming.probe()(records(40)) == findings(40, 9, 30, error=lambda _: unnamed)
    assert naming.invoked == [list(range(8, 48)), [n for n in range(10, 48) if n != 30]]


def test_records_behind_the_first_failure_do_not_count_as_processed_unless_they_are_seen_to_be() -> None:
    stopping = bench(stopping_at(20), max_calls=1)
    assert stopping.probe()(records(40)) == {**findings(12), 20: ProbeFinding(False)}


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": None}, {"statusCode": 200}, "done", ["9"], 7])
def test_an_answer_that_names_nothing_means_that_all_were_processed(answer: object) -> None:
    assert bench(lambda event: answer).probe()(records(3)) == findings(3)


@pytest.mark.parametrize(
    "answer", [named(["7777"]), named([""]), {"batchItemFailures": "8"}, {"batchItemFailures": [8]}]
)
def test_an_answer_that_names_what_was_not_there_says_nothing(answer: object) -> None:
    odd = bench(lambda event: answer)
    assert odd.probe()(records(3)) == {}
    assert odd.probe()(records(3)) == {}
    assert odd.invoked == [[8], [9], [10]], "nor does asking again"


def test_a_message_is_kept_no_longer_than_a_report() -> None:
    def handler(event: object) -> None:
        raise ValueError("x" * 10_000)

    [finding] = bench(handler).probe()(records(1)).values()
    assert finding.message == "x" * 500


# When it stops


def outage(event: Mapping[str, Any]) -> None:
    raise ConnectionError(f"no route from 10.0.0.{numbers_of(event)[0]}")


def test_a_consumer_that_fails_alike_on_the_first_three_is_down_and_nothing_is_concluded() -> None:
    down = bench(outage)
    probe = down.probe()
    assert probe(records(9)) == {}
    assert down.invoked == [[8], [9], [10]]
    assert probe(records(15)[9:]) == {}
    assert down.probe()(records(9)) == {}
    assert len(down.invoked) == 3, "neither the rest nor another run invokes it again"


def test_a_consumer_that_is_down_is_found_out_by_halving_as_well() -> None:
    down = bench(outage)
    assert down.probe()(records(100)) == {}
    assert len(down.invoked) <= 10


@pytest.mark.parametrize("poison", [(8, 9), (9, 10, 11, 12), (8, 9, 10)])
def test_records_that_fail_alike_are_believed_once_another_was_processed_or_they_are_few(
    poison: tuple[int, ...],
) -> None:
    mixed = bench(raising_on(*poison))
    count = len(poison) + 1
    outcome = mixed.probe()(records(count))
    assert outcome == (findings(count, *poison) if len(poison) != 3 else {})


def test_failures_that_differ_are_no_outage() -> None:
    def handler(event: Mapping[str, Any]) -> None:
        raise ValueError("abcd"[numbers_of(event)[0] - 8])

    assert len(bench(handler).probe()(records(4))) == 4


def test_no_more_invocations_are_made_than_the_policy_allows_whatever_the_number_of_runs() -> None:
    short = bench(raising_on(8, 12), max_calls=3)
    found = short.probe()(records(40))
    assert short.probe()(records(40)) == found
    assert len(short.invoked) == 3


def test_nothing_is_invoked_after_the_policys_time() -> None:
    slow = bench(max_seconds=10)

    def handler(event: object) -> None:
        slow.clock.sleep(4)

    slow.consumer.handler = handler
    assert slow.probe()(records(9)) == findings(3)
    slow.clock.sleep(3600)
    assert slow.probe()(records(9)) == findings(3)
    assert slow.invoked == [[8], [9], [10]]


def test_nothing_is_invoked_when_the_run_itself_has_no_time_left() -> None:
    late = bench()
    late.clock.limit = late.clock.time + timedelta(seconds=STOP_BEFORE_SECONDS - 1)
    assert late.probe()(records(3)) == {}
    assert late.ledger.probes == {}


@pytest.mark.parametrize(
    "refusal", [ServiceBusy("x"), AccessDenied("x"), ConsumerNotFound("x"), ServiceUnreachable("x")]
)
def test_a_probe_that_is_refused_keeps_what_it_has_found_and_asks_no_more(refusal: RedriveError) -> None:
    refused = bench(raising_on(8), refusals={3: refusal})
    probe = refused.probe()
    assert probe(records(5)) == findings(2, 8)
    assert probe(records(9)[5:]) == {}
    assert len(refused.invoked) == 3


def test_calls_and_time_are_shared_by_all_the_records_of_an_incident() -> None:
    shared = bench(max_calls=5)
    probe = shared.probe()
    assert len(probe(records(3))) == 3
    assert len(probe(records(20)[3:])) == 17
    assert shared.invoked[3:] == [list(range(11, 28))]


# Killed anywhere, run again


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("cut", range(1, 17))
def test_no_record_is_invoked_again_after_an_invocation_that_may_have_processed_it(
    cut: int, after_effect: bool
) -> None:
    again = bench(raising_on(9))
    cuts = Cuts({cut: after_effect})

    def run() -> Mapping[int, ProbeFinding]:
        ledger, function = cuts.guard(again.ledger), cuts.guard(again.consumer)
        return Probe(function, ledger, again.clock, again.limits, INCIDENT)(records(5))

    with suppress(ServiceUnreachable):
        run()
    found = run()
    invoked = Counter(number for group in again.invoked for number in group)
    assert set(invoked.values()) <= {1}
    assert found.items() <= findings(5, 9).items()
    assert len(found) >= 4
    assert found.keys() | unanswered(again) == set(range(8, 13))
    assert run() == found


def unanswered(made: Bench) -> set[int]:
    calls: Collection[ProbeCall] = made.ledger.probe_calls(INCIDENT.id)
    return {number for call in calls if call.findings is None for number in call.sequence_numbers}


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("cut", range(1, 30))
def test_a_halving_that_died_goes_on_where_it_was(cut: int, after_effect: bool) -> None:
    again = bench(raising_on(30), max_calls=15)
    cuts = Cuts({cut: after_effect})
    found: Mapping[int, ProbeFinding] = {}
    for _ in range(2):
        ledger, function = cuts.guard(again.ledger), cuts.guard(again.consumer)
        try:
            found = Probe(function, ledger, again.clock, again.limits, INCIDENT)(records(40))
        except ServiceUnreachable:
            continue
    lost = unanswered(again)
    assert found.keys() | lost == set(range(8, 48))
    assert found.items() <= findings(40, 30).items()
    assert len(again.invoked) <= 15
    assert len({tuple(group) for group in again.invoked}) == len(again.invoked), "no group is invoked twice"


def test_of_two_runs_at_once_one_gives_way() -> None:
    twice = bench()
    slower = twice.probe()

    def handler(event: object) -> None:
        if len(twice.invoked) == 1:
            twice.probe()(records(3))

    twice.consumer.handler = handler
    with pytest.raises(WriteConflict):
        slower(records(3))
