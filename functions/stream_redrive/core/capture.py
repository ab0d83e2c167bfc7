"""Capture: copy the failed records of an incident from the stream into the vault before the stream forgets them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.chunks import ChunkBuffer, VaultKeys
from stream_redrive.core.errors import ShardNotFound, SourceNotSupported, WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CapturedChunk, CaptureManifest, Examined, Gone, Missing, Outcome
from stream_redrive.core.notices import Notice, ShardRef, Source, parse_time
from stream_redrive.core.open_calls import OpenCalls
from stream_redrive.core.ports import Clock, Ledger, StreamReader, Vault
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from stream_redrive.core.scan import ShardScan
from stream_redrive.core.sequence import Stretch, merge

# A page, its chunks and the manifest are written within this time, slow as the services may be.
STOP_BEFORE_SECONDS = 60.0


@dataclass(slots=True)
class Tally:
    """What was found in a notice's range: how many records, the first and the last of them."""

    notice: Notice
    found: int = 0
    first: int | None = None
    last: int | None = None

    def count(self, number: int) -> None:
        """Take note of a record of the range."""
        self.found += 1
        self.first = number if self.first is None else self.first
        self.last = number

    @property
    def missing(self) -> int:
        """At least how many records of the failed batch are gone. The batch held its first and last for certain."""
        edges = {int(self.notice.start), int(self.notice.end)} - {self.first, self.last}
        return max(self.notice.size - self.found, len(edges))

    @property
    def outcome(self) -> Outcome:
        """More records than the batch can have left behind: some were never in it, and nothing tells which."""
        if self.found > max(self.notice.size - self.missing, 0):
            return Outcome.AMBIGUOUS
        if not self.missing:
            return Outcome.COMPLETE
        return Outcome.PARTIAL if self.found else Outcome.EXPIRED


class Tallies:
    """Counts records, in the order of the shard, for all notices of an incident."""

    def __init__(self, notices: Sequence[Notice]) -> None:
        self.all = [Tally(n) for n in sorted(notices, key=lambda n: (int(n.start), int(n.end)))]
        self._next = 0
        self._open: list[Tally] = []

    def count(self, sequence_number: str) -> None:
        """Count a record for every notice whose range it is in; numbers must ascend."""
        number = int(sequence_number)
        while self._next < len(self.all) and int(self.all[self._next].notice.start) <= number:
            self._open.append(self.all[self._next])
            self._next += 1
        if any(int(tally.notice.end) < number for tally in self._open):
            self._open = [tally for tally in self._open if int(tally.notice.end) >= number]
        for tally in self._open:
            tally.count(number)


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What goes to the next state. more: the run stopped near its time limit and must be called again.

    records, chunks: captured so far. missing, ambiguous: records that are gone, and that lie in an ambiguous range.
    """

    more: bool
    outcome: Outcome | None
    records: int
    chunks: int
    missing: int
    ambiguous: int

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class CaptureRecords:
    """Captures the records of one incident. What is in the vault is the only progress: a run goes on where it ends."""

    def __init__(self, reader: StreamReader, vault: Vault, ledger: Ledger, clock: Clock) -> None:
        self._reader = reader
        self._vault = vault
        self._ledger = ledger
        self._clock = clock

    def __call__(self, incident: Incident) -> CaptureResult:
        """Capture, as far as the time allows.

        Raises:
            SourceNotSupported: the notices are of a DynamoDB stream.
            AccessDenied: the stream, the vault or the ledger may not be used.
            WriteConflict: another run writes the same chunks; run again.
        """
        shard = incident.shard
        if shard.source is not Source.KINESIS:
            raise SourceNotSupported(
                f"records of a {shard.source.value} stream can't be captured yet: {shard.stream_arn}"
            )
        notices, dropped = self._claim(incident)
        tallies = Tallies(notices)
        writer = _ChunkWriter(self._vault, self._ledger, incident, tallies)
        gone, bystanders = Gone.EXPIRED, 0
        stretches = merge((n.start, n.end) for n in notices)
        if stretches:
            since = min(parse_time(n.first_arrival) for n in notices)
            scan = ShardScan(self._reader, shard.stream_arn, shard.shard_id, stretches, since)
            try:
                for page in scan.pages(after=writer.last_sequence_number):
                    for record in page:
                        writer.add(record)
                    if self._clock.remaining_seconds() < STOP_BEFORE_SECONDS:
                        writer.flush()
                        if not writer.reached(stretches[-1]):
                            return CaptureResult(True, None, writer.records, len(writer.chunks), 0, 0)
            except ShardNotFound:
                gone = Gone.SHARD_NOT_FOUND
            writer.flush()
            bystanders = scan.bystanders
        manifest = self._manifest(tallies, writer, dropped, gone, shard, bystanders)
        self._vault.put(VaultKeys(incident).capture_manifest, manifest.encode())
        return CaptureResult(
            more=False,
            outcome=manifest.outcome,
            records=manifest.records,
            chunks=len(manifest.chunks),
            missing=sum(entry.size for entry in manifest.missing),
            ambiguous=sum(n.found for n in manifest.notices if n.outcome is Outcome.AMBIGUOUS),
        )

    def _claim(self, incident: Incident) -> tuple[list[Notice], int]:
        notices = incident.load_notices(self._vault)
        shard = incident.shard
        ours = self._ledger.claim(
            incident.id,
            f"{shard.consumer}#{shard.stream_arn}#{shard.shard_id}",
            [(n.start, n.end) for n in notices],
        )
        claimed = [notice for notice, mine in zip(notices, ours, strict=True) if mine]
        return claimed, len(notices) - len(claimed)

    def _manifest(
        self, tallies: Tallies, writer: "_ChunkWriter", dropped: int, gone: Gone, shard: ShardRef, bystanders: int
    ) -> CaptureManifest:
        short = [tally for tally in tallies.all if tally.missing]
        if short and gone is Gone.EXPIRED:
            gone = self._why_gone(shard, max(int(tally.notice.end) for tally in short))
        return CaptureManifest(
            outcome=_overall([tally.outcome for tally in tallies.all]),
            records=writer.records,
            chunks=tuple(writer.chunks),
            missing=tuple(
                Missing(
                    t.notice.start,
                    t.notice.end,
                    t.missing,
                    gone.value,
                    None if t.first is None else str(t.first),
                )
                for t in short
            ),
            notices=tuple(
                Examined(
                    t.notice.start,
                    t.notice.end,
                    t.notice.size,
                    t.found,
                    t.outcome,
                    t.notice.condition,
                    t.notice.function_error,
                    t.notice.failed_at,
                    t.notice.request_id,
                    t.notice.invoke_count,
                )
                for t in tallies.all
            ),
            claimed_elsewhere=dropped,
            bystanders=bystanders,
        )

    def _why_gone(self, shard: ShardRef, end: int) -> Gone:
        try:
            known = {info.shard_id: info for info in self._reader.shards(shard.stream_arn)}
        except ShardNotFound:
            return Gone.SHARD_NOT_FOUND
        info = known.get(shard.shard_id)
        if info is None:
            return Gone.SHARD_NOT_FOUND
        # A shard keeps its first number for life: a smaller one is of an earlier stream of the same name.
        return Gone.STREAM_RECREATED if end < int(info.starting_sequence_number) else Gone.EXPIRED


class _ChunkWriter:
    """Writes chunks behind those that are in the vault, and counts the records of both."""

    def __init__(self, vault: Vault, ledger: Ledger, incident: Incident, tallies: Tallies) -> None:
        self._vault = vault
        self._ledger = ledger
        self._incident = incident
        self._tallies = tallies
        self._keys = VaultKeys(incident)
        self._buffer = ChunkBuffer()
        self._open_calls = OpenCalls(vault, ledger, chunks.stream_name(incident.shard.stream_arn))
        self.chunks: list[CapturedChunk] = []
        self.last_sequence_number: str | None = None
        for stored in vault.list(self._keys.captured):
            count = 0
            for record in chunks.decode(vault.get(stored.key)):
                tallies.count(record.stream.sequence_number)
                self.last_sequence_number = record.stream.sequence_number
                count += 1
            self.chunks.append(CapturedChunk(vault.bucket, stored.key, count))

    @property
    def records(self) -> int:
        return sum(chunk.records for chunk in self.chunks)

    def reached(self, stretch: Stretch) -> bool:
        return self.last_sequence_number is not None and int(self.last_sequence_number) >= stretch.last

    def add(self, record: StreamRecord) -> None:
        if not self._buffer.has_room_for(record):
            self.flush()
        self._buffer.add(record)
        self._tallies.count(record.sequence_number)

    def flush(self) -> None:
        if not self._buffer:
            return
        shard, records = self._incident.shard, self._buffer.take()
        places = [Origin(r.shard_id, r.sequence_number) for r in records]
        known = self._ledger.lineage_of(chunks.stream_name(shard.stream_arn), places)
        captured = (
            Record(
                shard.stream_arn,
                record,
                known.get(place) or self._open_calls.lineage_of(record) or Lineage(place, 0),
            )
            for record, place in zip(records, places, strict=True)
        )
        key = self._keys.captured_chunk(len(self.chunks))
        if not self._vault.put_new(key, chunks.encode(record.to_line() for record in captured)):
            raise WriteConflict(f"another run of incident {self._incident.id} has written {key}")
        self.chunks.append(CapturedChunk(self._vault.bucket, key, len(records)))
        self.last_sequence_number = records[-1].sequence_number


def _overall(outcomes: Sequence[Outcome]) -> Outcome:
    present = set(outcomes)
    if Outcome.AMBIGUOUS in present:
        return Outcome.AMBIGUOUS
    if not present or present == {Outcome.COMPLETE}:
        return Outcome.COMPLETE
    return Outcome.EXPIRED if present == {Outcome.EXPIRED} else Outcome.PARTIAL
