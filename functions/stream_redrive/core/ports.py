"""What the use cases need from the outside. Each port has an AWS adapter and an in-memory one; one suite holds both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from stream_redrive.core.cases import Case, CaseEvent, Note, Piece
from stream_redrive.core.records import Lineage, Origin, StreamRecord
from stream_redrive.core.reports import FailureReport


class Clock(Protocol):
    """Time, and how much of it a run has left."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def remaining_seconds(self) -> float:
        """Seconds until the run is killed."""


@dataclass(frozen=True, slots=True)
class Page:
    """One reply of GetRecords. next_iterator is None at the end of a closed shard."""

    records: Sequence[StreamRecord]
    next_iterator: str | None
    millis_behind: int


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """A shard of a stream. starting_sequence_number: where the shard's own numbers begin."""

    shard_id: str
    starting_sequence_number: str


class StreamReader(Protocol):
    """Reads shards. The iterators are valid for minutes only: never keep one across a wait.

    Raises, besides ServiceBusy, ServiceUnreachable and AccessDenied: IteratorExpired (read),
    SequenceNumberRejected (open_at, open_after), ShardNotFound (all).
    """

    def open_at(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        """An iterator that starts with the record of this number."""

    def open_after(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        """An iterator that starts behind the record of this number."""

    def open_from(self, stream_arn: str, shard_id: str, moment: datetime) -> str:
        """An iterator that starts with the first record that arrived at or after the moment."""

    def read(self, stream_arn: str, iterator: str) -> Page:
        """The next page, at most 10,000 records or 10 MiB; may be empty in the middle of a shard."""

    def shards(self, stream_arn: str) -> Sequence[ShardInfo]:
        """All shards that still hold records, closed ones too."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of one record of a PutRecords call: where it landed, or why not."""

    landed: Origin | None
    error_code: str | None = None


class StreamWriter(Protocol):
    """Writes records into a stream."""

    def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
        """Put records (partition key, payload), one call, never repeated by itself.

        Returns:
            a result for each record, in order; some may have failed.

        Raises:
            ServiceBusy, ServiceUnreachable: all, some or none may have landed.
            ShardNotFound: there is no such stream.
            AccessDenied: none has landed.
        """


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's key and size in bytes."""

    key: str
    size: int


class Vault(Protocol):
    """The bucket of captured bytes."""

    @property
    def bucket(self) -> str:
        """The bucket's name."""

    def put_new(self, key: str, body: bytes) -> bool:
        """Write the object unless the key exists; say whether it was written.

        Raises:
            WriteConflict: another writer is at the same key at this moment.
        """

    def put(self, key: str, body: bytes) -> None:
        """Write the object, whatever is there."""

    def get(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            VaultObjectMissing: no such object.
        """

    def revise(self, key: str, change: Callable[[bytes], bytes]) -> bytes:
        """Write what `change` makes of the object, and of nothing but what is there when it is written.

        Args:
            change: may be asked several times; nothing is written when it gives back what it was given.

        Returns:
            what the object then holds.

        Raises:
            VaultObjectMissing: no such object.
            WriteConflict: others write it again and again.
        """

    def list(self, prefix: str) -> Sequence[StoredObject]:
        """The objects below a prefix, sorted by key."""


@dataclass(frozen=True, slots=True)
class RedriveCursor:
    """How far an incident's redrive has come.

    next_chunk, next_line: the first record not yet looked at. carried: records (chunk, line) that a call refused.
    open_since, open_records: the PutRecords call that was about to be made; what of it landed is unknown.
    version: counts the writes, so that two runs can't both go on from one.
    """

    next_chunk: int = 0
    next_line: int = 0
    carried: tuple[tuple[int, int], ...] = ()
    sent: int = 0
    open_since: datetime | None = None
    open_records: tuple[tuple[int, int], ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class RedrivenCopy:
    """A record's new place in the stream, and the lineage it carries there."""

    place: Origin
    lineage: Lineage
    copy_of: Origin


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A ledger entry for a record in quarantine. line counts from 0 in the chunk's object. case: the id of its case."""

    place: Origin
    origin: Origin
    rule: str
    verdict: str
    chunk_key: str
    line: int
    case: str


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """What the probe found out about a record: whether the consumer processed it.

    error_type, message: of the exception that it failed with, the message cut to 500 characters; None where it was
    processed, or where the consumer named it as failed and no more.
    """

    processed: bool
    error_type: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeCall:
    """An invocation of the consumer by the probe.

    announced_at: just before it was made, UTC. sequence_numbers: the event's records, in its order.
    findings: by sequence number; a record about which it says nothing is left out; None: no answer came.
    """

    announced_at: datetime
    sequence_numbers: tuple[int, ...]
    findings: Mapping[int, ProbeFinding] | None = None


class Ledger(Protocol):
    """The DynamoDB table: claims, lineage, cursors, quarantine marks."""

    def claim(self, incident_id: str, shard: str, ranges: Sequence[tuple[str, str]]) -> Sequence[bool]:
        """Claim notices (start, end) of a shard for an incident.

        Returns:
            for each range, in order, whether it is this incident's, now or from an earlier run.
        """

    def lineage_of(self, stream: str, places: Iterable[Origin]) -> Mapping[Origin, Lineage]:
        """The lineage of those places that hold redriven records."""

    def record_redriven(self, stream: str, incident_id: str, copies: Sequence[RedrivenCopy]) -> None:
        """Write the lineage of redriven records."""

    def redrive_cursor(self, incident_id: str) -> RedriveCursor | None:
        """Where the incident's redrive stands; None before it began."""

    def save_redrive_cursor(self, incident_id: str, cursor: RedriveCursor) -> RedriveCursor:
        """Save the cursor over the version it was read at; give it back with the next version.

        Raises:
            WriteConflict: another run has saved since.
        """

    def open_redrive(self, stream: str, incident_id: str) -> None:
        """Note that an incident is about to put records into a stream."""

    def close_redrive(self, stream: str, incident_id: str) -> None:
        """Note that the lineage of all it has put there is written."""

    def open_redrives(self, stream: str) -> Sequence[str]:
        """The incidents that are open, or were cut before they could close."""

    def record_quarantined(self, stream: str, incident_id: str, records: Sequence[QuarantinedRecord]) -> None:
        """Write that these records are in quarantine."""

    def last_quarantined(self, stream: str, origins: Iterable[Origin]) -> Mapping[Origin, Origin]:
        """By origin: the place of its redriven copy that came into quarantine last; those without one are left out."""

    def mark_settled(self, stream: str, places: Sequence[Origin], state: str) -> None:
        """Write what was decided about records in quarantine: REDRIVEN, EDITED, DISCARDED or KEPT."""

    def steps_done(self, incident_id: str) -> set[str]:
        """The names that mark_done was called with."""

    def reports_of(
        self, function: str, stream: str, shard_id: str, first: str, last: str
    ) -> Mapping[int, FailureReport]:
        """What a consumer reported of the records from first to last, both included, by sequence number.

        Args:
            function: the consumer's name, without version or alias.
        """

    def mark_done(self, incident_id: str, step: str) -> None:
        """Remember that a part of a step took effect and must not be done again."""

    def probe_calls(self, incident_id: str) -> Sequence[ProbeCall]:
        """The probe's invocations for an incident, in their order."""

    def announce_probe(self, incident_id: str, number: int, call: ProbeCall) -> None:
        """Write that an invocation is about to be made. number: how many the incident has had before.

        Raises:
            WriteConflict: another run has announced this one.
        """

    def record_probe(self, incident_id: str, number: int, call: ProbeCall) -> None:
        """Write what an invocation that was announced has found out."""


@dataclass(frozen=True, slots=True)
class PoisonMessage:
    """A message for the poison queue. key: what makes it the same message when a step runs again."""

    key: str
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Removal:
    """What a search of the queue came to. removed: how many messages. complete: no message is left that it didn't see:
    none is in other hands, and it was not cut short by its time.
    """

    removed: int
    complete: bool


class PoisonQueue(Protocol):
    """The queue of what waits for a person."""

    def send(self, messages: Sequence[PoisonMessage]) -> None:
        """Send messages, each once however often the step runs within the queue's deduplication window."""

    def remove(self, wanted: Callable[[str, Mapping[str, str]], bool], most: int) -> Removal:
        """Delete messages and give all others back; a run that is killed gives them back within five minutes.

        Args:
            wanted: whether a message of this body and these attributes shall go.
            most: how many there are at most; the search ends with the last of them.
        """


class Executions(Protocol):
    """A state machine."""

    def start(self, name: str, body: str) -> None:
        """Start an execution.

        Raises:
            ExecutionExists: an execution of this name is there already.
        """

    def status(self, name: str) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""

    def running(self) -> set[str]:
        """The names of those that run; may lack one that was started a moment ago."""


class ExecutionExists(Exception):
    """An execution of this name runs or ran within the last 90 days."""


class PolicySource(Protocol):
    """The stored policy document."""

    def versions(self) -> Iterable[tuple[str, str]]:
        """Pairs (version, text), newest first."""


@dataclass(frozen=True, slots=True)
class FailedInvocation:
    """An invocation of the consumer that a notice names. ended_at: when it, or the notice about it, came, UTC."""

    request_id: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedError:
    """An error that an invocation left in the consumer's log.

    error_type, message: of the exception; of what Lambda itself says: Sandbox.Timedout, Runtime.ExitError,
    Runtime.OutOfMemory. line: the log line, cut; it may name a record, and quote its payload: store nothing of it.
    """

    error_type: str
    message: str
    line: str


class ConsumerLog(Protocol):
    """The consumer's log."""

    def errors_of(
        self, consumer: str, log_group: str | None, invocations: Sequence[FailedInvocation]
    ) -> Mapping[str, Sequence[LoggedError]]:
        """The errors that these invocations logged, in their order, by request id; an id without errors is left out.

        Args:
            consumer: the function's ARN, as notices give it.
            log_group: the name of its log group; None: the one that the function is configured with.

        Raises:
            AccessDenied, ServiceBusy, ServiceUnreachable: the log can't be read now.
        """


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """What an event source mapping says of its batches. filters: its patterns, JSON texts, any of which admits a
    record; none admit all. changed_at: when the mapping was changed last, UTC.
    """

    filters: tuple[str, ...]
    parallelization_factor: int
    changed_at: datetime


class EventSourceMappings(Protocol):
    """The event source mappings of consumers."""

    def of(self, consumer: str, stream_arn: str) -> Sequence[MappingSettings]:
        """The mappings that feed a consumer, as notices name it, from a stream.

        Raises:
            AccessDenied, ServiceBusy, ServiceUnreachable: they can't be read now.
        """


@dataclass(frozen=True, slots=True)
class Reply:
    """A consumer's reply to an invocation.

    error_type, message: of the exception that ended it; None where it ended well. answer: its result, as JSON has it.
    """

    error_type: str | None
    message: str | None
    answer: Any


class ConsumerFunction(Protocol):
    """The consumer itself."""

    def invoke(self, consumer: str, event: Mapping[str, Any]) -> Reply:
        """Invoke the consumer, once, and wait for its reply.

        Raises:
            ServiceBusy: it was throttled, or Lambda could not start it: it did not run.
            ServiceUnreachable: it may have run.
            AccessDenied: it may not be invoked; it did not run.
            ConsumerNotFound: there is no such function, version or alias.
        """


class TimeLimit(Protocol):
    """Bounds the time that hostile data can cost."""

    def __call__(self, seconds: float) -> AbstractContextManager[None]:
        """A block that is ended by TimeIsUp once it has used so much CPU time. Blocks don't nest."""


class TimeIsUp(Exception):
    """A block took longer than its limit."""


class HandOver(StrEnum):
    """What must still be told about a case.

    START: its workflow, to begin. DECIDED: its workflow, that a decision was made. PROPOSED: its approvers, that one
    of them awaits a second person.
    """

    START = "start"
    DECIDED = "decided"
    PROPOSED = "proposed"


# Two items a piece, and room for what else a change writes, within the hundred of a transaction.
MAX_PIECES = 40


@dataclass(frozen=True, slots=True)
class CaseChange:
    """What one transaction does to a case: all of it, or nothing.

    case: as it shall be, its revision one more than the one that was read; 1 opens a new case, which must be the next
    generation of its fingerprint. pieces: records that join it, with the incident's mark that they have. taken_over:
    records that the case before it left over; their marks stay. successor: a case that is opened with it, and its
    history. events: the case's history. hand_overs: kept until `delivered` is called; START comes with every opening.
    """

    case: Case
    pieces: Sequence[Piece] = ()
    taken_over: Sequence[Piece] = ()
    successor: Case | None = None
    successor_events: Sequence[CaseEvent] = ()
    events: Sequence[CaseEvent] = ()
    hand_overs: Sequence[HandOver] = ()


class CaseStore(Protocol):
    """The cases in the ledger. Every read is consistent."""

    def case(self, case_id: str) -> Case | None:
        """A case; None where there is none of this id."""

    def latest(self, fingerprint: str) -> Case | None:
        """The newest case of a kind of failure, whatever its status."""

    def cases(self, *, every: bool, limit: int, after: str | None) -> tuple[Sequence[Case], str | None]:
        """A page of cases, and where the next one begins (None: it was the last).

        Args:
            every: closed and expired ones as well, the youngest first; else those that wait or are under way, the
                oldest first.
            after: what the page before gave.
        """

    def pieces(self, case_id: str) -> Sequence[Piece]:
        """The case's pieces, in the order of incident and chunk."""

    def joined(self, incident_id: str) -> Mapping[tuple[int, str], str]:
        """The cases that an incident's records have joined: by index of the chunk and fingerprint."""

    def join(self, case: Case, pieces: Sequence[Piece], events: Sequence[CaseEvent], at: str) -> bool:
        """Add records to a case that is open, whatever its revision; at most MAX_PIECES.

        Returns:
            whether they are in the case, now or from an earlier call; False when it isn't open any more, or one of
            the pieces has joined another.
        """

    def commit(self, change: CaseChange) -> bool:
        """Make a change, with at most MAX_PIECES of both sorts.

        Returns:
            whether it is made; False when the case has moved on since it was read, its successor isn't the next
            generation, or one of the pieces has joined a case.
        """

    def events(self, case_id: str) -> Sequence[CaseEvent]:
        """The case's history, in its order."""

    def record_event(self, case_id: str | None, event: CaseEvent) -> None:
        """Add to a case's history; without a case, to the day's: a denial may name no case that exists."""

    def notes(self, case_id: str) -> Sequence[Note]:
        """The case's notes, the oldest first."""

    def add_note(self, case_id: str, note: Note, event: CaseEvent) -> None:
        """Add a note and its event, in one transaction."""

    def hand_overs(self) -> Sequence[tuple[str, HandOver]]:
        """What must still be told: the case's id and what."""

    def delivered(self, case_id: str, what: HandOver, revision: int | None = None) -> None:
        """It has been told. revision: of the case that was told of; what a later change hands over stays."""

    def save_token(self, case_id: str, token: str) -> None:
        """Keep the task token of the execution that waits for the decision; the last one counts."""

    def token(self, case_id: str) -> str | None:
        """The task token; it never leaves the back end."""


class ApproverTopic(Protocol):
    """The topic that those listen to who decide about cases."""

    def publish(self, subject: str, text: str) -> None:
        """Tell them, at least once. subject: at most 100 printable ASCII characters."""


class TaskTokens(Protocol):
    """The tasks of a state machine that wait for an answer."""

    def succeed(self, token: str, output: str) -> bool:
        """Give a task its output, JSON; False when it doesn't wait any more."""

    def fail(self, token: str, error: str) -> bool:
        """Let a task fail with an error of this name; False when it doesn't wait any more."""
