"""A captured record, its lineage, and the line of a chunk that holds it."""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record entered the stream for the first time."""

    shard_id: str
    sequence_number: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """A record's origin and how many times it has been redriven since.

    last_error: the name of the error that it was redriven for last (error_fingerprint); None where none was known.
    """

    origin: Origin
    attempt: int
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A record as the stream gives it.

    arrived_at: ISO 8601, UTC, milliseconds. partition_key: None on streams that distribute records by themselves.
    """

    shard_id: str
    sequence_number: str
    partition_key: str | None
    arrived_at: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A captured record: the stream's own plus where it came from."""

    stream_arn: str
    stream: StreamRecord
    lineage: Lineage

    def digest(self) -> str:
        """SHA-256 of the payload, hexadecimal."""
        return digest(self.stream.data)

    @property
    def put_key(self) -> str:
        """The key to put the record with: its own; where the stream distributes records by itself, one that spreads."""
        return self.stream.partition_key or self.lineage.origin.sequence_number

    def to_line(self) -> dict[str, Any]:
        """The record as a line of a chunk (docs/architecture.md, contracts)."""
        return {**self.without_data(), "data": base64.b64encode(self.stream.data).decode("ascii")}

    def without_data(self) -> dict[str, Any]:
        """The line without the payload, as messages and reports may carry it."""
        stream, origin = self.stream, self.lineage.origin
        known = {} if self.lineage.last_error is None else {"last_error": self.lineage.last_error}
        return {
            "stream_arn": self.stream_arn,
            "shard_id": stream.shard_id,
            "sequence_number": stream.sequence_number,
            "partition_key": stream.partition_key,
            "arrived_at": stream.arrived_at,
            "sha256": self.digest(),
            "lineage": {
                "origin": {"shard_id": origin.shard_id, "sequence_number": origin.sequence_number},
                "attempt": self.lineage.attempt,
                **known,
            },
        }

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> "Record":
        """Read a chunk's line back; the bytes are those that were captured."""
        origin = line["lineage"]["origin"]
        return cls(
            stream_arn=line["stream_arn"],
            stream=StreamRecord(
                shard_id=line["shard_id"],
                sequence_number=line["sequence_number"],
                partition_key=line["partition_key"],
                arrived_at=line["arrived_at"],
                data=base64.b64decode(line["data"]),
            ),
            lineage=Lineage(
                Origin(origin["shard_id"], origin["sequence_number"]),
                line["lineage"]["attempt"],
                line["lineage"].get("last_error"),
            ),
        )


def digest(data: bytes) -> str:
    """SHA-256 of a payload, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: object) -> str:
    """Compact JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
