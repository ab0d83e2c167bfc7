"""A stream of one shard, and what a capture of its failed records left in the vault."""

from collections.abc import Sequence
from datetime import timedelta

from stream_redrive.core import chunks
from stream_redrive.core.capture import CaptureRecords, CaptureResult
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.ports import Page
from stream_redrive.core.records import Record, StreamRecord
from tests.support.memory import MemoryClock, MemoryLedger, MemoryStream, MemoryVault


class Bench:
    """A stream of one shard, an empty vault and an empty ledger."""

    def __init__(self, stream: MemoryStream | None = None) -> None:
        self.stream = stream or MemoryStream()
        self.vault = MemoryVault()
        self.ledger = MemoryLedger()
        self.clock = MemoryClock()

    def produce(self, count: int, *, every: timedelta = timedelta(0)) -> list[StreamRecord]:
        produced = []
        for number in range(count):
            produced.append(self.stream.produce(f"key-{number % 7}", f"record {number}".encode()))
            self.stream.clock.time += every
        return produced

    def capture(self, failed: Incident) -> CaptureResult:
        return CaptureRecords(self.stream, self.vault, self.ledger, self.clock)(failed)

    def captured(self, failed: Incident) -> list[Record]:
        return [
            record for chunk in self.manifest(failed).chunks for record in chunks.decode(self.vault.objects[chunk.key])
        ]

    def manifest(self, failed: Incident) -> CaptureManifest:
        return CaptureManifest.load(self.vault, failed.id)


def streamed(records: Sequence[Record]) -> list[StreamRecord]:
    return [record.stream for record in records]


class ExpiringStream(MemoryStream):
    """A stream whose iterators expire at the given reads, counted from 1."""

    def __init__(self, expiring: set[int], page_size: int) -> None:
        super().__init__(page_size=page_size)
        self._expiring = expiring
        self._reads = 0

    def read(self, stream_arn: str, iterator: str) -> Page:
        self._reads += 1
        self.expire_next_read = self._reads in self._expiring
        return super().read(stream_arn, iterator)
