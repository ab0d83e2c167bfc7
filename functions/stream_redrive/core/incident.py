"""Incidents: the notices of one consumer and one shard that arrived together, and their name."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core.errors import MalformedIncident
from stream_redrive.core.notices import Notice, ShardRef, Source, format_time, parse_time
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import to_json

MAX_RECORDS = 10_000
MAX_INLINE_NOTICES = 100


@dataclass(frozen=True, slots=True)
class Reference:
    """An object in the vault. count: how many entries it holds."""

    bucket: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class Incident:
    """What one workflow execution works on. failed_at: the earliest notice's time, which dates its keys."""

    id: str
    shard: ShardRef
    failed_at: str
    notices: tuple[Notice, ...] | None
    notices_ref: Reference | None

    def to_input(self) -> dict[str, Any]:
        """The execution's input (docs/architecture.md, contracts)."""
        body: dict[str, Any] = {
            "id": self.id,
            "source": self.shard.source.value,
            "consumer": self.shard.consumer,
            "stream_arn": self.shard.stream_arn,
            "shard_id": self.shard.shard_id,
            "failed_at": self.failed_at,
        }
        if self.notices is not None:
            body["notices"] = [notice.to_dict() for notice in self.notices]
        if self.notices_ref is not None:
            body["notices_ref"] = asdict(self.notices_ref)
        return body

    @classmethod
    def from_input(cls, body: Mapping[str, Any]) -> "Incident":
        """Read an execution's input.

        Raises:
            MalformedIncident: when a field is missing or of the wrong shape.
        """
        try:
            notices, reference = body.get("notices"), body.get("notices_ref")
            if (notices is None) == (reference is None):
                raise MalformedIncident("incident: expected exactly one of 'notices' and 'notices_ref'")
            parsed = tuple(map(Notice.from_dict, notices or ()))
            return cls(
                id=body["id"],
                shard=ShardRef(Source(body["source"]), body["consumer"], body["stream_arn"], body["shard_id"]),
                failed_at=body["failed_at"] if notices is None else earliest_failure(parsed),
                notices=None if notices is None else parsed,
                notices_ref=None if reference is None else Reference(**reference),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise MalformedIncident(f"incident: {type(exc).__name__}: {exc}") from exc

    def load_notices(self, vault: Vault) -> tuple[Notice, ...]:
        """The incident's notices, from the input or from the vault."""
        if self.notices is not None:
            return self.notices
        assert self.notices_ref is not None  # from_input lets no other shape through
        return decode_notices(vault.get(self.notices_ref.key))


def gather(arrived: Iterable[tuple[ShardRef, Notice]]) -> Iterator[tuple[ShardRef, list[Notice]]]:
    """Group notices by consumer, stream and shard, at most MAX_RECORDS records a group.

    The same range twice (a duplicate of SNS or SQS) is one notice. A group's notices are sorted by their range.
    """
    groups: dict[ShardRef, dict[tuple[int, int], Notice]] = {}
    for shard, notice in arrived:
        group = groups.setdefault(shard, {})
        key = (int(notice.start), int(notice.end))
        known = group.get(key)
        # Of two notices of one range the earlier stays, whatever their order: equal groups give equal inputs.
        if known is None or (notice.failed_at, notice.request_id) < (known.failed_at, known.request_id):
            group[key] = notice
    for shard, group in groups.items():
        batch: list[Notice] = []
        records = 0
        for _, notice in sorted(group.items()):
            if batch and records + notice.size > MAX_RECORDS:
                yield shard, batch
                batch, records = [], 0
            batch.append(notice)
            records += notice.size
        yield shard, batch


def incident_id(shard: ShardRef, notices: Sequence[Notice]) -> str:
    """The name of an incident: a digest of what its notices cover, without times and message ids."""
    ranges = sorted((int(n.start), int(n.end)) for n in notices)
    keys = [[shard.consumer, shard.stream_arn, shard.shard_id, str(start), str(end)] for start, end in ranges]
    return hashlib.sha256(to_json(keys).encode()).hexdigest()[:32]


def earliest_failure(notices: Iterable[Notice]) -> str:
    """The earliest failed_at, ISO 8601."""
    return format_time(min(parse_time(notice.failed_at) for notice in notices))


def encode_notices(notices: Iterable[Notice]) -> bytes:
    """Notices as gzip NDJSON; equal notices give equal bytes."""
    return gzip.compress("".join(to_json(n.to_dict()) + "\n" for n in notices).encode(), mtime=0)


def decode_notices(body: bytes) -> tuple[Notice, ...]:
    """Read encode_notices' bytes back."""
    return tuple(Notice.from_dict(json.loads(line)) for line in gzip.decompress(body).splitlines())
