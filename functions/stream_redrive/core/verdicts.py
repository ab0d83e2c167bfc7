"""Verdicts: what they say of a record, and how a chunk's verdicts are kept."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core.policy import Verdict
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import to_json


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """A verdict and why.

    evidence: what was known, never payload. fingerprint: names the kind of failure of a poison or held record, None
    for a transient one. alarm: a person must mend something, whatever becomes of the record. settled: it is processed
    already, and not redriven.
    """

    verdict: Verdict
    rule: str
    reason: str
    policy_version: str
    evidence: Mapping[str, Any]
    fingerprint: str | None = None
    alarm: bool = False
    settled: bool = False

    @property
    def redriven(self) -> bool:
        """Whether the record is to be sent again."""
        return self.verdict is Verdict.TRANSIENT and not self.settled

    @property
    def last_error(self) -> str | None:
        """The name of the error behind the verdict, which a redriven copy's lineage takes along."""
        name = self.evidence.get("error")
        return None if name is None else str(name)

    def to_dict(self) -> dict[str, Any]:
        """As quarantine lines and messages carry it."""
        fields = asdict(self)
        if not self.settled:
            del fields["settled"]  # nothing in quarantine or on the poison queue is
        return {"class": fields.pop("verdict"), **fields}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "RecordVerdict":
        """Read to_dict's result back."""
        rest = {name: value for name, value in fields.items() if name != "class"}
        return cls(verdict=Verdict(fields["class"]), **rest)


@dataclass(frozen=True, slots=True)
class ChunkVerdicts:
    """The verdicts of a chunk's records, in the order of its lines; None for a stranger, which did not fail."""

    verdicts: tuple[RecordVerdict | None, ...]

    def encode(self) -> bytes:
        """As a vault object: equal verdicts are written once."""
        each = {id(verdict): verdict for verdict in self.verdicts if verdict is not None}
        texts = {name: to_json(verdict.to_dict()) for name, verdict in each.items()}
        distinct: dict[str, int] = {}
        lines = [None if v is None else distinct.setdefault(texts[id(v)], len(distinct)) for v in self.verdicts]
        body = {"verdicts": [json.loads(text) for text in distinct], "lines": lines}
        return gzip.compress(to_json(body).encode(), compresslevel=1, mtime=0)

    @classmethod
    def load(cls, vault: Vault, key: str) -> "ChunkVerdicts":
        """Read a chunk's verdicts.

        Raises:
            VaultObjectMissing: the chunk isn't classified.
        """
        body = json.loads(gzip.decompress(vault.get(key)))
        distinct = [RecordVerdict.from_dict(fields) for fields in body["verdicts"]]
        return cls(tuple(None if index is None else distinct[index] for index in body["lines"]))
