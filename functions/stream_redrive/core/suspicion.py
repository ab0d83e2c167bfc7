"""Suspicion: which records of a failed batch an error speaks against, where it doesn't say so itself.

Clues, the strongest first: the log names the record's sequence number; the payload holds a value that the message
quotes; the payload lacks the key that the others have and the error names; the log names a partition key that one
record alone has; the payload is of another shape than nearly all others. What is kept of a record is a few numbers,
never its payload.
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stream_redrive.core.manifest import Examined
from stream_redrive.core.patience import Patience
from stream_redrive.core.payloads import Payload, Undecodable
from stream_redrive.core.policy import Decoder
from stream_redrive.core.ports import LoggedError, TimeIsUp
from stream_redrive.core.records import Record

# So large a share of a batch must be of one shape before the others count as odd.
_NEARLY_ALL = 0.9
# More than this of a document says no more about its shape.
_MAX_NODES = 2_000
_MAX_KINDS = 20
_QUOTED = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"")
_LONG_NUMBER = re.compile(r"\d{15,}")
_WORD = re.compile(r"[^\s'\"`,;()\[\]{}=<>]+")
# A shorter key may stand in a log by chance.
_SHORTEST_KEY = 6
# Errors that a payload's shape can cause: of a division by zero or a duplicate it says nothing.
_OF_SHAPE = re.compile(
    "|".join(
        fnmatch.translate(glob)
        for glob in (
            *("TypeError", "AttributeError", "KeyError", "IndexError", "LookupError", "ValueError", "AssertionError"),
            *("*ValidationError", "*Decode*", "Unicode*", "*Schema*", "ParseError", "BadGzipFile", "binascii.Error"),
        )
    )
)

Range = tuple[str, str]


def range_of(notice: Examined) -> Range:
    """What names a notice within its incident."""
    return notice.start, notice.end


@dataclass(frozen=True, slots=True)
class Suspects:
    """The suspects for one kind of error, and how they were told."""

    numbers: frozenset[int]
    clue: str


class Suspicion:
    """Looks at each record of the batches in question once, then names the suspects."""

    def __init__(
        self, batches: Mapping[Range, Mapping[str, Sequence[LoggedError]]], decoder: Decoder, patience: Patience
    ) -> None:
        """batches: by notice, the errors that speak against some record of it, by their fingerprint."""
        self._kinds = {
            batch: {name: _Kind(errors) for name, errors in list(kinds.items())[:_MAX_KINDS]}
            for batch, kinds in batches.items()
        }
        self._decoder = decoder
        self._patience = patience

    @property
    def wanted(self) -> bool:
        """Whether there is anything to find out."""
        return bool(self._kinds)

    def see(self, record: Record, notices: Sequence[Examined]) -> None:
        """Take note of a record. notices: those that cover it."""
        batches = [kinds for notice in notices if (kinds := self._kinds.get(range_of(notice)))]
        if not batches:
            return
        seen = self._look(record)
        for kinds in batches:
            for kind in kinds.values():
                kind.see(seen)

    def suspects(self, batch: Range, fingerprint: str, member: Callable[[int], bool]) -> Suspects | None:
        """The records that this kind of error speaks against; None where nothing tells.

        Args:
            member: whether a record of the range was in the batch.
        """
        kind = self._kinds.get(batch, {}).get(fingerprint)
        return kind.suspects(member) if kind else None

    def _look(self, record: Record) -> "_Seen":
        number, key = int(record.stream.sequence_number), record.stream.partition_key
        if self._decoder is Decoder.NONE or self._patience.exhausted:
            return _Seen(number, key, None)
        try:
            payload = Payload(record.stream.data, self._decoder)
            return _Seen(number, key, self._patience(lambda: _Look.at(payload.decode())))
        except Undecodable:
            return _Seen(number, key, _UNDECODABLE)
        except TimeIsUp:
            return _Seen(number, key, None)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at a document shows. It is forgotten as soon as each kind of error has made its notes."""

    shape: int
    names: Collection[str]
    values: Collection[str]

    @classmethod
    def at(cls, document: object) -> "_Look":
        paths, names, values = set(), set(), set()
        for path, name, value in _nodes(document):
            kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
            paths.add((path, kind))
            if name is not None:
                names.add(name)
            if isinstance(value, str):
                values.add(value)
            elif not isinstance(value, dict | list):
                values.add(repr(value))
        return cls(hash(frozenset(paths)), names, values)


_UNDECODABLE = _Look(0, (), ())


@dataclass(frozen=True, slots=True)
class _Seen:
    number: int
    key: str | None
    look: _Look | None


class _Kind:
    """One kind of error in one batch, and what was noted of the batch's records."""

    def __init__(self, errors: Sequence[LoggedError]) -> None:
        told = "\n".join(f"{error.message}\n{error.line}" for error in errors)
        self._numbers = {int(digits) for digits in _LONG_NUMBER.findall(told)}
        self._words = {word.strip(".:") for word in _WORD.findall(told)}
        quoted = {one or other for error in errors for one, other in _QUOTED.findall(error.message)}
        by_key = all(error.error_type == "KeyError" or "required" in error.message for error in errors)
        self._keys: set[str] = quoted if by_key else set()
        self._values: set[str] = set() if by_key else quoted
        self._of_shape = all(_OF_SHAPE.match(error.error_type) for error in errors)
        self._notes: dict[str, set[int]] = {name: set() for name in ("number", "value", "key")}
        self._with_key: dict[str, list[int]] = {}
        self._shapes: dict[int, int] = {}
        self._all: set[int] = set()

    def see(self, record: _Seen) -> None:
        self._all.add(record.number)
        if record.number in self._numbers:
            self._notes["number"].add(record.number)
        if record.key and len(record.key) >= _SHORTEST_KEY and record.key in self._words:
            self._with_key.setdefault(record.key, []).append(record.number)
        look = record.look
        if look is None:
            return
        self._shapes[record.number] = look.shape
        if not self._values.isdisjoint(look.values):
            self._notes["value"].add(record.number)
        if look is not _UNDECODABLE and any(name not in look.names for name in self._keys):
            self._notes["key"].add(record.number)

    def suspects(self, member: Callable[[int], bool]) -> Suspects | None:
        batch = {number for number in self._all if member(number)}
        for found, largest, clue in self._clues(batch):
            some = frozenset(found & batch)
            if some and len(some) < len(batch) and len(some) <= largest * len(batch):
                return Suspects(some, clue)
        return None

    def _clues(self, batch: set[int]) -> Iterator[tuple[set[int], float, str]]:
        yield self._notes["number"], 1, "the consumer's log names its sequence number"
        # A value that half of the batch has is a word of the trade, not what is wrong with a record.
        yield self._notes["value"], 0.5, "its payload holds a value that the error's message quotes"
        yield self._notes["key"], 1, "its payload lacks the key that the error names, and others of the batch have it"
        alone = {numbers[0] for numbers in self._with_key.values() if len(numbers) == 1}
        yield alone, 0.5, "the consumer's log names its partition key"
        if self._of_shape:
            yield self._odd(batch), 1, "its payload is of another shape than nearly all others of the batch"

    def _odd(self, batch: set[int]) -> set[int]:
        shapes = {number: shape for number, shape in self._shapes.items() if number in batch}
        if not shapes:
            return set()
        usual, count = Counter(shapes.values()).most_common(1)[0]
        if count < _NEARLY_ALL * len(batch):
            return set()
        return {number for number, shape in shapes.items() if shape != usual}


def _nodes(document: object) -> Iterator[tuple[str, str | None, object]]:
    """The values of a document with their path, and the name that each has in its object; lists' elements share one."""
    waiting: list[tuple[str, str | None, object]] = [("", None, document)]
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        path, name, value = waiting.pop()
        yield path, name, value
        if isinstance(value, dict):
            waiting += ((f"{path}.{key}", key, inner) for key, inner in value.items())
        elif isinstance(value, list):
            waiting += ((f"{path}[]", None, inner) for inner in value[:_MAX_NODES])
