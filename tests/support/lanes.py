"""A shard whose mapping has lanes and filters: what was in each failed batch, and what its notice says of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from stream_redrive.core.capture import Tallies
from stream_redrive.core.classify import NoticeFinder
from stream_redrive.core.manifest import Examined
from stream_redrive.core.membership import Membership
from stream_redrive.core.notices import parse_time
from stream_redrive.core.ports import MappingSettings
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support.build import ARRIVED, SHARD_ID, STREAM_ARN, notice

FILTERS = ('{"data": {"wanted": [true]}}',)
BEFORE = parse_time(ARRIVED) - timedelta(hours=1)
AFTER = parse_time(ARRIVED) + timedelta(seconds=1)
FIRST = 96  # so that a comparison of numbers as strings gets the order wrong


@dataclass(frozen=True)
class Put:
    """A record of the shard."""

    key: str | None
    data: bytes = b""


def wanted(key: str | None = "k") -> Put:
    """A record that the filter lets pass."""
    return Put(key, b'{"wanted": true}')


def unwanted(key: str | None = "k") -> Put:
    """One that it doesn't."""
    return Put(key, b'{"wanted": false}')


def mapping(filters: tuple[str, ...] = (), factor: int = 1) -> MappingSettings:
    """Settings that were in force when the records arrived."""
    return MappingSettings(filters, factor, BEFORE)


class Shard:
    """The records of a shard, and the notices of batches, given as the places of their records."""

    def __init__(self, records: Sequence[Put], batches: Sequence[Sequence[int]], trimmed: int = 0) -> None:
        """trimmed: how many records are gone from the head."""
        self.records = [
            Record(STREAM_ARN, StreamRecord(SHARD_ID, str(FIRST + place), put.key, ARRIVED, put.data), _LINEAGE)
            for place, put in enumerate(records)
        ]
        self.batches = [set(batch) for batch in batches]
        notices = [notice(str(FIRST + min(batch)), str(FIRST + max(batch)), len(batch)) for batch in self.batches]
        tallies = Tallies(notices)
        self.captured = [
            record
            for place, record in enumerate(self.records)
            if place >= trimmed and any(min(batch) <= place <= max(batch) for batch in self.batches)
        ]
        for record in self.captured:
            tallies.count(record.stream.sequence_number)
        outcomes = {tally.notice: (tally.found, tally.outcome) for tally in tallies.all}
        self.notices = [Examined(n.start, n.end, n.size, *outcomes[n], n.condition, n.function_error) for n in notices]

    def membership(self, settings: MappingSettings | None, reported: Collection[int] = ()) -> Membership:
        """What is made of it. reported: places."""
        membership = Membership(self.notices, settings, {FIRST + place for place in reported})
        finder = NoticeFinder(self.notices)
        for record in self.captured:
            membership.see(record, finder.covering(record.stream.sequence_number))
        return membership

    def answers(
        self, settings: MappingSettings | None, reported: Collection[int] = ()
    ) -> list[Mapping[int, bool | None]]:
        """For each batch, by place, whether the captured records of its range are said to be in it."""
        membership = self.membership(settings, reported)
        return [
            {
                int(record.stream.sequence_number) - FIRST: membership.belongs(record.stream.sequence_number, notice)
                for record in self.captured
                if int(notice.start) <= int(record.stream.sequence_number) <= int(notice.end)
            }
            for notice in self.notices
        ]

    def failed(self, settings: MappingSettings | None, reported: Collection[int] = ()) -> Mapping[int, bool | None]:
        """Whether the captured records are said to have been in any batch, by place."""
        membership, finder = self.membership(settings, reported), NoticeFinder(self.notices)
        numbers = [record.stream.sequence_number for record in self.captured]
        return {int(number) - FIRST: membership.failed(number, finder.covering(number)) for number in numbers}


_LINEAGE = Lineage(Origin(SHARD_ID, "1"), 0)
