"""In-memory adapters of every port. They pass the same contract tests as the AWS ones."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any, Literal

from stream_redrive.core.errors import (
    IteratorExpired,
    RedriveError,
    SequenceNumberRejected,
    ShardNotFound,
    VaultObjectMissing,
    WriteConflict,
)
from stream_redrive.core.notices import format_time, parse_time
from stream_redrive.core.ports import (
    ExecutionExists,
    FailedInvocation,
    LoggedError,
    MappingSettings,
    Page,
    PoisonMessage,
    ProbeCall,
    PutResult,
    QuarantinedRecord,
    RedriveCursor,
    RedrivenCopy,
    Removal,
    Reply,
    ShardInfo,
    StoredObject,
    TimeIsUp,
)
from stream_redrive.core.records import Lineage, Origin, StreamRecord
from stream_redrive.core.reports import FailureReport

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@dataclass
class MemoryClock:
    """A clock that moves only when somebody sleeps."""

    time: datetime = START
    limit: datetime = START + timedelta(minutes=15)
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)

    def remaining_seconds(self) -> float:
        return (self.limit - self.time).total_seconds()


class MemoryStream:
    """A Kinesis stream: reader and writer.

    page_size: records a page. refuse_next: which records of the next put the shard throttles.
    of_trimmed: what a trimmed number opens; reports of the real service differ: "later" records, "nothing", or an
    error that says "rejected".
    """

    def __init__(self, shards: int = 1, *, clock: MemoryClock | None = None, page_size: int = 10_000) -> None:
        self.clock = clock or MemoryClock()
        self.page_size = page_size
        self.records: dict[str, list[StreamRecord]] = {f"shardId-{n:012}": [] for n in range(shards)}
        self.closed: set[str] = set()
        self.calls: list[str] = []
        self.expire_next_read = False
        self.empty_pages = 0
        self.refuse_next: set[int] = set()
        self._numbers = itertools.count(10**20, 7)
        self._iterators: dict[str, tuple[str, int]] = {}
        self._names = itertools.count()
        self.starting = "0"
        self.of_trimmed: Literal["later", "nothing", "rejected"] = "later"
        self._trimmed: dict[str, int] = {}

    # producing and forgetting

    def produce(self, key: str, data: bytes) -> StreamRecord:
        """Put a record as the stream's producer does."""
        shards = sorted(self.records)
        shard_id = shards[int(md5(key.encode()).hexdigest(), 16) * len(shards) >> 128]
        record = StreamRecord(shard_id, str(next(self._numbers)), key, format_time(self.clock.now()), data)
        self.records[shard_id].append(record)
        return record

    def trim(self, shard_id: str, count: int) -> None:
        """Forget the oldest records of a shard."""
        for record in self.records[shard_id][:count]:
            self._trimmed[shard_id] = int(record.sequence_number)
        del self.records[shard_id][:count]

    # StreamReader

    def open_at(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        return self._open("open_at", shard_id, int(sequence_number))

    def open_after(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        return self._open("open_after", shard_id, int(sequence_number) + 1)

    def open_from(self, stream_arn: str, shard_id: str, moment: datetime) -> str:
        held = self._shard(shard_id)
        number = next((int(r.sequence_number) for r in held if parse_time(r.arrived_at) >= moment), 10**200)
        return self._open("open_from", shard_id, number, check=False)

    def _open(self, call: str, shard_id: str, number: int, *, check: bool = True) -> str:
        self.calls.append(call)
        self._shard(shard_id)
        if check and number < int(self.starting):
            raise SequenceNumberRejected(str(number))
        if check and number <= self._trimmed.get(shard_id, -1) and self.of_trimmed != "later":
            if self.of_trimmed == "rejected":
                raise SequenceNumberRejected(str(number))
            number = 10**200
        name = f"iterator-{next(self._names)}"
        self._iterators = {name: (shard_id, number)}
        return name

    def read(self, stream_arn: str, iterator: str) -> Page:
        self.calls.append("read")
        if self.expire_next_read:
            self.expire_next_read = False
            raise IteratorExpired(iterator)
        shard_id, number = self._iterators[iterator]
        held = [r for r in self._shard(shard_id) if int(r.sequence_number) >= number]
        page = held[: self.page_size]
        if self.empty_pages:
            self.empty_pages -= 1
            page = []
        rest = len(held) - len(page)
        following = int(page[-1].sequence_number) + 1 if page else number
        if shard_id in self.closed and not rest:
            return Page(page, None, 0)
        name = f"iterator-{next(self._names)}"
        self._iterators = {name: (shard_id, following)}
        return Page(page, name, 1000 if rest else 0)

    def shards(self, stream_arn: str) -> Sequence[ShardInfo]:
        self.calls.append("shards")
        return [ShardInfo(shard_id, self.starting) for shard_id in sorted(self.records)]

    def _shard(self, shard_id: str) -> list[StreamRecord]:
        if shard_id not in self.records:
            raise ShardNotFound(shard_id)
        return self.records[shard_id]

    # StreamWriter

    def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
        self.calls.append("put")
        refused, self.refuse_next = self.refuse_next, set()
        results = []
        for index, (key, data) in enumerate(records):
            if index in refused:
                results.append(PutResult(None, "ProvisionedThroughputExceededException"))
                continue
            record = self.produce(key, data)
            results.append(PutResult(Origin(record.shard_id, record.sequence_number)))
        return results


class MemoryVault:
    """The vault in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    @property
    def bucket(self) -> str:
        return "vault"

    def put_new(self, key: str, body: bytes) -> bool:
        if key in self.objects:
            return False
        self.objects[key] = body
        return True

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = body

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError as exc:
            raise VaultObjectMissing(key) from exc

    def revise(self, key: str, change: Callable[[bytes], bytes]) -> bytes:
        self.objects[key] = change(self.get(key))
        return self.objects[key]

    def list(self, prefix: str) -> Sequence[StoredObject]:
        return [StoredObject(k, len(self.objects[k])) for k in sorted(self.objects) if k.startswith(prefix)]


class MemoryLedger:
    """The ledger in dicts."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, int, int], str] = {}
        self.lineage: dict[tuple[str, Origin], Lineage] = {}
        self.cursors: dict[str, RedriveCursor] = {}
        self.quarantined: dict[tuple[str, Origin], QuarantinedRecord] = {}
        self.returned: dict[tuple[str, Origin], Origin] = {}
        self.settled: dict[tuple[str, Origin], str] = {}
        self.done: set[tuple[str, str]] = set()
        self.open: set[tuple[str, str]] = set()
        self.reports: dict[tuple[str, str, str], dict[int, FailureReport]] = {}
        self.probes: dict[str, list[ProbeCall]] = {}

    def claim(self, incident_id: str, shard: str, ranges: Sequence[tuple[str, str]]) -> Sequence[bool]:
        keys = [(shard, int(start), int(end)) for start, end in ranges]
        return [self.claims.setdefault(key, incident_id) == incident_id for key in keys]

    def lineage_of(self, stream: str, places: Iterable[Origin]) -> Mapping[Origin, Lineage]:
        return {place: self.lineage[stream, place] for place in places if (stream, place) in self.lineage}

    def record_redriven(self, stream: str, incident_id: str, copies: Sequence[RedrivenCopy]) -> None:
        self.lineage |= {(stream, copy.place): copy.lineage for copy in copies}

    def redrive_cursor(self, incident_id: str) -> RedriveCursor | None:
        return self.cursors.get(incident_id)

    def save_redrive_cursor(self, incident_id: str, cursor: RedriveCursor) -> RedriveCursor:
        held = self.cursors.get(incident_id)
        if held is not None and held.version != cursor.version:
            raise WriteConflict(incident_id)
        self.cursors[incident_id] = replace(cursor, version=cursor.version + 1)
        return self.cursors[incident_id]

    def open_redrive(self, stream: str, incident_id: str) -> None:
        self.open.add((stream, incident_id))

    def close_redrive(self, stream: str, incident_id: str) -> None:
        self.open.discard((stream, incident_id))

    def open_redrives(self, stream: str) -> Sequence[str]:
        return sorted(incident for name, incident in self.open if name == stream)

    def record_quarantined(self, stream: str, incident_id: str, records: Sequence[QuarantinedRecord]) -> None:
        self.quarantined |= {(stream, record.place): record for record in records}
        self.returned |= {(stream, r.origin): r.place for r in records if r.place != r.origin}

    def last_quarantined(self, stream: str, origins: Iterable[Origin]) -> Mapping[Origin, Origin]:
        return {origin: self.returned[stream, origin] for origin in origins if (stream, origin) in self.returned}

    def mark_settled(self, stream: str, places: Sequence[Origin], state: str) -> None:
        self.settled |= {(stream, place): state for place in places}

    def steps_done(self, incident_id: str) -> set[str]:
        return {step for incident, step in self.done if incident == incident_id}

    def reports_of(
        self, function: str, stream: str, shard_id: str, first: str, last: str
    ) -> Mapping[int, FailureReport]:
        held = self.reports.get((function, stream, shard_id), {})
        return {number: report for number, report in held.items() if int(first) <= number <= int(last)}

    def mark_done(self, incident_id: str, step: str) -> None:
        self.done.add((incident_id, step))

    def probe_calls(self, incident_id: str) -> Sequence[ProbeCall]:
        return list(self.probes.get(incident_id, []))

    def announce_probe(self, incident_id: str, number: int, call: ProbeCall) -> None:
        calls = self.probes.setdefault(incident_id, [])
        if number < len(calls):
            raise WriteConflict(incident_id)
        calls.append(call)

    def record_probe(self, incident_id: str, number: int, call: ProbeCall) -> None:
        self.probes[incident_id][number] = call


class MemoryConsumer:
    """A consumer. handler: takes the event, as its Lambda does. events: those that it was invoked with.

    refusals: by the number of the invocation, from 1, what is raised in its place.
    """

    def __init__(
        self,
        handler: Callable[[Mapping[str, Any]], Any] = lambda event: None,
        refusals: Mapping[int, RedriveError] | None = None,
    ) -> None:
        self.handler = handler
        self.refusals = refusals or {}
        self.events: list[Mapping[str, Any]] = []

    def invoke(self, consumer: str, event: Mapping[str, Any]) -> Reply:
        self.events.append(json.loads(json.dumps(event)))
        if refusal := self.refusals.get(len(self.events)):
            raise refusal
        try:
            answer = self.handler(self.events[-1])
        except Exception as exc:  # noqa: BLE001 - Lambda too turns every exception into a reply
            return Reply(type(exc).__name__, str(exc), None)
        return Reply(None, None, json.loads(json.dumps(answer)))


class MemoryPoisonQueue:
    """The poison queue: one message a key, as the FIFO queue's deduplication makes it."""

    def __init__(self) -> None:
        self.messages: dict[str, PoisonMessage] = {}

    def send(self, messages: Sequence[PoisonMessage]) -> None:
        for message in messages:
            self.messages.setdefault(message.key, message)

    def remove(self, wanted: Callable[[str, Mapping[str, str]], bool], most: int) -> Removal:
        found = [key for key, message in self.messages.items() if wanted(message.body, message.attributes)][:most]
        for key in found:
            del self.messages[key]
        return Removal(len(found), complete=True)


class MemoryExecutions:
    """Executions by name. statuses: what became of them; RUNNING unless told."""

    def __init__(self) -> None:
        self.started: dict[str, str] = {}
        self.statuses: dict[str, str] = {}

    def start(self, name: str, body: str) -> None:
        if name in self.started and (self.status(name) != "RUNNING" or self.started[name] != body):
            raise ExecutionExists(name)
        self.started[name] = body

    def status(self, name: str) -> str:
        return self.statuses.get(name, "RUNNING")

    def running(self) -> set[str]:
        return {name for name in self.started if self.status(name) == "RUNNING"}


class MemoryTaskTokens:
    """Tokens of tasks that wait, and what became of those that don't any more: output or error."""

    def __init__(self, *waiting: str) -> None:
        self.waiting = set(waiting)
        self.answers: dict[str, str] = {}

    def succeed(self, token: str, output: str) -> bool:
        return self._answer(token, output)

    def fail(self, token: str, error: str) -> bool:
        return self._answer(token, error)

    def _answer(self, token: str, answer: str) -> bool:
        if token not in self.waiting:
            return False
        self.waiting.remove(token)
        self.answers[token] = answer
        return True


class MemoryApproverTopic:
    """A topic that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def publish(self, subject: str, text: str) -> None:
        self.told.append((subject, text))


class MemoryPolicySource:
    """The policy document's versions, newest first. forgotten: how many older ones the history no longer holds."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.forgotten = 0

    def versions(self) -> Iterable[tuple[str, str]]:
        newest = len(self.texts) + self.forgotten
        return ((str(newest - index), text) for index, text in enumerate(self.texts))


class MemoryTimeLimit:
    """A limit that is reached when the test says so. slow: how many of the next blocks take too long."""

    def __init__(self, slow: int = 0) -> None:
        self.slow = slow

    @contextmanager
    def __call__(self, seconds: float) -> Iterator[None]:
        if self.slow:
            self.slow -= 1
            raise TimeIsUp
        yield


class MemoryMappings:
    """The mappings of consumers, by consumer and stream. asked: how many times."""

    def __init__(self, mappings: Mapping[tuple[str, str], Sequence[MappingSettings]] | None = None) -> None:
        self.mappings = dict(mappings or {})
        self.asked = 0

    def of(self, consumer: str, stream_arn: str) -> Sequence[MappingSettings]:
        self.asked += 1
        return self.mappings.get((consumer.removesuffix(":$LATEST"), stream_arn), ())


class MemoryConsumerLog:
    """The consumer's log by request id. fault: what a reading raises. calls: how many there were."""

    def __init__(self, errors: Mapping[str, Sequence[LoggedError]] | None = None) -> None:
        self.errors: dict[str, list[LoggedError]] = {name: list(found) for name, found in (errors or {}).items()}
        self.fault: Exception | None = None
        self.calls = 0

    def errors_of(
        self, consumer: str, log_group: str | None, invocations: Sequence[FailedInvocation]
    ) -> Mapping[str, Sequence[LoggedError]]:
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        asked = dict.fromkeys(invocation.request_id for invocation in invocations)
        return {name: self.errors[name] for name in asked if self.errors.get(name)}
