"""Quarantine: poison and held records to S3 first, then into their cases, then a message a record to the queue."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.cases import Action, CaseStatus
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.incident import Incident
from stream_redrive.core.joining import Joining
from stream_redrive.core.manifest import CapturedChunk, CaptureManifest, Missing
from stream_redrive.core.policy import PolicyBook
from stream_redrive.core.ports import CaseStore, Clock, Ledger, PoisonMessage, PoisonQueue, Vault
from stream_redrive.core.records import to_json
from stream_redrive.core.verdicts import ChunkVerdicts

MAX_INLINE_BYTES = 64 * 1024
_EXPIRED_STEP = "quarantine:expired"


@dataclass(frozen=True, slots=True)
class QuarantineManifest:
    """The whole result of a quarantine, as the vault keeps it. cases: the ids of those that its records are in."""

    records: int
    chunks: tuple[CapturedChunk, ...]
    cases: tuple[str, ...] = ()

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
        written = tuple(CapturedChunk(**chunk) for chunk in body["chunks"])
        return cls(body["records"], written, tuple(body.get("cases", ())))


class QuarantineRecords:
    """Quarantines the poison and held records of one incident and reports what expired."""

    def __init__(
        self,
        vault: Vault,
        queue: PoisonQueue,
        ledger: Ledger,
        cases: CaseStore,
        policies: Callable[[], PolicyBook],
        clock: Clock,
    ) -> None:
        self._vault = vault
        self._queue = queue
        self._ledger = ledger
        self._cases = cases
        self._policies = policies
        self._clock = clock

    def __call__(self, incident: Incident, execution_arn: str) -> QuarantineManifest:
        """Quarantine. A chunk that is done, messages included, is not done again.

        Raises:
            VaultObjectMissing: the incident isn't classified.
            WriteConflict: cases are closed faster than they can be joined.
        """
        manifest = CaptureManifest.load(self._vault, incident.id)
        done = self._ledger.steps_done(incident.id)
        if manifest.missing and _EXPIRED_STEP not in done:
            self._queue.send([_expired_message(incident, entry, execution_arn) for entry in manifest.missing])
            self._ledger.mark_done(incident.id, _EXPIRED_STEP)
        approval = self._policies().policy_for(incident.shard.consumer).approval
        joining = Joining(self._cases, self._vault, self._ledger, self._clock, incident, approval)
        written = dict(self._write(incident, manifest, done, joining))
        joining.settle()
        for index, chunk in written.items():
            if _step(index) not in done:
                self._announce(incident, chunk, execution_arn)
                self._ledger.mark_done(incident.id, _step(index))
        result = QuarantineManifest(
            records=sum(chunk.records for chunk in written.values()),
            chunks=tuple(written.values()),
            cases=tuple(joining.joined),
        )
        self._vault.put(VaultKeys(incident).quarantine_manifest, result.encode())
        return result

    def _write(
        self, incident: Incident, manifest: CaptureManifest, done: set[str], joining: Joining
    ) -> Iterator[tuple[int, CapturedChunk]]:
        """The chunks in quarantine; those that are not done are written, unless they are there, and take up cases."""
        keys = VaultKeys(incident)
        for index, captured in enumerate(manifest.chunks):
            verdicts = ChunkVerdicts.load(self._vault, keys.verdicts(index)).verdicts
            count = sum(v is not None and v.fingerprint is not None for v in verdicts)
            if not count:
                continue
            key = keys.quarantine_chunk(index)
            if _step(index) not in done:
                pairs = zip(chunks.decode(self._vault.get(captured.key)), verdicts, strict=True)
                lines = [
                    {**r.to_line(), "verdict": v.to_dict(), "case_id": joining.case_of(index, v.fingerprint)}
                    for r, v in pairs
                    if v is not None and v.fingerprint is not None
                ]
                # Where a run before this one has written it, its word counts: the verdicts are settled, and another
                # run may be joining the cases that it names.
                if not self._vault.put_new(key, chunks.encode(lines)):
                    lines = list(chunks.lines_of(self._vault.get(key)))
                joining.add(index, key, lines)
            yield index, CapturedChunk(self._vault.bucket, key, count)

    def _announce(self, incident: Incident, chunk: CapturedChunk, execution_arn: str) -> None:
        """Send the messages, but for records about which all is decided and done meanwhile."""
        lines = list(chunks.lines_of(self._vault.get(chunk.key)))
        settled = {name for name in {line["case_id"] for line in lines} if self._is_settled(name)}
        self._queue.send(
            [
                _poison_message(incident, line, {"bucket": chunk.bucket, "key": chunk.key, "line": n}, execution_arn)
                for n, line in enumerate(lines)
                if line["case_id"] not in settled
            ]
        )

    def _is_settled(self, case_id: str) -> bool:
        case = self._cases.case(case_id)
        if case is None or case.status is not CaseStatus.CLOSED:
            return False
        return case.decision is None or case.decision.action is not Action.KEEP


def _step(index: int) -> str:
    return f"quarantine:{index:05}"


def _poison_message(
    incident: Incident, line: Mapping[str, Any], place: Mapping[str, Any], execution_arn: str
) -> PoisonMessage:
    payload: dict[str, Any] = {"s3": place}
    if len(base64.b64decode(line["data"])) <= MAX_INLINE_BYTES:
        payload["inline"] = line["data"]
    body = {
        "schema": "stream-redrive.poison/1",
        "record": {name: value for name, value in line.items() if name not in ("data", "verdict")},
        "payload": payload,
        "verdict": line["verdict"],
        "case_id": line["case_id"],
        "execution_arn": execution_arn,
    }
    return PoisonMessage(
        key=f"{incident.id}:{line['shard_id']}:{line['sequence_number']}",
        body=to_json(body),
        attributes={"consumer": incident.shard.consumer, "rule": line["verdict"]["rule"], "case_id": line["case_id"]},
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
