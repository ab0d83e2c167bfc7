"""The records of a case: where they lie in quarantine, by what name a person calls them, and what may be seen."""

import base64
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stream_redrive.core.cases import Piece
from stream_redrive.core.errors import VaultObjectMissing
from stream_redrive.core.masking import masked_payload
from stream_redrive.core.payloads import Payload
from stream_redrive.core.policy import Decoder
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import to_json

# From so many objects of one day on, listing the day costs less than asking for each.
_MANY = 20


def record_id(line: Mapping[str, Any]) -> str:
    """A record's name in requests: "<shard id>:<sequence number>", its place when it was quarantined."""
    return f"{line['shard_id']}:{line['sequence_number']}"


def read_lines(vault: Vault, piece: Piece) -> dict[int, dict[str, Any]]:
    """The piece's lines of its chunk, by their number.

    Raises:
        VaultObjectMissing: the chunk has expired.
    """
    texts = gzip.decompress(vault.get(piece.key)).splitlines()
    return {number: json.loads(texts[number]) for number in piece.lines}


def part_of(piece: Piece, lines: Mapping[int, Mapping[str, Any]], numbers: Iterable[int]) -> Piece | None:
    """A piece of only these lines of another; None where there are none."""
    left = tuple(numbers)
    if not left:
        return None
    if left == piece.lines:
        return piece
    arrived = sorted(lines[number]["arrived_at"] for number in left)
    digest = records_digest(lines[number] for number in left)
    return replace(piece, lines=left, digest=digest, first_arrived=arrived[0], last_arrived=arrived[-1])


def records_digest(lines: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the lines' places and payload digests, in their order."""
    found = hashlib.sha256()
    for line in lines:
        found.update(to_json([line["shard_id"], line["sequence_number"], line["sha256"]]).encode())
    return found.hexdigest()


class Held:
    """Which chunks of pieces are still in the vault."""

    def __init__(self, vault: Vault, pieces: Sequence[Piece]) -> None:
        self._vault = vault
        days = Counter(_day(piece.key) for piece in pieces)
        wanted = {piece.key for piece in pieces}
        prefixes = {_day(key) if days[_day(key)] >= _MANY else key for key in wanted}
        self._keys = {found.key for prefix in sorted(prefixes) for found in vault.list(prefix) if found.key in wanted}

    def __contains__(self, piece: Piece) -> bool:
        return piece.key in self._keys


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record as anybody who sees the case may see it. document: masked."""

    id: str
    arrived_at: str
    bytes: int
    format: str
    sha256: str
    attempt: int
    rule: str
    reason: str
    document: object


def views(vault: Vault, pieces: Sequence[Piece], decoder: Decoder, *, limit: int, after: int) -> list[RecordView]:
    """Some of a case's records, in the order of its pieces; those of expired chunks are passed over.

    Args:
        after: how many records to leave out before.
    """
    found: list[RecordView] = []
    for piece in pieces:
        if len(found) >= limit:
            break
        if after >= len(piece.lines):
            after -= len(piece.lines)
            continue
        numbers, after = piece.lines[after : after + limit - len(found)], 0
        try:
            lines = read_lines(vault, replace(piece, lines=numbers))
        except VaultObjectMissing:
            continue
        found += [_view(line, decoder) for line in lines.values()]
    return found


def find(vault: Vault, pieces: Sequence[Piece], wanted: str) -> dict[str, Any] | None:
    """The line of a record, by its id."""
    for line in _lines_of_shard(vault, pieces, wanted.rpartition(":")[0]):
        if record_id(line) == wanted:
            return line
    return None


def _lines_of_shard(vault: Vault, pieces: Sequence[Piece], shard_id: str) -> Iterator[dict[str, Any]]:
    for piece in pieces:
        if piece.shard_id == shard_id:
            try:
                yield from read_lines(vault, piece).values()
            except VaultObjectMissing:
                continue


def _view(line: Mapping[str, Any], decoder: Decoder) -> RecordView:
    data = base64.b64decode(line["data"])
    return RecordView(
        id=record_id(line),
        arrived_at=line["arrived_at"],
        bytes=len(data),
        format=Payload(data, decoder).format(),
        sha256=line["sha256"],
        attempt=line["lineage"]["attempt"],
        rule=line["verdict"]["rule"],
        reason=line["verdict"]["reason"],
        document=masked_payload(data, decoder),
    )


def _day(key: str) -> str:
    """The folder of a day: "quarantine/<consumer>/<yyyy>/<mm>/<dd>/"."""
    return key.rsplit("/", 2)[0] + "/"
