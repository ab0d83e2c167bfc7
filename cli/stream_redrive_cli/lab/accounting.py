"""Accounts for every produced record by comparing it with what sink, vault, stream and ledger hold. No AWS here."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_redrive_cli.lab.inputs import Fate, Input

_NOT_FOR_THE_SINK = (Fate.DROPPED, Fate.FILTERED)


class Place(NamedTuple):
    """Where a record lies in the stream. Numbers are compared as integers: some clouds pad them with zeros."""

    shard_id: str
    sequence_number: int


@dataclass(frozen=True)
class ChunkLine:
    """A line of a captured or quarantined chunk."""

    origin: Place
    attempt: int
    partition_key: str
    data: bytes
    sha256: str


@dataclass(frozen=True)
class StreamRecord:
    place: Place
    partition_key: str
    data: bytes


@dataclass(frozen=True)
class MissingRange:
    """A range that was gone from the stream before it could be captured."""

    shard_id: str
    start: int
    end: int

    def covers(self, place: Place) -> bool:
        return place.shard_id == self.shard_id and self.start <= place.sequence_number <= self.end


@dataclass(frozen=True)
class Observation:
    """What the lab found at the end. `copies`: records in the stream that the lab did not produce.

    `lineage`: place of a copy to the origin and attempt that the ledger gives it. `poison_payloads`: origin and
    bytes of each record message on the poison queue.
    """

    captured: Sequence[ChunkLine] = ()
    quarantined: Sequence[ChunkLine] = ()
    sink: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    copies: Sequence[StreamRecord] = ()
    lineage: Mapping[Place, tuple[Place, int]] = field(default_factory=dict)
    missing: Sequence[MissingRange] = ()
    poison_payloads: Sequence[tuple[Place, bytes]] = ()


@dataclass
class Tally:
    """Numbers of one kind of record, or of all of them; a record is in each number at most once."""

    produced: int = 0
    consumed: int = 0
    dropped: int = 0
    captured: int = 0
    redriven: int = 0
    healed: int = 0
    quarantined: int = 0
    expired: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Account:
    """The result. `settled`: every record has an end. `problems`: what contradicts the input's fates, in words."""

    total: Tally
    kinds: Mapping[str, Tally]
    duplicates: int
    settled: bool
    problems: Sequence[str]


def account(produced: Mapping[Place, Input], seen: Observation) -> Account:
    """Give every produced record its end.

    consumed: in the sink with the right content, or dropped by the consumer or its filter on purpose.
    healed: consumed into the sink after a capture. quarantined: there with its own bytes. expired: within a range that
    was reported missing. lost: none of these. Duplicates are records that ended more than once: twice in quarantine, in
    quarantine and sink, or put into the stream twice for the same attempt (or with no lineage that explains it).
    """
    broken = sorted({line.origin for line in (*seen.captured, *seen.quarantined) if line.origin in seen.lineage})
    seen = _traced_back(seen)
    origin_of = {place: origin for place, (origin, _) in seen.lineage.items()}
    captured = {line.origin for line in seen.captured if _faithful(line, produced)}
    quarantine = Counter(line.origin for line in seen.quarantined if _faithful(line, produced))
    redriven = {origin_of[copy.place] for copy in seen.copies if copy.place in origin_of}
    expired = {
        origin
        for origin, place in [(p, p) for p in produced] + [(o, p) for p, o in origin_of.items()]
        if any(gap.covers(place) for gap in seen.missing)
    }
    kinds: dict[str, Tally] = defaultdict(Tally)
    total = Tally()
    problems = _damage(produced, seen)
    problems += [f"the copy {_named(place)} was captured as if it were an original" for place in broken]
    for place, record in produced.items():
        in_sink = record.item is not None and seen.sink.get(record.item["id"]) == record.item
        in_quarantine = place in quarantine
        has_expired = place in expired and not in_sink and not in_quarantine
        dropped = record.fate in _NOT_FOR_THE_SINK and not in_quarantine and not has_expired
        lost = not (in_sink or in_quarantine or has_expired or dropped)
        for tally in (kinds[record.kind], total):
            tally.produced += 1
            tally.consumed += in_sink or dropped
            tally.dropped += dropped
            tally.captured += place in captured
            tally.redriven += place in redriven
            tally.healed += in_sink and place in captured
            tally.quarantined += in_quarantine
            tally.expired += has_expired
            tally.lost += lost
        problems += _contradictions(place, record, in_sink, in_quarantine, seen)
        if record.fate is Fate.FILTERED and place in redriven:
            problems.append(f"{record.kind} {_named(place)} was redriven, though the consumer never had it")
    problems += _strangers(produced, seen)
    return Account(
        total=total,
        kinds=dict(kinds),
        duplicates=_duplicates(produced, seen, quarantine),
        settled=total.lost == 0,
        problems=problems,
    )


def _traced_back(seen: Observation) -> Observation:
    """The same, with every origin traced to a record that is no copy itself."""

    def traced(origin: Place) -> Place:
        passed = set()
        while origin in seen.lineage and origin not in passed:
            passed.add(origin)
            origin = seen.lineage[origin][0]
        return origin

    return replace(
        seen,
        captured=[replace(line, origin=traced(line.origin)) for line in seen.captured],
        quarantined=[replace(line, origin=traced(line.origin)) for line in seen.quarantined],
        lineage={place: (traced(origin), attempt) for place, (origin, attempt) in seen.lineage.items()},
        poison_payloads=[(traced(origin), data) for origin, data in seen.poison_payloads],
    )


def _faithful(line: ChunkLine, produced: Mapping[Place, Input]) -> bool:
    record = produced.get(line.origin)
    return record is not None and (line.data, line.partition_key, line.sha256) == (
        record.data,
        record.partition_key,
        hashlib.sha256(record.data).hexdigest(),
    )


def _damage(produced: Mapping[Place, Input], seen: Observation) -> list[str]:
    problems = [
        f"{what} record {_named(line.origin)} differs from what was produced"
        for what, lines in (("captured", seen.captured), ("quarantined", seen.quarantined))
        for line in lines
        if line.origin in produced and not _faithful(line, produced)
    ]
    for copy in seen.copies:
        origin, _ = seen.lineage.get(copy.place, (None, 0))
        record = produced.get(origin) if origin is not None else None
        if record is not None and (copy.data, copy.partition_key) != (record.data, record.partition_key):
            problems.append(f"the copy {_named(copy.place)} differs from its origin")
    return problems


def _contradictions(place: Place, record: Input, in_sink: bool, in_quarantine: bool, seen: Observation) -> list[str]:
    problems = []
    if in_quarantine and record.fate is not Fate.QUARANTINE:
        problems.append(f"{record.kind} {_named(place)} is in quarantine and should not be")
    if in_quarantine:
        payloads = [data for origin, data in seen.poison_payloads if origin == place]
        if payloads != [record.data]:
            problems.append(
                f"{record.kind} {_named(place)} has {len(payloads)} poison messages, not one with its payload"
            )
    if not in_sink and record.item is not None and record.item["id"] in seen.sink:
        problems.append(f"{record.kind} {_named(place)} is in the sink with other content")
    return problems


def _strangers(produced: Mapping[Place, Input], seen: Observation) -> list[str]:
    expected = {record.item["id"] for record in produced.values() if record.item is not None}
    return [f"the sink holds {key!r}, which nobody produced" for key in seen.sink if key not in expected]


def _duplicates(produced: Mapping[Place, Input], seen: Observation, quarantine: Mapping[Place, int]) -> int:
    twice_in_quarantine = sum(times - 1 for times in quarantine.values())
    in_both = sum(
        1 for place in quarantine if (item := produced[place].item) is not None and seen.sink.get(item["id"]) == item
    )
    attempts = Counter(seen.lineage[copy.place] for copy in seen.copies if copy.place in seen.lineage)
    put_twice = sum(times - 1 for times in attempts.values())
    unexplained = sum(1 for copy in seen.copies if copy.place not in seen.lineage)
    return twice_in_quarantine + in_both + put_twice + unexplained


def _named(place: Place) -> str:
    return f"{place.shard_id}:{place.sequence_number}"
