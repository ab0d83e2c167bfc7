"""The end of an incident: its account when it closes, its message when it is parked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import MalformedIncident
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CapturedChunk, CaptureManifest
from stream_redrive.core.ports import PoisonMessage, PoisonQueue, Vault
from stream_redrive.core.quarantine import QuarantineManifest
from stream_redrive.core.records import to_json

# References and counts stay far below the 256 KiB between two states.
MAX_LISTED = 100


class CloseIncident:
    """Composes an incident's output."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def __call__(
        self,
        incident: Incident,
        verdicts: Mapping[str, int],
        redrive: Mapping[str, Any],
        quarantined: int,
        processed: int = 0,
        strangers: int = 0,
    ) -> dict[str, Any]:
        """The output (docs/architecture.md, contracts).

        Lists of more than 100 entries are named by a reference: "chunks_ref" in place of "chunks", and so on.

        Args:
            verdicts: counts by class; with the strangers they are all captured records.
            redrive: its summary.
            quarantined: how many records the quarantine took.
            processed: how many of the transient records the consumer processed while it was probed.
            strangers: how many captured records were never in a failed batch.
        """
        keys = VaultKeys(incident)
        manifest = CaptureManifest.load(self._vault, incident.id)
        captured: dict[str, Any] = {"outcome": manifest.outcome.value, "records": manifest.records}
        captured |= self._listed("chunks", _described(manifest.chunks), keys.capture_manifest)
        captured |= self._listed("missing", [asdict(m) for m in manifest.missing], keys.capture_manifest)
        if strangers:
            captured["strangers"] = strangers
        if manifest.claimed_elsewhere:
            captured["claimed_elsewhere"] = manifest.claimed_elsewhere
        kept = QuarantineManifest.load(self._vault, incident) if quarantined else QuarantineManifest(0, ())
        quarantine: dict[str, Any] = {"records": quarantined}
        quarantine |= self._listed("cases", kept.cases, keys.quarantine_manifest)
        quarantine |= self._listed("chunks", _described(kept.chunks), keys.quarantine_manifest)
        return {
            "incident_id": incident.id,
            "capture": captured,
            "verdicts": dict(verdicts),
            "redrive": {**redrive, "healed": redrive["healed"] + processed},
            "quarantine": quarantine,
        }

    def _listed(self, name: str, entries: Sequence[object], manifest_key: str) -> dict[str, Any]:
        if len(entries) <= MAX_LISTED:
            return {name: list(entries)}
        return {f"{name}_ref": {"bucket": self._vault.bucket, "key": manifest_key, "count": len(entries)}}


def _described(written: Sequence[CapturedChunk]) -> list[dict[str, Any]]:
    return [asdict(chunk) for chunk in written]


class ParkIncident:
    """Puts an incident that could not be finished on the poison queue."""

    def __init__(self, queue: PoisonQueue, bucket: str) -> None:
        self._queue = queue
        self._bucket = bucket

    def __call__(self, incident: Mapping[str, Any], failure: Mapping[str, Any], execution_arn: str) -> dict[str, Any]:
        """Send the message: the incident as it came in, where captured chunks lie, and the error that was caught.

        Args:
            incident: the execution's input, which may be what was wrong.
        """
        try:
            captured = {"bucket": self._bucket, "prefix": VaultKeys(Incident.from_input(incident)).captured}
        except MalformedIncident:
            captured = None
        body = {
            "schema": "stream-redrive.parked/1",
            "incident": incident,
            "captured": captured,
            "error": failure.get("Error", "Unknown"),
            "cause": str(failure.get("Cause", ""))[:4096],
            "execution_arn": execution_arn,
        }
        consumer = str(incident.get("consumer") or "unknown")
        message = PoisonMessage(
            key=f"parked:{execution_arn}", body=to_json(body), attributes={"consumer": consumer, "rule": "parked"}
        )
        self._queue.send([message])
        return {"error": body["error"]}
