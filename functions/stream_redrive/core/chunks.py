"""Chunks: gzip NDJSON objects of captured records in the vault, and the keys of all that belongs to an incident."""

import gzip
import json
from collections.abc import Iterable, Iterator
from typing import Any

from stream_redrive.core.incident import Incident
from stream_redrive.core.notices import parse_time
from stream_redrive.core.records import Record, StreamRecord

MAX_RECORDS = 500
MAX_BYTES = 4 * 1024 * 1024
# A line without its payload and partition key: ARN, ids, numbers, digest and lineage, at their longest.
_LINE_OVERHEAD = 1024
# Level 1 is three times as fast as the default on base64 text and gives up a tenth of the compression.
_COMPRESSION = 1


class VaultKeys:
    """The keys of an incident's objects. They depend on nothing but the incident's input."""

    def __init__(self, incident: Incident) -> None:
        day = parse_time(incident.failed_at).strftime("%Y/%m/%d")
        self._dated = f"{consumer_name(incident.shard.consumer)}/{day}/{incident.id}/"
        self._id = incident.id
        self._own = f"incidents/{incident.id}/"

    @property
    def captured(self) -> str:
        """The prefix of the captured chunks."""
        return f"captured/{self._dated}"

    def captured_chunk(self, index: int) -> str:
        """The key of a captured chunk."""
        return f"{self.captured}{index:05}.ndjson.gz"

    def quarantine_chunk(self, index: int) -> str:
        """The key of the quarantined part of a captured chunk."""
        return f"quarantine/{self._dated}{index:05}.ndjson.gz"

    def verdicts(self, index: int) -> str:
        """The key of a captured chunk's verdicts."""
        return f"{self._own}verdicts/{index:05}.json.gz"

    @property
    def capture_manifest(self) -> str:
        """What the capture found, notice by notice and chunk by chunk."""
        return capture_manifest_key(self._id)

    @property
    def quarantine_manifest(self) -> str:
        """What the quarantine wrote."""
        return f"{self._own}quarantine.json"


def capture_manifest_key(incident_id: str) -> str:
    """The key of an incident's capture manifest."""
    return f"incidents/{incident_id}/capture.json"


def notices_key(incident_id: str) -> str:
    """The key of the notices of an incident whose input can't hold them."""
    return f"incidents/{incident_id}/notices.ndjson.gz"


def consumer_name(function_arn: str) -> str:
    """The function's name, with its qualifier if it has one: "orders" or "orders@live"."""
    return "@".join(function_arn.split(":")[6:8])


def function_name(function_arn: str) -> str:
    """The function's name, without version or alias."""
    return function_arn.split(":")[6]


def stream_name(stream_arn: str) -> str:
    """The name by which the ledger knows a stream: the last part of a Kinesis ARN, all of a table stream's."""
    return stream_arn.partition(":stream/")[2] or stream_arn.split(":", 5)[5]


def encode(lines: Iterable[dict[str, Any]]) -> bytes:
    """Lines as gzip NDJSON."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    return gzip.compress(text.encode(), compresslevel=_COMPRESSION, mtime=0)


def decode(body: bytes) -> Iterator[Record]:
    """The records of a chunk, in the order of the shard."""
    return map(Record.from_line, lines_of(body))


def lines_of(body: bytes) -> Iterator[dict[str, Any]]:
    """The lines of a chunk as they stand."""
    return map(json.loads, gzip.decompress(body).decode("ascii").splitlines())


def line_bytes(record: StreamRecord) -> int:
    """At most how long a record's line gets."""
    key = record.partition_key or ""
    return 4 * ((len(record.data) + 2) // 3) + len(json.dumps(key)) + _LINE_OVERHEAD


class ChunkBuffer:
    """Gathers records until they fill a chunk."""

    def __init__(self) -> None:
        self._records: list[StreamRecord] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._records)

    def has_room_for(self, record: StreamRecord) -> bool:
        """Whether the chunk stays within its limits with this record; a first record always has room."""
        full = len(self._records) >= MAX_RECORDS or self._bytes + line_bytes(record) > MAX_BYTES
        return not (self._records and full)

    def add(self, record: StreamRecord) -> None:
        """Take a record in."""
        self._records.append(record)
        self._bytes += line_bytes(record)

    def take(self) -> list[StreamRecord]:
        """Hand the records over and start the next chunk."""
        records, self._records, self._bytes = self._records, [], 0
        return records
