"""The manifest of a capture: what was found of each notice, and where it lies."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from stream_redrive.core.chunks import capture_manifest_key
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import to_json


class Outcome(StrEnum):
    """What the stream still had of a notice, or of all notices of an incident."""

    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    EXPIRED = "EXPIRED"
    AMBIGUOUS = "AMBIGUOUS"


class Gone(StrEnum):
    """Why records could not be read."""

    EXPIRED = "EXPIRED"
    SHARD_NOT_FOUND = "SHARD_NOT_FOUND"
    STREAM_RECREATED = "STREAM_RECREATED"


@dataclass(frozen=True, slots=True)
class CapturedChunk:
    """A chunk in the vault."""

    bucket: str
    key: str
    records: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A notice of which at least size records could not be read. captured_from: the first one that could."""

    start: str
    end: str
    size: int
    reason: str
    captured_from: str | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A notice's range and outcome, and what else of it is evidence for its records' verdicts.

    failed_at, request_id, invoke_count: as the notice has them. Captures of version 0.1.0 did not keep them.
    """

    start: str
    end: str
    size: int
    found: int
    outcome: Outcome
    condition: str
    function_error: str | None
    failed_at: str | None = None
    request_id: str | None = None
    invoke_count: int | None = None


@dataclass(frozen=True, slots=True)
class CaptureManifest:
    """The whole result of a capture, as the vault keeps it.

    claimed_elsewhere: notices of another incident. bystanders: at least how many records between the failed ones
    went through.
    """

    outcome: Outcome
    records: int
    chunks: tuple[CapturedChunk, ...]
    missing: tuple[Missing, ...]
    notices: tuple[Examined, ...]
    claimed_elsewhere: int
    bystanders: int

    def encode(self) -> bytes:
        """The manifest as JSON."""
        return to_json(asdict(self)).encode()

    @classmethod
    def load(cls, vault: Vault, incident_id: str) -> "CaptureManifest":
        """Read an incident's manifest.

        Raises:
            VaultObjectMissing: the capture hasn't finished.
        """
        body = json.loads(vault.get(capture_manifest_key(incident_id)))
        return cls(
            outcome=Outcome(body["outcome"]),
            records=body["records"],
            chunks=tuple(CapturedChunk(**chunk) for chunk in body["chunks"]),
            missing=tuple(Missing(**entry) for entry in body["missing"]),
            notices=tuple(Examined(**{**n, "outcome": Outcome(n["outcome"])}) for n in body["notices"]),
            claimed_elsewhere=body["claimed_elsewhere"],
            bystanders=body["bystanders"],
        )


class NoticeFinder:
    """Finds the notices that cover a record. Ask in the order of the shard."""

    def __init__(self, notices: Sequence[Examined]) -> None:
        self._notices = sorted(notices, key=lambda n: int(n.start))
        self._next = 0
        self._open: list[tuple[int, Examined]] = []

    def covering(self, sequence_number: str) -> list[Examined]:
        """The notices whose range holds the number; never empty for a captured record."""
        number = int(sequence_number)
        while self._next < len(self._notices) and int(self._notices[self._next].start) <= number:
            notice = self._notices[self._next]
            self._open.append((int(notice.end), notice))
            self._next += 1
        self._open = [entry for entry in self._open if entry[0] >= number]
        return [notice for _, notice in self._open]
