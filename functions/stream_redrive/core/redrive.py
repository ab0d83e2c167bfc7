"""Redrive: send transient records into their stream again, each once, even when a run dies half-way."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import IteratorExpired, ServiceBusy, TargetNotSupported
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.notices import parse_time
from stream_redrive.core.open_calls import CLOCK_SKEW
from stream_redrive.core.packing import pack
from stream_redrive.core.ports import (
    Clock,
    Ledger,
    PutResult,
    RedriveCursor,
    RedrivenCopy,
    StreamReader,
    StreamWriter,
    Vault,
)
from stream_redrive.core.records import Origin, Record, StreamRecord
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict

STOP_BEFORE_SECONDS = 60.0
_MAX_REFUSALS = 12
_LONGEST_PAUSE_SECONDS = 10.0

Position = tuple[int, int]  # chunk, line


@dataclass(frozen=True, slots=True)
class RedriveSummary:
    """A redrive in the incident's output. Sent is not healed: only a confirmation can say so."""

    target: str
    sent: int
    healed: int
    unconfirmed: int
    failed_again: int
    attempts: int


@dataclass(frozen=True, slots=True)
class RedriveResult:
    """What goes to the next state. more: the run stopped near its time limit and must be called again."""

    more: bool
    summary: RedriveSummary

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class RedriveRecords:
    """Redrives the transient records of one incident.

    Before each PutRecords call the cursor in the ledger says what is about to be sent; after it, where each record
    landed. A run that finds such an announcement open looks into the stream for what had landed before it goes on.
    """

    def __init__(
        self,
        vault: Vault,
        ledger: Ledger,
        writer: StreamWriter,
        reader: StreamReader,
        clock: Clock,
        settle_seconds: float,
    ) -> None:
        """settle_seconds: how long after its announcement a call that was cut may still land."""
        self._vault = vault
        self._ledger = ledger
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._settle_seconds = settle_seconds

    def __call__(self, incident: Incident, target: str) -> RedriveResult:
        """Redrive, as far as the time allows.

        Raises:
            ServiceBusy: the stream goes on refusing records; run again later.
            ServiceUnreachable: a call may or may not have landed; the next run finds out.
            WriteConflict: another run is at work.
            TargetNotSupported: the policy has changed its target since the records were classified.
        """
        if target != "stream":
            raise TargetNotSupported(f"target {target!r} is not available in this version")
        stream = chunks.stream_name(incident.shard.stream_arn)
        # While this stands, a capture that meets a copy without lineage looks for it in this incident's open call.
        self._ledger.open_redrive(stream, incident.id)
        cursor = self._ledger.redrive_cursor(incident.id) or RedriveCursor()
        source = _TransientRecords(self._vault, incident)
        if cursor.open_since is not None:
            cursor = self._settle(incident, source, cursor, cursor.open_since)
        refusals = 0
        while call := source.next_call(cursor):
            if self._clock.remaining_seconds() < STOP_BEFORE_SECONDS:
                self._ledger.save_redrive_cursor(incident.id, cursor)
                return _result(target, cursor.sent, more=True)
            cursor = self._send(incident, cursor, call)
            refusals = refusals + 1 if len(cursor.carried) == len(call) else 0
            if refusals == _MAX_REFUSALS:
                self._ledger.save_redrive_cursor(incident.id, cursor)
                raise ServiceBusy(f"{incident.shard.stream_arn} refused the same records {refusals} times")
            if cursor.carried:
                self._clock.sleep(min(0.1 * 2**refusals, _LONGEST_PAUSE_SECONDS))
        self._ledger.save_redrive_cursor(incident.id, cursor)
        self._ledger.close_redrive(stream, incident.id)
        return _result(target, cursor.sent, more=False)

    def _send(
        self, incident: Incident, cursor: RedriveCursor, call: Sequence[tuple[Position, Record]]
    ) -> RedriveCursor:
        positions = tuple(position for position, _ in call)
        announced = self._ledger.save_redrive_cursor(
            incident.id, replace(cursor, open_since=self._clock.now(), open_records=positions)
        )
        results = self._writer.put(
            incident.shard.stream_arn, [(record.put_key, record.stream.data) for _, record in call]
        )
        return self._account(incident, announced, call, results)

    def _account(
        self,
        incident: Incident,
        cursor: RedriveCursor,
        call: Sequence[tuple[Position, Record]],
        results: Sequence[PutResult],
    ) -> RedriveCursor:
        outcomes = list(zip(call, results, strict=True))
        copies = [_copy(record, result.landed) for (_, record), result in outcomes if result.landed]
        self._ledger.record_redriven(chunks.stream_name(incident.shard.stream_arn), incident.id, copies)
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

    def _settle(
        self, incident: Incident, source: "_TransientRecords", cursor: RedriveCursor, since: datetime
    ) -> RedriveCursor:
        """Find out what an announced call had sent before its run ended."""
        age = (self._clock.now() - since).total_seconds()
        if age < self._settle_seconds:
            self._clock.sleep(self._settle_seconds - age)
        call = source.at(cursor.open_records)
        landed = self._find_landed(incident, call, since, source.newest)
        results = [PutResult(landed.get(position)) for position, _ in call]
        return self._account(incident, cursor, call, results)

    def _find_landed(
        self, incident: Incident, call: Sequence[tuple[Position, Record]], since: datetime, newest: int
    ) -> dict[Position, Origin]:
        wanted: dict[tuple[str, bytes], list[tuple[Position, Record]]] = defaultdict(list)
        for position, record in call:
            wanted[record.put_key, record.stream.data].append((position, record))
        found = [
            record
            for record in self._read_since(incident.shard.stream_arn, since - CLOCK_SKEW)
            if (record.partition_key or "", record.data) in wanted
            # The failed records themselves look like their copies, and may have arrived within the clocks' tolerance.
            and not (record.shard_id == incident.shard.shard_id and int(record.sequence_number) <= newest)
        ]
        stream = chunks.stream_name(incident.shard.stream_arn)
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


class _TransientRecords:
    """The transient records of an incident's chunks, read as they are needed."""

    def __init__(self, vault: Vault, incident: Incident) -> None:
        self._vault = vault
        self._keys = VaultKeys(incident)
        self._manifest = CaptureManifest.load(vault, incident.id)
        self._loaded: tuple[int, list[tuple[Position, Record]]] = (-1, [])

    @property
    def newest(self) -> int:
        """The highest sequence number of the incident's range, as a number."""
        return max(int(notice.end) for notice in self._manifest.notices)

    def at(self, positions: Sequence[Position]) -> list[tuple[Position, Record]]:
        """The records of these positions, in their order."""
        by_position: dict[Position, Record] = {}
        for chunk in sorted({chunk for chunk, _ in positions}):
            by_position |= dict(self._chunk(chunk))
        return [(position, by_position[position]) for position in positions]

    def next_call(self, cursor: RedriveCursor) -> list[tuple[Position, Record]]:
        """The records of the next PutRecords call: those that were refused first; empty at the end."""
        return next(pack(self._from(cursor)), [])

    def _from(self, cursor: RedriveCursor) -> Iterator[tuple[Position, Record]]:
        yield from self.at(cursor.carried)
        first = cursor.next_chunk
        if first < len(self._manifest.chunks) and cursor.next_line >= self._manifest.chunks[first].records:
            first += 1
        for chunk in range(first, len(self._manifest.chunks)):
            for position, record in self._chunk(chunk):
                if position >= (cursor.next_chunk, cursor.next_line):
                    yield position, record

    def _chunk(self, index: int) -> list[tuple[Position, Record]]:
        if self._loaded[0] != index:
            verdicts = ChunkVerdicts.load(self._vault, self._keys.verdicts(index)).verdicts
            records = chunks.decode(self._vault.get(self._manifest.chunks[index].key))
            self._loaded = (
                index,
                [
                    ((index, line), _remembering(record, verdict))
                    for line, (record, verdict) in enumerate(zip(records, verdicts, strict=True))
                    if verdict and verdict.redriven
                ],
            )
        return self._loaded[1]


def _remembering(record: Record, verdict: RecordVerdict) -> Record:
    """The record as it is sent: its lineage names the error that it is sent again for."""
    return replace(record, lineage=replace(record.lineage, last_error=verdict.last_error))


def _copy(record: Record, place: Origin) -> RedrivenCopy:
    lineage = replace(record.lineage, attempt=record.lineage.attempt + 1)
    return RedrivenCopy(place, lineage, Origin(record.stream.shard_id, record.stream.sequence_number))


def _result(target: str, sent: int, more: bool) -> RedriveResult:
    return RedriveResult(
        more,
        RedriveSummary(target, sent, healed=0, unconfirmed=sent, failed_again=0, attempts=1 if sent else 0),
    )
