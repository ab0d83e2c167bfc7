"""Classification: a verdict for each captured record of an incident."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys, function_name
from stream_redrive.core.classifier import Classifier, Neighbourhood
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest, Examined, Outcome
from stream_redrive.core.notices import ShardRef
from stream_redrive.core.policy import Policy, PolicyBook, Verdict
from stream_redrive.core.ports import Ledger, Vault
from stream_redrive.core.verdicts import ChunkVerdicts, RecordVerdict


@dataclass(frozen=True, slots=True)
class Classification:
    """What goes to the next state.

    verdicts: counts by class. quarantine: whether that branch has work. alarming: records whose verdict says that a
    person must mend something.
    """

    verdicts: Mapping[str, int]
    quarantine: bool
    backoff_seconds: int
    target: str
    alarming: int

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class ClassifyRecords:
    """Classifies the records of one incident, chunk by chunk."""

    def __init__(self, vault: Vault, policies: Callable[[], PolicyBook], ledger: Ledger) -> None:
        self._vault = vault
        self._policies = policies
        self._ledger = ledger

    def __call__(self, incident: Incident) -> Classification:
        """Classify. A chunk that has verdicts keeps them: a policy that changed meanwhile must not send a record
        both ways.

        Raises:
            VaultObjectMissing: the capture isn't finished.
        """
        book = self._policies()
        policy = book.policy_for(incident.shard.consumer)
        manifest = CaptureManifest.load(self._vault, incident.id)
        ambiguous = any(notice.outcome is Outcome.AMBIGUOUS for notice in manifest.notices)
        neighbourhood = neighbourhood_of(incident.shard, manifest, self._ledger)
        classifier = Classifier(policy, book.version, incident.shard, neighbourhood, lanes_or_filters=ambiguous)
        finder = NoticeFinder(manifest.notices)
        keys = VaultKeys(incident)
        counts: Counter[Verdict] = Counter()
        attempt = alarming = 0
        for index, chunk in enumerate(manifest.chunks):
            records = list(chunks.decode(self._vault.get(chunk.key)))
            verdicts = self._settle(
                keys.verdicts(index),
                tuple(classifier.classify(r, finder.covering(r.stream.sequence_number)) for r in records),
            )
            counts.update(v.verdict for v in verdicts)
            alarming += sum(v.alarm for v in verdicts)
            for record, verdict in zip(records, verdicts, strict=True):
                if verdict.verdict is Verdict.TRANSIENT:
                    attempt = max(attempt, record.lineage.attempt)
        return Classification(
            verdicts={verdict.value: counts[verdict] for verdict in Verdict},
            quarantine=bool(counts[Verdict.POISON] or counts[Verdict.HELD] or manifest.missing),
            backoff_seconds=_full_jitter(policy, attempt, incident.id),
            target=policy.target,
            alarming=alarming,
        )

    def _settle(self, key: str, verdicts: tuple[RecordVerdict, ...]) -> tuple[RecordVerdict, ...]:
        if self._vault.put_new(key, ChunkVerdicts(verdicts).encode()):
            return verdicts
        settled = ChunkVerdicts.load(self._vault, key).verdicts
        if len(settled) != len(verdicts):
            raise WriteConflict(f"{key} holds {len(settled)} verdicts, the chunk {len(verdicts)} records")
        return settled


def neighbourhood_of(shard: ShardRef, manifest: CaptureManifest, ledger: Ledger) -> Neighbourhood:
    """What is known about the records of an incident as a whole."""
    if not manifest.records:
        return Neighbourhood()
    numbers = [number for notice in manifest.notices for number in (notice.start, notice.end)]
    reports = ledger.reports_of(
        function_name(shard.consumer),
        chunks.stream_name(shard.stream_arn),
        shard.shard_id,
        min(numbers, key=int),
        max(numbers, key=int),
    )
    return Neighbourhood(manifest.records, manifest.bystanders, reports)


class NoticeFinder:
    """Finds the notices that cover a record. Ask in the order of the shard."""

    def __init__(self, notices: Sequence[Examined]) -> None:
        self._notices = sorted(notices, key=lambda n: int(n.start))
        self._next = 0
        self._open: list[tuple[int, Examined]] = []

    def covering(self, sequence_number: str) -> list[Examined]:
        """The notices whose range holds the number; never empty for a captured record."""
        number = int(sequence_number)
        while self._next < len(self._notices) and int(self._notices[self._next].start) <= number:
            notice = self._notices[self._next]
            self._open.append((int(notice.end), notice))
            self._next += 1
        self._open = [entry for entry in self._open if entry[0] >= number]
        return [notice for _, notice in self._open]


def _full_jitter(policy: Policy, attempt: int, incident_id: str) -> int:
    # Seeded with the incident: spread over incidents, and the same again when the step runs again.
    spread = random.Random(f"{incident_id}:{attempt}")  # noqa: S311 - spreads load, guards no secret
    return int(spread.uniform(0, policy.backoff.ceiling(attempt)))
