"""Sending: put the records of a work list into their stream, each once, even when a run dies half-way."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from stream_redrive.core import chunks
from stream_redrive.core.errors import IteratorExpired, ServiceBusy
from stream_redrive.core.notices import parse_time
from stream_redrive.core.open_calls import CLOCK_SKEW
from stream_redrive.core.packing import MAX_BYTES, MAX_RECORDS, pack, put_bytes
from stream_redrive.core.ports import (
    Clock,
    Ledger,
    PutResult,
    RedriveCursor,
    RedrivenCopy,
    StreamReader,
    StreamWriter,
)
from stream_redrive.core.records import Origin, Record, StreamRecord

STOP_BEFORE_SECONDS = 60.0
# What a shard takes in a second.
SHARD_RECORDS = 1_000
SHARD_BYTES = 1_000_000
_MAX_REFUSALS = 12
_LONGEST_PAUSE_SECONDS = 10.0

Position = tuple[int, int]  # chunk, line
Positioned = tuple[Position, Record]


class WorkList(Protocol):
    """Records to send, in an order that never changes."""

    @property
    def id(self) -> str:
        """By which the ledger knows the work; OpenCalls finds the records by it."""

    @property
    def stream_arn(self) -> str:
        """Where they go."""

    def at(self, positions: Sequence[Position]) -> Sequence[Positioned]:
        """The records of these positions, in their order."""

    def from_position(self, position: Position) -> Iterator[Positioned]:
        """The records from a position on."""

    def is_original(self, record: StreamRecord) -> bool:
        """Whether a record of the stream may be one of those that failed, which look like their copies."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many records have been sent in all. more: the run stopped near its time limit and must be called again."""

    sent: int
    more: bool


class Sender:
    """Sends the records of work lists.

    Before each PutRecords call the cursor in the ledger says what is about to be sent; after it, where each record
    landed. A run that finds such an announcement open looks into the stream for what had landed before it goes on.
    """

    def __init__(
        self,
        ledger: Ledger,
        writer: StreamWriter,
        reader: StreamReader,
        clock: Clock,
        settle_seconds: float,
    ) -> None:
        """settle_seconds: how long after its announcement a call that was cut may still land."""
        self._ledger = ledger
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._settle_seconds = settle_seconds

    def __call__(self, work: WorkList, pace: float | None = None) -> Sent:
        """Send, as far as the time allows.

        Args:
            pace: the share of one shard's write capacity to use, as if all records went to it; None: all there is.

        Raises:
            ServiceBusy: the stream goes on refusing records; run again later.
            ServiceUnreachable: a call may or may not have landed; the next run finds out.
            WriteConflict: another run is at work.
        """
        stream = chunks.stream_name(work.stream_arn)
        # While this stands, a capture that meets a copy without lineage looks for it in this work's open call.
        self._ledger.open_redrive(stream, work.id)
        cursor = self._ledger.redrive_cursor(work.id) or RedriveCursor()
        if cursor.open_since is not None:
            cursor = self._settle(work, cursor, cursor.open_since)
        refusals = 0
        while call := _next_call(work, cursor, pace):
            if self._clock.remaining_seconds() < STOP_BEFORE_SECONDS:
                self._ledger.save_redrive_cursor(work.id, cursor)
                return Sent(cursor.sent, more=True)
            began = self._clock.now()
            cursor = self._send(work, cursor, call)
            refusals = refusals + 1 if len(cursor.carried) == len(call) else 0
            if refusals == _MAX_REFUSALS:
                self._ledger.save_redrive_cursor(work.id, cursor)
                raise ServiceBusy(f"{work.stream_arn} refused the same records {refusals} times")
            self._pause(cursor, refusals, _due_seconds(call, pace) - (self._clock.now() - began).total_seconds())
        self._ledger.save_redrive_cursor(work.id, cursor)
        self._ledger.close_redrive(stream, work.id)
        return Sent(cursor.sent, more=False)

    def _pause(self, cursor: RedriveCursor, refusals: int, due_seconds: float) -> None:
        if cursor.carried:
            due_seconds = max(due_seconds, min(0.1 * 2**refusals, _LONGEST_PAUSE_SECONDS))
        pause = min(due_seconds, self._clock.remaining_seconds() - STOP_BEFORE_SECONDS / 2)
        if pause > 0:
            self._clock.sleep(pause)

    def _send(self, work: WorkList, cursor: RedriveCursor, call: Sequence[Positioned]) -> RedriveCursor:
        positions = tuple(position for position, _ in call)
        announced = self._ledger.save_redrive_cursor(
            work.id, replace(cursor, open_since=self._clock.now(), open_records=positions)
        )
        results = self._writer.put(work.stream_arn, [(record.put_key, record.stream.data) for _, record in call])
        return self._account(work, announced, call, results)

    def _account(
        self, work: WorkList, cursor: RedriveCursor, call: Sequence[Positioned], results: Sequence[PutResult]
    ) -> RedriveCursor:
        outcomes = list(zip(call, results, strict=True))
        copies = [_copy(record, result.landed) for (_, record), result in outcomes if result.landed]
        self._ledger.record_redriven(chunks.stream_name(work.stream_arn), work.id, copies)
        refused = tuple(position for (position, _), result in outcomes if not result.landed)
        next_chunk, next_line = max([(cursor.next_chunk, cursor.next_line), *((c, line + 1) for (c, line), _ in call)])
        return replace(
            cursor,
            next_chunk=next_chunk,
            next_line=next_line,
            carried=tuple(p for p in cursor.carried if p not in cursor.open_records) + refused,
            sent=cursor.sent + len(copies),
            open_since=None,
            open_records=(),
        )

    def _settle(self, work: WorkList, cursor: RedriveCursor, since: datetime) -> RedriveCursor:
        """Find out what an announced call had sent before its run ended."""
        age = (self._clock.now() - since).total_seconds()
        if age < self._settle_seconds:
            self._clock.sleep(self._settle_seconds - age)
        call = work.at(cursor.open_records)
        landed = self._find_landed(work, call, since)
        results = [PutResult(landed.get(position)) for position, _ in call]
        return self._account(work, cursor, call, results)

    def _find_landed(self, work: WorkList, call: Sequence[Positioned], since: datetime) -> dict[Position, Origin]:
        wanted: dict[tuple[str, bytes], list[Positioned]] = defaultdict(list)
        for position, record in call:
            wanted[record.put_key, record.stream.data].append((position, record))
        found = [
            record
            for record in self._read_since(work.stream_arn, since - CLOCK_SKEW)
            # The failed records themselves may have arrived within the clocks' tolerance.
            if (record.partition_key or "", record.data) in wanted and not work.is_original(record)
        ]
        stream = chunks.stream_name(work.stream_arn)
        known = self._ledger.lineage_of(stream, [Origin(r.shard_id, r.sequence_number) for r in found])
        # Of identical copies, those whose lineage is written choose their record first: the others fit any.
        found.sort(key=lambda r: Origin(r.shard_id, r.sequence_number) not in known)
        landed: dict[Position, Origin] = {}
        for copy in found:
            place = Origin(copy.shard_id, copy.sequence_number)
            for position, record in wanted[copy.partition_key or "", copy.data]:
                expected = _copy(record, place).lineage
                if position not in landed and known.get(place, expected) == expected:
                    landed[position] = place
                    break
        return landed

    def _read_since(self, stream_arn: str, since: datetime) -> Iterator[StreamRecord]:
        # On a busy stream the tip is never reached; what came after this moment is none of the open call's records.
        until = self._clock.now() + CLOCK_SKEW
        for shard in self._reader.shards(stream_arn):
            iterator: str | None = self._reader.open_from(stream_arn, shard.shard_id, since)
            last: str | None = None
            while iterator is not None:
                try:
                    page = self._reader.read(stream_arn, iterator)
                except IteratorExpired:
                    iterator = (
                        self._reader.open_after(stream_arn, shard.shard_id, last)
                        if last
                        else self._reader.open_from(stream_arn, shard.shard_id, since)
                    )
                    continue
                yield from page.records
                last = page.records[-1].sequence_number if page.records else last
                ended = parse_time(page.records[-1].arrived_at) > until if page.records else page.millis_behind == 0
                iterator = None if ended else page.next_iterator


def _next_call(work: WorkList, cursor: RedriveCursor, pace: float | None) -> list[Positioned]:
    """The records of the next PutRecords call: those that were refused first; empty at the end."""

    def rest() -> Iterator[Positioned]:
        yield from work.at(cursor.carried)
        yield from work.from_position((cursor.next_chunk, cursor.next_line))

    return next(_packed(rest(), pace), [])


def _packed(rest: Iterable[Positioned], pace: float | None) -> Iterator[list[Positioned]]:
    if pace is None:
        return pack(rest)
    # A call is what the pace allows in a second: more at once would use the shard up, and then let it lie idle.
    return pack(
        rest,
        max_records=max(1, min(MAX_RECORDS, int(SHARD_RECORDS * pace))),
        max_bytes=min(MAX_BYTES, int(SHARD_BYTES * pace)),
    )


def _due_seconds(call: Sequence[Positioned], pace: float | None) -> float:
    """How long a call's records must last."""
    if pace is None:
        return 0
    size = sum(put_bytes(record) for _, record in call)
    return max(len(call) / SHARD_RECORDS, size / SHARD_BYTES) / pace


def _copy(record: Record, place: Origin) -> RedrivenCopy:
    lineage = replace(record.lineage, attempt=record.lineage.attempt + 1)
    return RedrivenCopy(place, lineage, Origin(record.stream.shard_id, record.stream.sequence_number))
