"""The work list of a decision: which records of which chunks it is about, as the vault keeps it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.cases import Piece
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import Record


@dataclass(frozen=True, slots=True)
class WorkChunk:
    """An entry of the list. lines: those of the object that it is about, from 0; None: all. records: how many."""

    index: int
    bucket: str
    key: str
    lines: tuple[int, ...] | None
    records: int

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "WorkChunk":
        """Read an entry."""
        lines = entry["lines"]
        return cls(
            entry["index"], entry["bucket"], entry["key"], None if lines is None else tuple(lines), entry["records"]
        )

    def read(self, vault: Vault) -> dict[int, Record]:
        """The records, by their line.

        Raises:
            VaultObjectMissing: the chunk has expired.
        """
        found = enumerate(chunks.decode(vault.get(self.key)))
        lines = None if self.lines is None else set(self.lines)
        return {line: record for line, record in found if lines is None or line in lines}


def load(vault: Vault, key: str) -> Sequence[WorkChunk]:
    """The list of a decision.

    Raises:
        VaultObjectMissing: it is not there.
    """
    return [WorkChunk.from_dict(entry) for entry in json.loads(vault.get(key))]


def left_over(vault: Vault, key: str) -> Sequence[Piece]:
    """The pieces of the case that the decision is not about, from beside its list.

    Raises:
        VaultObjectMissing: they are not there.
    """
    body = json.loads(vault.get(key.rpartition("/")[0] + "/left_over.json"))
    return [Piece(**{**fields, "lines": tuple(fields["lines"])}) for fields in body]


def redrive_id(list_key: str, index: int) -> str:
    """By what the ledger knows the redrive of a chunk. No incident's id has a "#"."""
    return f"{list_key}#{index}"


def chunk_of(vault: Vault, identity: str) -> WorkChunk | None:
    """The chunk whose redrive the ledger knows by this; None where it is an incident's."""
    list_key, hash_sign, index = identity.rpartition("#")
    if not hash_sign:
        return None
    return next(chunk for chunk in load(vault, list_key) if chunk.index == int(index))
