"""Redrive: send an incident's transient records into their stream again."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import TargetNotSupported
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import Record, StreamRecord
from stream_redrive.core.sending import Position, Positioned, Sender
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict


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
    """Redrives the transient records of one incident."""

    def __init__(self, vault: Vault, send: Sender) -> None:
        self._vault = vault
        self._send = send

    def __call__(self, incident: Incident, target: str) -> RedriveResult:
        """Redrive, as far as the time allows; raises what Sender does, and:

        Raises:
            TargetNotSupported: the policy has changed its target since the records were classified.
        """
        refuse_other_targets(target)
        result = self._send(_TransientRecords(self._vault, incident))
        sent = result.sent
        return RedriveResult(
            result.more,
            RedriveSummary(target, sent, healed=0, unconfirmed=sent, failed_again=0, attempts=1 if sent else 0),
        )


def refuse_other_targets(target: str) -> None:
    """Raise TargetNotSupported for a target that this version can't send to."""
    if target != "stream":
        raise TargetNotSupported(f"target {target!r} is not available in this version")


class _TransientRecords:
    """The transient records of an incident's chunks, read as they are needed."""

    def __init__(self, vault: Vault, incident: Incident) -> None:
        self._vault = vault
        self._incident = incident
        self._keys = VaultKeys(incident)
        self._manifest = CaptureManifest.load(vault, incident.id)
        self._newest = max((int(notice.end) for notice in self._manifest.notices), default=-1)
        self._loaded: tuple[int, list[Positioned]] = (-1, [])

    @property
    def id(self) -> str:
        """The incident's."""
        return self._incident.id

    @property
    def stream_arn(self) -> str:
        """The stream that they came from."""
        return self._incident.shard.stream_arn

    def at(self, positions: Sequence[Position]) -> list[Positioned]:
        """The records of these positions, in their order."""
        by_position: dict[Position, Record] = {}
        for chunk in sorted({chunk for chunk, _ in positions}):
            by_position |= dict(self._chunk(chunk))
        return [(position, by_position[position]) for position in positions]

    def from_position(self, position: Position) -> Iterator[Positioned]:
        """The records from a position on."""
        first, line = position
        if first < len(self._manifest.chunks) and line >= self._manifest.chunks[first].records:
            first += 1
        for chunk in range(first, len(self._manifest.chunks)):
            for found, record in self._chunk(chunk):
                if found >= position:
                    yield found, record

    def is_original(self, record: StreamRecord) -> bool:
        """Whether it lies in the incident's range, or before it."""
        return record.shard_id == self._incident.shard.shard_id and int(record.sequence_number) <= self._newest

    def _chunk(self, index: int) -> list[Positioned]:
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
