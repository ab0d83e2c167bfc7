"""A whole in-memory service around one stream, and the steps of an incident one after the other."""

import json
from collections.abc import Sequence
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.capture import CaptureRecords, CaptureResult
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.classify import Classification, ClassifyRecords
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.policy import PolicyBook, parse_policy
from stream_redrive.core.ports import RedrivenCopy
from stream_redrive.core.quarantine import QuarantineManifest, QuarantineRecords
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from stream_redrive.core.sources import Sources
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict
from tests.support.build import incident, notice_of
from tests.support.cuts import Cuts
from tests.support.memory import (
    MemoryClock,
    MemoryConsumer,
    MemoryConsumerLog,
    MemoryLedger,
    MemoryMappings,
    MemoryPoisonQueue,
    MemoryStream,
    MemoryTimeLimit,
    MemoryVault,
)
from tests.support.memory_cases import MemoryCaseStore

STREAM_NAME = "orders-stream"
EXECUTION_ARN = "arn:aws:states:us-east-1:123456789012:execution:redrive:name"


class Scene:
    """Ports in memory, and what a test does with them. policy: the default policy's fields."""

    def __init__(self, *, shards: int = 1, **policy: Any) -> None:
        self.clock = MemoryClock()
        self.stream = MemoryStream(shards, clock=self.clock)
        self.vault = MemoryVault()
        self.ledger = MemoryLedger()
        self.queue = MemoryPoisonQueue()
        self.log = MemoryConsumerLog()
        self.mappings = MemoryMappings()
        self.consumer = MemoryConsumer()
        self.limit = MemoryTimeLimit()
        self.cases = MemoryCaseStore()
        self.policy = policy
        self.policy_version = "1"

    def produce(self, *payloads: bytes, key: str = "k") -> list[StreamRecord]:
        """Put records of these payloads into the stream."""
        return [self.stream.produce(key, payload) for payload in payloads]

    def redriven_before(self, record: StreamRecord, attempt: int, origin: Origin | None = None) -> Lineage:
        """Make a record of the stream one that was redriven so many times."""
        lineage = Lineage(origin or Origin(record.shard_id, "1"), attempt)
        place = Origin(record.shard_id, record.sequence_number)
        self.ledger.record_redriven(STREAM_NAME, "earlier", [RedrivenCopy(place, lineage, lineage.origin)])
        return lineage

    def capture(self, failed: Incident) -> CaptureResult:
        """The first step."""
        return CaptureRecords(self.stream, self.vault, self.ledger, self.clock)(failed)

    def classify(self, failed: Incident) -> Classification:
        """The second step, under the policy as it stands."""
        sources = Sources(self.log, self.mappings, self.consumer, self.limit)
        return ClassifyRecords(self.vault, self.policies, self.ledger, sources, self.clock)(failed)

    def policies(self) -> PolicyBook:
        """The policy as it stands."""
        return parse_policy(json.dumps({"default": self.policy}), self.policy_version)

    def quarantine(self, failed: Incident, cuts: Cuts | None = None) -> QuarantineManifest:
        """The step for those that are not sent back, its port calls cut as told."""
        ports = (self.vault, self.queue, self.ledger, self.cases)
        vault, queue, ledger, cases = map((cuts or Cuts()).guard, ports)
        return QuarantineRecords(vault, queue, ledger, cases, self.policies, self.clock)(failed, EXECUTION_ARN)

    def fail(self, *batches: Sequence[StreamRecord], **fields: Any) -> Incident:
        """An incident of these failed batches, captured and classified. fields: of each notice."""
        failed = incident(*(notice_of(batch, **fields) for batch in batches))
        self.capture(failed)
        self.classify(failed)
        return failed

    def records(self, failed: Incident) -> list[Record]:
        """The captured records."""
        manifest = CaptureManifest.load(self.vault, failed.id)
        return [r for chunk in manifest.chunks for r in chunks.decode(self.vault.get(chunk.key))]

    def verdicts(self, failed: Incident) -> list[RecordVerdict]:
        """The captured records' verdicts, in the same order; there are no strangers among them."""
        verdicts = [verdict for verdict in self.verdicts_or_none(failed) if verdict is not None]
        assert len(verdicts) == len(self.records(failed))
        return verdicts

    def verdicts_or_none(self, failed: Incident) -> list[RecordVerdict | None]:
        """The captured records' verdicts, in the same order; None for a stranger."""
        keys, count = VaultKeys(failed), len(CaptureManifest.load(self.vault, failed.id).chunks)
        return [v for index in range(count) for v in ChunkVerdicts.load(self.vault, keys.verdicts(index)).verdicts]
