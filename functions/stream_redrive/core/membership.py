"""Which records of an ambiguous range were in the failed batch.

A notice names the first and the last record of its batch and how many it held. Where the range holds more, the others
are strangers: the mapping's filter kept them from the consumer, or another lane (parallelization factor) had them. To
take a batch's record for a stranger would lose it, so nothing counts but what follows from this:

1. The first and the last record were in the batch.
2. A record that the filter refuses was in no batch.
3. All records of a partition key are in one lane, and a batch is all that its lane has, behind the filter, from its
   first record to its last: so the key of one of its records brings in all others of that key.
4. Batches of one lane don't overlap: of two overlapping ranges, neither has a record of a key that the other has.
5. With two lanes, what is not in the one is in the other.
6. The count closes a batch: when all that are known to be in it are as many as it held, the rest are strangers; when
   all that can be in it are as many, they are. What that tells about keys is used for the other notices.

7. No record is in two batches: where the batches of overlapping ranges held as many records together as the filter
   let pass there, all of those failed, even if it can't be told in which batch. It takes no settings where they held
   as many as were captured: the outage of a shard with lanes.

A record is called a stranger only when the count of its batch is closed. A mapping that was changed after a record of
the range arrived proves nothing for that range. Whatever contradicts the settings (the filter refuses a record that
was in a batch, fewer records can be in it than it held, more batches overlap than there are lanes) discredits them
altogether: 1 and 7 are all that is left then, as without settings.

Of a range whose head is trimmed the count proves less: how many of the batch are left is not known, only that the
trimmed ends are not among them. Enough members still make strangers of the rest; nobody is in it for want of others.

What the consumer reported reached it, so the filter let it pass. With a single lane it was in the batch. With several
another lane may have had it, so it brings in no other record of its key; but it failed, and is taken at its word
where nothing says that it was a stranger.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from stream_redrive.core.event_filter import FilterPatternError, RecordFilter
from stream_redrive.core.events import kinesis_entry
from stream_redrive.core.lanes import Contradiction, Lanes, Node
from stream_redrive.core.manifest import Examined, Outcome
from stream_redrive.core.notices import parse_time
from stream_redrive.core.ports import MappingSettings
from stream_redrive.core.records import Record

# A batch that is closed may close others. What so many rounds leave open stays undecided.
_MAX_ROUNDS = 20

_Range = tuple[str, str]


class Membership:
    """Which records of an ambiguous range were in the failed batch."""

    def __init__(self, notices: Sequence[Examined], mapping: MappingSettings | None, reported: Collection[int]) -> None:
        """notices: all of an incident. mapping: the one that made the batches; None: not known, or one of several.
        reported: the sequence numbers of which the consumer said that they failed.
        """
        self._mapping, self._filter = _usable(mapping)
        self._reported = reported
        self._outcomes = {notice.outcome for notice in notices}
        self._batches = {batch.place: batch for batch in map(_Batch, notices)}
        self._stretches = _stretches(self._batches.values())
        self._stretch_of = {batch.place: stretch for stretch in self._stretches for batch in stretch.batches}

    @property
    def wanted(self) -> bool:
        """Whether there is anything to find out: else all captured records were in their batches."""
        return not self._outcomes.isdisjoint((Outcome.AMBIGUOUS, Outcome.PARTIAL))

    def see(self, record: Record, notices: Sequence[Examined]) -> None:
        """Take note of a captured record: each once, in the shard's order, with the notices that cover it."""
        key, number = record.stream.partition_key, int(record.stream.sequence_number)
        entry = _Entry(
            number,
            ("record", str(number)) if key is None else ("key", key),
            self._filter.admits(kinesis_entry(record)) if self._filter.patterns else True,
            number in self._reported,
        )
        self._stretch_of[notices[0].start, notices[0].end].entries.append(entry)
        for notice in notices:
            batch = self._batches[notice.start, notice.end]
            if not batch.entries and self._mapping:
                batch.trusted = self._mapping.changed_at < parse_time(record.stream.arrived_at)
            batch.entries.append(entry)

    def belongs(self, sequence_number: str, notice: Examined) -> bool | None:
        """Whether a record that was seen was in the notice's batch; None: can't be told. Ask when all were seen."""
        if notice.outcome is Outcome.COMPLETE:
            return True
        finding, number = self._findings[notice.start, notice.end], int(sequence_number)
        if number in finding.members or number in finding.claimed:
            return True
        if finding.closed:
            return False
        # Nothing speaks of filters or lanes: the range is taken for what is left of its batch.
        alone = notice.outcome is Outcome.PARTIAL and Outcome.AMBIGUOUS not in self._outcomes
        return True if alone and not self._batches[notice.start, notice.end].trusted else None

    def failed(self, sequence_number: str, notices: Sequence[Examined]) -> bool | None:
        """Whether a record was in the batch of one of the notices that cover it; None: can't be told.

        It may be known to have failed though belongs() can't tell in which batch.
        """
        said = {self.belongs(sequence_number, notice) for notice in notices}
        if True in said or int(sequence_number) in self._stretch_of[notices[0].start, notices[0].end].failed:
            return True
        return False if said == {False} else None

    @cached_property
    def _findings(self) -> Mapping[_Range, "_Finding"]:
        findings = {place: batch.certain() for place, batch in self._batches.items()}
        trusted = {place: batch for place, batch in self._batches.items() if batch.trusted}
        proven = False
        if self._mapping:
            with suppress(Contradiction):
                findings |= _deduce(trusted, self._mapping.parallelization_factor)
                proven = True
        for stretch in self._stretches:
            stretch.count(proven)
        return findings


@dataclass(slots=True)
class _Entry:
    """A captured record. admitted: whether the filter lets it pass; None: not known."""

    number: int
    key: Node
    admitted: bool | None
    reported: bool


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is known of a batch. claimed: perhaps not in it, but reported. closed: all others are strangers."""

    members: AbstractSet[int]
    claimed: AbstractSet[int]
    closed: bool


@dataclass(slots=True)
class _Batch:
    """A notice's batch, and the captured records of its range. trusted: the mapping's settings are those it had."""

    notice: Examined
    entries: list[_Entry] = field(default_factory=list)
    trusted: bool = False

    @property
    def place(self) -> _Range:
        return self.notice.start, self.notice.end

    @property
    def node(self) -> Node:
        return "batch", f"{self.notice.start} {self.notice.end}"

    @property
    def edges(self) -> tuple[int, int]:
        return int(self.notice.start), int(self.notice.end)

    @property
    def most(self) -> int:
        """How many of its records can have been captured."""
        return self.notice.size - self._lost

    @property
    def whole(self) -> bool:
        """Whether all of them were."""
        return not self._lost

    @property
    def _lost(self) -> int:
        # What is trimmed is the head: with the first record everything is there.
        return len(set(self.edges) - {entry.number for entry in (*self.entries[:1], *self.entries[-1:])})

    def certain(self) -> _Finding:
        """What is known whatever the mapping."""
        edges = set(self.edges) & {entry.number for entry in self.entries}
        closed = len(edges) >= self.most
        claimed = {entry.number for entry in self.entries if entry.reported and not closed}
        return _Finding(edges, claimed, closed)


@dataclass(slots=True)
class _Stretch:
    """Overlapping ranges, and their captured records, each once. failed: those that were in some batch."""

    batches: list[_Batch] = field(default_factory=list)
    entries: list[_Entry] = field(default_factory=list)
    failed: AbstractSet[int] = frozenset()

    def count(self, proven: bool) -> None:
        """Find out whether all failed. proven: the settings are those of all batches that are trusted."""
        if all(batch.whole for batch in self.batches):
            filtered = proven and all(batch.trusted for batch in self.batches)
            possible = {entry.number for entry in self.entries if entry.admitted is not False or not filtered}
            if len(possible) == sum(batch.notice.size for batch in self.batches):
                self.failed = possible


def _stretches(batches: Iterable[_Batch]) -> list[_Stretch]:
    found: list[_Stretch] = []
    end = -1
    for batch in sorted(batches, key=lambda batch: batch.edges):
        if batch.edges[0] > end:
            found.append(_Stretch())
        found[-1].batches.append(batch)
        end = max(end, batch.edges[1])
    return found


def _usable(mapping: MappingSettings | None) -> tuple[MappingSettings | None, RecordFilter]:
    if mapping is None:
        return None, RecordFilter()
    try:
        return mapping, RecordFilter.parse(mapping.filters)
    except FilterPatternError:
        return None, RecordFilter()


def _deduce(batches: Mapping[_Range, _Batch], factor: int) -> Mapping[_Range, _Finding]:
    """What the settings prove.

    Raises:
        Contradiction: they can't have been the batches' own.
    """
    lanes = Lanes(factor)
    _part_overlapping(batches, lanes)
    for batch in batches.values():
        edges = batch.edges
        for entry in batch.entries:
            if entry.number in edges:
                lanes.join(batch.node, entry.key)
            elif not entry.reported:
                continue
            if entry.admitted is False:
                raise Contradiction
            entry.admitted = True
    findings: dict[_Range, _Finding] = {}
    for _ in range(_MAX_ROUNDS):
        still_open = {
            place: batch for place, batch in batches.items() if place not in findings or not findings[place].closed
        }
        found = {place: _weigh(batch, lanes) for place, batch in still_open.items()}
        findings |= found
        if not any(finding.closed for finding in found.values()):
            break
    return findings


def _part_overlapping(batches: Mapping[_Range, _Batch], lanes: Lanes) -> None:
    under_way: list[_Batch] = []
    for batch in sorted(batches.values(), key=lambda batch: batch.edges):
        under_way = [earlier for earlier in under_way if earlier.edges[1] >= batch.edges[0]]
        if len(under_way) >= lanes.count:
            raise Contradiction
        for earlier in under_way:
            lanes.part(earlier.node, batch.node)
        under_way.append(batch)


def _weigh(batch: _Batch, lanes: Lanes) -> _Finding:
    members, undecided = [], []
    for entry in batch.entries:
        shared = lanes.together(batch.node, entry.key)
        if shared and entry.admitted:
            members.append(entry)
        elif shared is not False and entry.admitted is not False:
            undecided.append(entry)
    possible = len(members) + len(undecided)
    if len(members) > batch.most or (batch.whole and possible < batch.most):
        raise Contradiction
    closed = True
    if len(members) == batch.most:
        for entry in undecided:
            if lanes.together(batch.node, entry.key):
                entry.admitted = False
            elif entry.admitted:
                lanes.part(batch.node, entry.key)
        undecided = []
    elif batch.whole and possible == batch.most:
        for entry in undecided:
            entry.admitted = True
            lanes.join(batch.node, entry.key)
        members, undecided = members + undecided, []
    else:
        closed = False
    claimed = {entry.number for entry in undecided if entry.reported}
    return _Finding({entry.number for entry in members}, claimed, closed)
