"""CPU and memory of capture, classification and packing, on streams of any length.

The stream makes its records up as they are read and the vault is a folder: what is measured is the service's own
work and what it holds. Run as a module it prints one measurement as JSON.
"""

import importlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stream_redrive.adapters import clients
from stream_redrive.adapters.kinesis import MAX_PAGE
from stream_redrive.adapters.time_limit import CpuTimeLimit
from stream_redrive.core import chunks
from stream_redrive.core.capture import CaptureRecords
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.classify import ClassifyRecords
from stream_redrive.core.incident import MAX_RECORDS
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.packing import pack
from stream_redrive.core.policy import parse_policy
from stream_redrive.core.ports import Page, ShardInfo, StoredObject
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from stream_redrive.core.sources import Sources
from stream_redrive.core.verdicts import ChunkVerdicts
from tests.support import build
from tests.support.memory import MemoryClock, MemoryConsumer, MemoryConsumerLog, MemoryLedger, MemoryMappings

RECORD_BYTES = 1024
NOTICE_RECORDS = 100
NOTHING_TOLD = Sources(MemoryConsumerLog(), MemoryMappings(), MemoryConsumer(), CpuTimeLimit())
FIRST = 10**55
POLICY = {
    "default": {
        "decoder": "json",
        "schema": {
            "type": "object",
            "required": ["flight", "distance"],
            "properties": {
                "flight": {"type": "string", "minLength": 1},
                "distance": {"type": "number", "exclusiveMinimum": 0},
                "air_time": {"type": ["number", "null"]},
            },
        },
    }
}


def record(number: int) -> StreamRecord:
    """A record of 1 KiB."""
    body = {"flight": f"F{number:08}", "distance": 1400, "air_time": 227, "remarks": ""}
    body["remarks"] = "x" * (RECORD_BYTES - len(json.dumps(body)))
    return StreamRecord(build.SHARD_ID, str(FIRST + number), f"F{number}", build.ARRIVED, json.dumps(body).encode())


class MadeUpStream:
    """A shard of as many records as one likes."""

    def __init__(self, length: int) -> None:
        self._length = length

    def open_at(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        return str(int(sequence_number) - FIRST)

    def open_after(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        return str(int(sequence_number) - FIRST + 1)

    def open_from(self, stream_arn: str, shard_id: str, moment: datetime) -> str:
        return "0"

    def read(self, stream_arn: str, iterator: str) -> Page:
        start = int(iterator)
        end = min(start + MAX_PAGE, self._length)
        return Page([record(number) for number in range(start, end)], str(end), 0 if end == self._length else 1)

    def shards(self, stream_arn: str) -> Sequence[ShardInfo]:
        return [ShardInfo(build.SHARD_ID, "0")]


class FolderVault:
    """The vault in a folder."""

    bucket = "vault"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_new(self, key: str, body: bytes) -> bool:
        self.put(key, body)
        return True

    def put(self, key: str, body: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def get(self, key: str) -> bytes:
        return (self._folder / key).read_bytes()

    def revise(self, key: str, change: Callable[[bytes], bytes]) -> bytes:
        body = change(self.get(key))
        self.put(key, body)
        return body

    def list(self, prefix: str) -> Sequence[StoredObject]:
        folder = self._folder / prefix
        return [StoredObject(f"{prefix}{p.name}", p.stat().st_size) for p in sorted(folder.glob("*"))]


class NoLineage(MemoryLedger):
    """A ledger in which no record was redriven before."""

    def lineage_of(self, stream: str, places: Iterable[Origin]) -> Mapping[Origin, Lineage]:
        return {}


@dataclass
class Spent:
    """CPU seconds: of capture, classification and packing, and of the classification alone."""

    whole: float = 0.0
    classification: float = 0.0


def run(records: int) -> Spent:
    """Send records through capture, classification and packing; what it took.

    An incident holds at most 10,000 records: more of them make more incidents, one after the other.
    """
    spent = Spent()
    book = parse_policy(json.dumps(POLICY), "1")
    stream = MadeUpStream(records)
    for start in range(0, records, MAX_RECORDS):
        numbers = range(start, min(start + MAX_RECORDS, records))
        notices = [
            build.notice(str(FIRST + first), str(FIRST + min(first + NOTICE_RECORDS, numbers.stop) - 1), NOTICE_RECORDS)
            for first in range(numbers.start, numbers.stop, NOTICE_RECORDS)
        ]
        incident = build.incident(*notices)
        with tempfile.TemporaryDirectory() as folder:
            vault = FolderVault(Path(folder))
            making = MadeUpCost()
            began = time.process_time()
            ledger = NoLineage()
            captured = CaptureRecords(making.of(stream), vault, ledger, MemoryClock())(incident)
            before = time.process_time()
            classified = ClassifyRecords(vault, lambda: book, ledger, NOTHING_TOLD, MemoryClock())(incident)
            spent.classification += time.process_time() - before
            packed = sum(len(call) for call in pack(_transient(vault, incident)))
            spent.whole += time.process_time() - began - making.seconds
        assert captured.records == classified.verdicts["transient"] == packed == len(numbers)
    return spent


class MadeUpCost:
    """Measures what making records up costs, which a real stream would not charge to us."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, stream: MadeUpStream) -> MadeUpStream:
        """The stream, its reads timed."""
        read = stream.__class__.read
        cost = self

        class Timed(MadeUpStream):
            def read(self, stream_arn: str, iterator: str) -> Page:
                began = time.process_time()
                try:
                    return read(self, stream_arn, iterator)
                finally:
                    cost.seconds += time.process_time() - began

        return Timed(stream._length)


def _transient(vault: FolderVault, incident: build.Incident) -> Iterable[tuple[None, Record]]:
    keys = VaultKeys(incident)
    for index, chunk in enumerate(CaptureManifest.load(vault, incident.id).chunks):
        verdicts = ChunkVerdicts.load(vault, keys.verdicts(index)).verdicts
        for held, verdict in zip(chunks.decode(vault.get(chunk.key)), verdicts, strict=True):
            assert verdict.rule == "default"
            yield None, held


def _be_a_sandbox() -> None:
    """Hold what a warm sandbox holds anyway: Powertools, boto3 and the clients of the steps."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    for module in ("capture_records", "classify_records", "redrive_records"):
        importlib.import_module(f"stream_redrive.handlers.{module}")
    for client in (clients.kinesis, clients.kinesis_once, clients.s3, clients.dynamodb, clients.ssm):
        client()


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent held before this process was its own
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    _be_a_sandbox()
    count = int(sys.argv[1])
    spent = run(count)
    figures = {"cpu_seconds": spent.whole, "classify_seconds": spent.classification, "peak_mib": _peak_mib()}
    sys.stdout.write(json.dumps({"records": count, **figures}))
