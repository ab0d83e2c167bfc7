"""Classification: a verdict for each captured record of an incident."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys, function_name
from stream_redrive.core.classifier import Classifier, LogWanted, Neighbourhood
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.inquiry import Inquiry
from stream_redrive.core.manifest import CaptureManifest, Examined, NoticeFinder
from stream_redrive.core.notices import ShardRef
from stream_redrive.core.patience import Patience
from stream_redrive.core.policy import Policy, PolicyBook, Verdict
from stream_redrive.core.ports import Clock, Ledger, Vault
from stream_redrive.core.probing import Probe
from stream_redrive.core.records import Record
from stream_redrive.core.reports import FailureReport
from stream_redrive.core.sources import Sources
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict

# Verdicts that an invocation with the record alone can better.
_UNDECIDED = {"default", "batch-error", "batch-error-again", "attempt-cap-in-batch"}


@dataclass(frozen=True, slots=True)
class Classification:
    """What goes to the next state.

    verdicts: counts by class. processed: how many of the transient ones a probe has had processed. strangers: captured
    records that were never in a failed batch and have no verdict. quarantine, redrive: whether that branch has work.
    alarming: records whose verdict says that a person must mend something. log_unreadable: whether the consumer's log
    was wanted and could not be read.
    """

    verdicts: Mapping[str, int]
    processed: int
    strangers: int
    quarantine: bool
    redrive: bool
    backoff_seconds: int
    target: str
    alarming: int
    log_unreadable: bool

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class ClassifyRecords:
    """Classifies the records of one incident, chunk by chunk."""

    def __init__(
        self, vault: Vault, policies: Callable[[], PolicyBook], ledger: Ledger, sources: Sources, clock: Clock
    ) -> None:
        self._vault = vault
        self._policies = policies
        self._ledger = ledger
        self._sources = sources
        self._clock = clock

    def __call__(self, incident: Incident) -> Classification:
        """Classify. A chunk that has verdicts keeps them: a policy that changed meanwhile must not send a record
        both ways.

        Raises:
            VaultObjectMissing: the capture isn't finished.
        """
        book = self._policies()
        policy = book.policy_for(incident.shard.consumer)
        manifest = CaptureManifest.load(self._vault, incident.id)
        reports = reports_of(incident.shard, manifest, self._ledger)
        patience = Patience(self._sources.limit)
        neighbourhood = Neighbourhood(manifest.records, manifest.bystanders, reports, logged=None)
        inquiry = Inquiry(incident, manifest, policy, self._vault, self._sources, neighbourhood, patience)
        classifier = Classifier(
            policy,
            book.version,
            incident.shard,
            neighbourhood,
            patience,
            members=inquiry.membership,
        )
        inquiry.find_members()
        probe = Probe(self._sources.function, self._ledger, self._clock, policy.probe, incident)
        judge = _Judge(classifier, inquiry, probe if policy.probe.enabled else None)
        finder = NoticeFinder(manifest.notices)
        keys = VaultKeys(incident)
        counts: Counter[Verdict] = Counter()
        attempt = alarming = processed = strangers = redriven = 0
        for index, chunk in enumerate(manifest.chunks):
            records = list(chunks.decode(self._vault.get(chunk.key)))
            covered = [(record, finder.covering(record.stream.sequence_number)) for record in records]
            verdicts = self._settle(keys.verdicts(index), tuple(judge.verdicts(covered)))
            for record, verdict in zip(records, verdicts, strict=True):
                if verdict is None:
                    strangers += 1
                    continue
                counts[verdict.verdict] += 1
                alarming += verdict.alarm
                processed += verdict.settled
                if verdict.redriven:
                    redriven += 1
                    attempt = max(attempt, record.lineage.attempt)
        return Classification(
            verdicts={verdict.value: counts[verdict] for verdict in Verdict},
            processed=processed,
            strangers=strangers,
            quarantine=bool(counts[Verdict.POISON] or counts[Verdict.HELD] or manifest.missing),
            redrive=redriven > 0,
            backoff_seconds=_full_jitter(policy, attempt, incident.id),
            target=policy.target,
            alarming=alarming,
            log_unreadable=judge.log_unreadable,
        )

    def _settle(self, key: str, verdicts: tuple[RecordVerdict | None, ...]) -> tuple[RecordVerdict | None, ...]:
        if self._vault.put_new(key, ChunkVerdicts(verdicts).encode()):
            return verdicts
        settled = ChunkVerdicts.load(self._vault, key).verdicts
        if len(settled) != len(verdicts):
            raise WriteConflict(f"{key} holds {len(settled)} verdicts, the chunk {len(verdicts)} records")
        return settled


class _Judge:
    """Judges records, and has found out what their verdicts need."""

    def __init__(self, classifier: Classifier, inquiry: Inquiry, probe: Probe | None) -> None:
        self._classifier = classifier
        self._inquiry = inquiry
        self._probe = probe
        self._judged = 0
        self._excused = 0
        self.log_unreadable = False

    def verdicts(self, covered: Sequence[tuple[Record, Sequence[Examined]]]) -> list[RecordVerdict | None]:
        """The verdicts of a chunk's records. covered: each with the notices that cover it."""
        verdicts = [self._verdict(record, notices) for record, notices in covered]
        self._judged += len(verdicts)
        self._excused += sum(1 for v in verdicts if v and v.verdict is Verdict.TRANSIENT and "error" in v.evidence)
        undecided = {
            int(record.stream.sequence_number): index
            for index, ((record, _), verdict) in enumerate(zip(covered, verdicts, strict=True))
            if verdict and verdict.rule in _UNDECIDED
        }
        # While most records fail for what is no fault of theirs, the consumer is left alone.
        if self._probe and undecided and 2 * self._excused <= self._judged:
            findings = self._probe([covered[index][0] for index in undecided.values()])
            for number, finding in findings.items():
                index = undecided[number]
                verdicts[index] = self._classifier.classify(*covered[index], finding)
        return verdicts

    def _verdict(self, record: Record, notices: Sequence[Examined]) -> RecordVerdict | None:
        try:
            return self._classifier.classify(record, notices)
        except LogWanted:
            logged = self._inquiry.read_log(self._classifier.speaks)
            self.log_unreadable = logged.unreadable is not None
            self._classifier.read(logged)
            return self._classifier.classify(record, notices)


def reports_of(shard: ShardRef, manifest: CaptureManifest, ledger: Ledger) -> Mapping[int, FailureReport]:
    """What the consumer reported of an incident's records, by sequence number."""
    if not manifest.records:
        return {}
    numbers = [number for notice in manifest.notices for number in (notice.start, notice.end)]
    return ledger.reports_of(
        function_name(shard.consumer),
        chunks.stream_name(shard.stream_arn),
        shard.shard_id,
        min(numbers, key=int),
        max(numbers, key=int),
    )


def _full_jitter(policy: Policy, attempt: int, incident_id: str) -> int:
    # Seeded with the incident: spread over incidents, and the same again when the step runs again.
    spread = random.Random(f"{incident_id}:{attempt}")  # noqa: S311 - spreads load, guards no secret
    return int(spread.uniform(0, policy.backoff.ceiling(attempt)))
