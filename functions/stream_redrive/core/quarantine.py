"""Quarantine: poison and held records to S3 first, then a message a record to the poison queue, then the ledger."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CapturedChunk, CaptureManifest, Missing
from stream_redrive.core.policy import Verdict
from stream_redrive.core.ports import Ledger, PoisonMessage, PoisonQueue, QuarantinedRecord, Vault
from stream_redrive.core.records import Origin, Record, to_json
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict

MAX_INLINE_BYTES = 64 * 1024
_EXPIRED_STEP = "quarantine:expired"


@dataclass(frozen=True, slots=True)
class QuarantineManifest:
    """The whole result of a quarantine, as the vault keeps it."""

    records: int
    chunks: tuple[CapturedChunk, ...]

    def encode(self) -> bytes:
        """The manifest as JSON."""
        return to_json(asdict(self)).encode()

    @classmethod
    def load(cls, vault: Vault, incident: Incident) -> "QuarantineManifest":
        """Read an incident's manifest.

        Raises:
            VaultObjectMissing: the quarantine hasn't finished, or there was nothing for it to do.
        """
        body = json.loads(vault.get(VaultKeys(incident).quarantine_manifest))
        return cls(body["records"], tuple(CapturedChunk(**chunk) for chunk in body["chunks"]))


class QuarantineRecords:
    """Quarantines the poison and held records of one incident and reports what expired."""

    def __init__(self, vault: Vault, queue: PoisonQueue, ledger: Ledger) -> None:
        self._vault = vault
        self._queue = queue
        self._ledger = ledger

    def __call__(self, incident: Incident, execution_arn: str) -> QuarantineManifest:
        """Quarantine. A chunk that is done, queue and ledger included, is not done again."""
        manifest = CaptureManifest.load(self._vault, incident.id)
        done = self._ledger.steps_done(incident.id)
        if manifest.missing and _EXPIRED_STEP not in done:
            self._queue.send([_expired_message(incident, entry, execution_arn) for entry in manifest.missing])
            self._ledger.mark_done(incident.id, _EXPIRED_STEP)
        written = [
            chunk
            for index in range(len(manifest.chunks))
            if (chunk := self._quarantine_chunk(incident, manifest.chunks[index], index, execution_arn, done))
        ]
        result = QuarantineManifest(sum(chunk.records for chunk in written), tuple(written))
        self._vault.put(VaultKeys(incident).quarantine_manifest, result.encode())
        return result

    def _quarantine_chunk(
        self, incident: Incident, chunk: CapturedChunk, index: int, execution_arn: str, done: set[str]
    ) -> CapturedChunk | None:
        keys = VaultKeys(incident)
        verdicts = ChunkVerdicts.load(self._vault, keys.verdicts(index)).verdicts
        if all(v is None or v.verdict is Verdict.TRANSIENT for v in verdicts):
            return None
        pairs = zip(chunks.decode(self._vault.get(chunk.key)), verdicts, strict=True)
        kept = [(record, v) for record, v in pairs if v and v.verdict is not Verdict.TRANSIENT]
        key = keys.quarantine_chunk(index)
        written = CapturedChunk(self._vault.bucket, key, len(kept))
        step = f"quarantine:{index:05}"
        if step in done:
            return written
        # A run before this one may have written it: the verdicts are settled, so the object is the same.
        self._vault.put_new(
            key,
            chunks.encode({**r.to_line(), "verdict": v.to_dict(), "case_id": None} for r, v in kept),
        )
        self._queue.send(list(_poison_messages(incident, kept, written, execution_arn)))
        self._ledger.record_quarantined(
            chunks.stream_name(incident.shard.stream_arn), incident.id, list(_entries(kept, key))
        )
        self._ledger.mark_done(incident.id, step)
        return written


def _entries(kept: Sequence[tuple[Record, RecordVerdict]], key: str) -> Iterator[QuarantinedRecord]:
    for line, (record, verdict) in enumerate(kept):
        place = Origin(record.stream.shard_id, record.stream.sequence_number)
        yield QuarantinedRecord(place, record.lineage.origin, verdict.rule, verdict.verdict.value, key, line)


def _poison_messages(
    incident: Incident,
    kept: Sequence[tuple[Record, RecordVerdict]],
    chunk: CapturedChunk,
    execution_arn: str,
) -> Iterator[PoisonMessage]:
    for line, (record, verdict) in enumerate(kept):
        payload: dict[str, Any] = {"s3": {"bucket": chunk.bucket, "key": chunk.key, "line": line}}
        if len(record.stream.data) <= MAX_INLINE_BYTES:
            payload["inline"] = base64.b64encode(record.stream.data).decode("ascii")
        body = {
            "schema": "stream-redrive.poison/1",
            "record": {**record.without_data(), "case_id": None},
            "payload": payload,
            "verdict": verdict.to_dict(),
            "case_id": None,
            "execution_arn": execution_arn,
        }
        yield PoisonMessage(
            key=f"{incident.id}:{record.stream.shard_id}:{record.stream.sequence_number}",
            body=to_json(body),
            attributes={"consumer": incident.shard.consumer, "rule": verdict.rule},
        )


def _expired_message(incident: Incident, missing: Missing, execution_arn: str) -> PoisonMessage:
    shard = incident.shard
    body = {
        "schema": "stream-redrive.expired/1",
        "incident_id": incident.id,
        "consumer": shard.consumer,
        "stream_arn": shard.stream_arn,
        "shard_id": shard.shard_id,
        "missing": asdict(missing),
        "execution_arn": execution_arn,
    }
    return PoisonMessage(
        key=f"{incident.id}:expired:{missing.start}:{missing.end}",
        body=to_json(body),
        attributes={"consumer": shard.consumer, "rule": "expired"},
    )
