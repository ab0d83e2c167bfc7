"""Sequence numbers and ranges of them. Compared as integers: as strings "9" would come after "10"."""

from collections.abc import Iterable
from dataclasses import dataclass

MAX_DIGITS = 128  # AWS documents up to 128 digits' worth of pattern; 56 is usual


def is_sequence_number(text: object) -> bool:
    """Whether text is a decimal sequence number as AWS writes it."""
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


@dataclass(frozen=True, slots=True)
class Stretch:
    """A closed range of sequence numbers of one shard, as integers."""

    first: int
    last: int
    start: str  # first, as AWS wrote it: leading zeros are part of the number for some servers

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


def merge(ranges: Iterable[tuple[str, str]]) -> list[Stretch]:
    """Unite overlapping ranges.

    Args:
        ranges: pairs (start, end) of sequence numbers, both inclusive, in any order.

    Returns:
        disjoint stretches in ascending order; each number of the input is in exactly one.
    """
    merged: list[Stretch] = []
    for start, end in sorted(ranges, key=lambda pair: (int(pair[0]), int(pair[1]))):
        first, last = int(start), int(end)
        if merged and first <= merged[-1].last:
            head = merged.pop()
            merged.append(Stretch(head.first, max(head.last, last), head.start))
        else:
            merged.append(Stretch(first, last, start))
    return merged
