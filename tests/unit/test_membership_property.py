"""Membership under any lanes, filters, failures and losses: it may not know, but it is never wrong."""

from collections import Counter, deque
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stream_redrive.core.manifest import Outcome
from stream_redrive.core.ports import MappingSettings
from tests.support.lanes import AFTER, FILTERS, Put, Shard, mapping, unwanted, wanted

UNCLEAR = Put("k0", b"\xf3\x89\x9a\xc2")  # whether it passes is not documented


@dataclass(frozen=True)
class World:
    """A shard and what went wrong on it. reported: places of records that failed, in these batches or in others."""

    shard: Shard
    settings: MappingSettings
    reported: frozenset[int]

    def wrong(self, settings: MappingSettings | None) -> list[str]:
        """What is said of a record and is not so."""
        alone = all(notice.outcome is not Outcome.AMBIGUOUS for notice in self.shard.notices)
        found = []
        answers = self.shard.answers(settings, self.reported)
        for batch, notice, known in zip(self.shard.batches, self.shard.notices, answers, strict=True):
            if notice.outcome is Outcome.PARTIAL and alone and (settings is None or settings.changed_at == AFTER):
                continue  # taken for what is left of its batch, as nothing speaks against it
            for place, said in known.items():
                if said is True and place not in batch and place not in self.reported:
                    found.append(f"{place} was not in {sorted(batch)}")
                if said is False and place in batch:
                    found.append(f"{place} was in {sorted(batch)}")
        if found or Outcome.PARTIAL in {notice.outcome for notice in self.shard.notices}:
            return found
        failed = {place for batch in self.shard.batches for place in batch}
        for place, said in self.shard.failed(settings, self.reported).items():
            if said is not None and said is not (place in failed) and not (said and place in self.reported):
                found.append(f"{place} failed: {place in failed}")
        return found


def world(random: Random) -> World:
    """Any world."""
    factor, filters = random.choice([1, 1, 2, 2, 3, 5]), FILTERS if random.random() < 0.5 else ()
    keys: list[str | None] = [f"k{n}" for n in range(random.choice([2, 5, 30]))]
    lane_of = {key: random.randrange(factor) for key in keys}
    share = random.choice([0.1, 0.5, 0.9])
    if random.random() < 0.1:
        keys.append(None)
    records: list[Put] = []
    lanes: dict[int, list[int]] = {}
    for place in range(random.choice([6, 15, 60])):
        key = random.choice(keys)
        put = wanted(key) if random.random() < share else unwanted(key)
        passes = put == wanted(key)
        if random.random() < 0.05:
            put, passes = replace(UNCLEAR, key=key), random.random() < 0.5
        records.append(put)
        if passes or not filters:
            lanes.setdefault(random.randrange(factor) if key is None else lane_of[key], []).append(place)
    failed, reported = [], set()
    likely = random.choice([0.3, 0.9])
    for left in map(deque, lanes.values()):
        while left:
            batch = [left.popleft() for _ in range(min(len(left), random.choice([1, 2, 3, 5, 8])))]
            if random.random() < 0.1:
                reported.add(random.choice(batch))  # it may have gone through the next time
            if random.random() < likely:
                failed.append(batch[random.choice([0, 0, 1]) :] or batch)
    random.shuffle(failed)
    trimmed = random.choice([0, 0, 0, random.randrange(len(records))])
    shard = Shard(records, failed[: random.choice([1, 2, 20])], trimmed)
    return World(shard, mapping(filters, factor), frozenset(reported))


@settings(max_examples=400)
@given(st.randoms(use_true_random=False))
def test_no_record_is_taken_for_what_it_is_not(random: Random) -> None:
    drawn = world(random)
    event(f"{drawn.settings.parallelization_factor} lanes, {len(drawn.settings.filters)} filters")
    assert drawn.wrong(drawn.settings) == []
    assert drawn.wrong(None) == []
    assert drawn.wrong(replace(drawn.settings, changed_at=AFTER)) == []


@pytest.mark.parametrize(
    ("lanes", "filters", "told"),
    [(1, FILTERS, 1.0), (2, (), 0.7), (2, FILTERS, 0.7), (3, (), 0.6), (5, (), 0.6)],
)
def test_most_records_of_ambiguous_ranges_can_be_told(lanes: int, filters: tuple[str, ...], told: float) -> None:
    known: Counter[bool] = Counter()
    for seed in range(1500):
        drawn = world(Random(seed))
        if drawn.settings != mapping(filters, lanes) or any(
            record.stream.data == UNCLEAR.data for record in drawn.shard.records
        ):
            continue
        for notice, said in zip(drawn.shard.notices, drawn.shard.answers(drawn.settings), strict=True):
            if notice.outcome is Outcome.AMBIGUOUS and notice.start in {
                r.stream.sequence_number for r in drawn.shard.captured
            }:
                known.update(answer is not None for answer in said.values())
    assert known[True] >= told * known.total() > 50
