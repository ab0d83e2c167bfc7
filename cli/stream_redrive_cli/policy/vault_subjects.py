"""Past incidents and their chunks, as the vault and the ledger keep them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.classifier import Neighbourhood
from stream_redrive.core.classify import reports_of
from stream_redrive.core.errors import VaultObjectMissing
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest, Examined, NoticeFinder, Outcome
from stream_redrive.core.notices import ShardRef, Source
from stream_redrive.core.ports import Ledger, Vault
from stream_redrive.core.records import Record
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict
from stream_redrive_cli.deployed import Deployed
from stream_redrive_cli.errors import CommandError, ServiceRefusedError, UsageError
from stream_redrive_cli.policy.file_subjects import file_subject
from stream_redrive_cli.policy.subjects import Case, Remembered, Subject

_CHUNK = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)")
_CAPTURED = re.compile(r"captured/[^/]+/\d{4}/\d{2}/\d{2}/(?P<incident>[0-9a-f]{32})/(?P<index>\d{5})\.ndjson\.gz")
_INCIDENT = re.compile(r"([0-9a-f]{32})(-r\d+)?")


class VaultPlaces:
    """Where the vault and the ledger are: named by the user, else by the stack."""

    def __init__(self, deployed: Deployed, vault: str | None, ledger: str | None) -> None:
        self._deployed = deployed
        self._vault = vault
        self._ledger = ledger

    def vault(self, bucket: str | None = None) -> S3Vault:
        """The bucket, or the service's own."""
        return S3Vault(self._deployed.s3, bucket or self._vault or self._deployed.output("VaultBucketName"))

    def ledger(self) -> DynamoLedger | None:
        """The ledger; None where the vault is named and the ledger isn't."""
        if self._vault and not self._ledger:
            return None
        # Nothing here waits or expires: any clock does.
        clock = LambdaClock(lambda: 0)
        return DynamoLedger(self._deployed.dynamodb, self._ledger or self._deployed.output("LedgerTableName"), clock)


def chunk_subject(places: VaultPlaces, uri: str, consumer: str | None) -> Subject:
    """A chunk by its s3:// address: a captured one as a part of its incident, any other as the lines that it holds.

    Raises:
        UsageError: that is no address of an object.
    """
    found = _CHUNK.fullmatch(uri)
    if not found:
        raise UsageError(f"{uri!r} is no address of an object: expected s3://bucket/key")
    vault = places.vault(found["bucket"])
    if captured := _CAPTURED.fullmatch(found["key"]):
        return incident_subject(vault, places.ledger(), captured["incident"], consumer, only=int(captured["index"]))
    return file_subject(uri, vault.get(found["key"]), consumer, plain=False)


def incident_subject(
    vault: Vault, ledger: Ledger | None, incident: str, consumer: str | None = None, only: int | None = None
) -> Subject:
    """An incident as the vault keeps it, and what its consumer reported.

    Args:
        incident: its id, or the name of its execution.
        consumer: the function's name or ARN; without one it is the one that the chunks' keys name. A name is taken to
            be of the stream's account.
        only: the index of the one chunk to judge.

    Raises:
        UsageError: that is no id of an incident, or it has no such chunk.
        ServiceRefusedError: the vault doesn't hold it.
    """
    found = _INCIDENT.fullmatch(incident)
    if not found:
        raise UsageError(f"{incident!r} is no incident: expected 32 hexadecimal digits")
    try:
        manifest = CaptureManifest.load(vault, found[1])
    except VaultObjectMissing as exc:
        raise ServiceRefusedError(f"{exc}: no such incident, or its capture hasn't finished") from exc
    if only is not None and only >= len(manifest.chunks):
        raise UsageError(f"incident {found[1]} has {len(manifest.chunks)} chunks, none of index {only}")
    name = f"incident {found[1]}" + ("" if only is None else f", chunk {only:05}")
    if not manifest.chunks:
        empty = ShardRef(Source.KINESIS, consumer or "", "", "")
        notes = ["nothing of it could be captured: there is no record to judge"]
        return Subject(name, consumer, empty, Neighbourhood(), False, lambda: (), notes=notes)

    first = next(chunks.decode(vault.get(manifest.chunks[0].key)))
    shard = ShardRef(
        Source.KINESIS,
        _consumer(consumer or manifest.chunks[0].key.split("/")[1].replace("@", ":"), first.stream_arn),
        first.stream_arn,
        first.stream.shard_id,
    )
    settled = [_settled(vault, found[1], index) for index in range(len(manifest.chunks))]
    remembered = Remembered()
    members = _RememberedMembers()
    finder = NoticeFinder(manifest.notices)
    for chunk, verdicts in zip(manifest.chunks, settled, strict=True):
        for record, verdict in _paired(vault, chunk.key, verdicts) if verdicts else ():
            notices = finder.covering(record.stream.sequence_number)
            if verdict is not None:
                remembered.see(record, notices, verdict)
                if verdict.rule != "ambiguous-range":
                    members.known.add(int(record.stream.sequence_number))
    reports = reports_of(shard, manifest, ledger) if ledger else {}

    def cases() -> Iterator[Case]:
        finder = NoticeFinder(manifest.notices)
        for index, chunk in enumerate(manifest.chunks):
            if only in {None, index}:
                for record, then in _paired(vault, chunk.key, settled[index]):
                    if settled[index] and (then is None or then.settled):
                        continue  # a stranger has no verdict, and what a probe had processed needs none any more
                    yield Case(record, finder.covering(record.stream.sequence_number), then)

    return Subject(
        name,
        shard.consumer,
        shard,
        Neighbourhood(manifest.records, manifest.bystanders, {**remembered.reports, **reports}, remembered.logged),
        any(notice.outcome is Outcome.AMBIGUOUS for notice in manifest.notices),
        cases,
        members if any(settled) else None,
        normalised=len(remembered.numbers - reports.keys()),
    )


class _RememberedMembers:
    """The records that were judged as members of their batch then; of the others nothing was known."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def belongs(self, sequence_number: str, notice: Examined) -> bool | None:
        return True if int(sequence_number) in self.known else None

    def failed(self, sequence_number: str, notices: Sequence[Examined]) -> bool | None:
        return True if int(sequence_number) in self.known else None


def _incident(incident_id: str) -> Incident:
    """An incident of which only the id is known: enough for the keys below `incidents/`."""
    return Incident(incident_id, ShardRef(Source.KINESIS, "", "", ""), "1970-01-01T00:00:00.000Z", (), None)


def _consumer(name: str, stream_arn: str) -> str:
    if name.startswith("arn:"):
        return name
    _, partition, _, region, account, *_ = stream_arn.split(":")
    return f"arn:{partition}:lambda:{region}:{account}:function:{name}"


def _settled(vault: Vault, incident_id: str, index: int) -> tuple[RecordVerdict | None, ...] | None:
    try:
        return ChunkVerdicts.load(vault, VaultKeys(_incident(incident_id)).verdicts(index)).verdicts
    except VaultObjectMissing:
        return None


def _paired(
    vault: Vault, key: str, verdicts: tuple[RecordVerdict | None, ...] | None
) -> Iterator[tuple[Record, RecordVerdict | None]]:
    records = list(chunks.decode(vault.get(key)))
    if verdicts is not None and len(verdicts) != len(records):
        raise CommandError(f"{key} holds {len(records)} records and was given {len(verdicts)} verdicts")
    yield from zip(records, verdicts or [None] * len(records), strict=True)
