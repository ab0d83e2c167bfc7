"""Classification: a verdict for each captured record, from its payload, its notice and its lineage."""

import gzip
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import fastjsonschema

from stream_redrive.core import chunks
from stream_redrive.core.capture import CaptureManifest, Examined, Outcome
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.policy import Decoder, Policy, PolicyBook, Verdict, compile_schema
from stream_redrive.core.ports import Vault
from stream_redrive.core.records import Record, to_json

GZIP_MAGIC = b"\x1f\x8b"
MAX_DECODED_BYTES = 64 * 1024 * 1024  # a record holds at most 10 MiB; more than this is a bomb, not a document


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """A verdict and why. evidence: what was known, never payload."""

    verdict: Verdict
    rule: str
    reason: str
    policy_version: str
    evidence: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As quarantine lines and messages carry it."""
        fields = asdict(self)
        return {"class": fields.pop("verdict"), **fields}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "RecordVerdict":
        """Read to_dict's result back."""
        rest = {name: value for name, value in fields.items() if name != "class"}
        return cls(verdict=Verdict(fields["class"]), **rest)


class Undecodable(Exception):
    """The payload is no document of the policy's decoder; the message says why."""


def decode_payload(data: bytes, decoder: Decoder) -> object:
    """A payload as a document.

    Raises:
        Undecodable: it is none.
    """
    body = data
    if decoder is Decoder.GZIP_JSON or (decoder is Decoder.AUTO and data.startswith(GZIP_MAGIC)):
        body = _gunzip(data)
    try:
        return json.loads(body)
    except UnicodeDecodeError as exc:
        raise Undecodable(f"not {exc.encoding} text: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise Undecodable(f"not JSON: {exc.msg} at character {exc.pos} of {len(exc.doc)}") from exc
    except (ValueError, RecursionError) as exc:
        raise Undecodable(f"not JSON that can be read: {type(exc).__name__}") from exc


def _gunzip(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = stream.decompress(data, MAX_DECODED_BYTES)
    except zlib.error as exc:
        raise Undecodable(f"not gzip: {exc}") from exc
    if stream.unconsumed_tail:
        raise Undecodable(f"gzip of more than {MAX_DECODED_BYTES} bytes")
    if not stream.eof:
        raise Undecodable("gzip that ends too early")
    return body


class Classifier:
    """Gives verdicts under one consumer's policy. The first rule that matches decides."""

    def __init__(self, policy: Policy, version: str, lanes_or_filters: bool = False) -> None:
        """lanes_or_filters: a notice of the incident is ambiguous, so no incomplete one can be trusted either."""
        self._policy = policy
        self._version = version
        self._lanes_or_filters = lanes_or_filters
        self._check = None if policy.schema is None else compile_schema(policy.schema)
        self._fields = frozenset(_declared_fields(policy.schema))
        # With decoder "auto" and no schema a payload that can't be decoded proves nothing: don't spend time on it.
        self._decodes = self._check is not None or policy.decoder in (Decoder.JSON, Decoder.GZIP_JSON)

    def classify(self, record: Record, notices: Sequence[Examined]) -> RecordVerdict:
        """The verdict for a record that these notices cover."""
        trusted = [n for n in notices if not self._untrusted(n)]
        notice = min(trusted or notices, key=lambda n: n.size)
        attempt = record.lineage.attempt
        evidence: dict[str, Any] = {
            "condition": notice.condition,
            "batch_size": notice.size,
            "attempt": attempt,
        }
        verdict = self._verdict

        if not trusted:
            return verdict(
                Verdict.HELD,
                "ambiguous-range",
                "the range holds records that were never in the failed batch, and nothing tells which",
                evidence,
            )
        if self._decodes and (broken := self._payload_fault(record.stream.data)):
            return verdict(*broken, evidence)
        if attempt >= self._policy.max_attempts:
            return self._over_the_cap(notice, attempt, evidence)
        too_old = notice.condition == "RecordAgeExceeded"
        if (too_old or self._policy.default is Verdict.TRANSIENT) and (limit := self._redrive_limit()):
            return verdict(Verdict.HELD, "redrive-not-supported", limit, evidence)
        if too_old:
            return verdict(
                Verdict.TRANSIENT,
                "record-age-exceeded",
                "the record grew too old while it waited: that says nothing against the record",
                evidence,
            )
        return verdict(
            self._policy.default,
            "default",
            "no evidence against the record: the policy's default decides",
            evidence,
        )

    def _untrusted(self, notice: Examined) -> bool:
        return notice.outcome is Outcome.AMBIGUOUS or (self._lanes_or_filters and notice.outcome is Outcome.PARTIAL)

    def _payload_fault(self, data: bytes) -> tuple[Verdict, str, str] | None:
        try:
            document = decode_payload(data, self._policy.decoder)
        except Undecodable as exc:
            return Verdict.POISON, "payload-decode", f"the payload is {exc}"
        if self._check is None:
            return None
        try:
            self._check(document)
        except fastjsonschema.JsonSchemaValueException as exc:
            # A name that the schema doesn't declare is the payload's own.
            path = ".".join(part if part in self._fields else "*" for part in exc.path[1:]) or "the document"
            return Verdict.POISON, "payload-schema", f"the payload breaks the schema at {path}: rule {exc.rule!r}"
        except (ArithmeticError, ValueError, RecursionError) as exc:
            # 1e999 under multipleOf, or a schema that refers to itself: fastjsonschema gives up, which proves nothing.
            problem = f"the payload can't be checked against the schema: {type(exc).__name__}"
            return Verdict.HELD, "payload-unchecked", problem
        return None

    def _over_the_cap(self, notice: Examined, attempt: int, evidence: Mapping[str, Any]) -> RecordVerdict:
        times = f"failed again after {attempt} redrives, the most that the policy allows"
        if notice.size == 1:
            return self._verdict(Verdict.POISON, "attempt-cap", times, evidence)
        return self._verdict(
            Verdict.HELD,
            "attempt-cap-in-batch",
            f"{times}, but always in a batch: one of {notice.size} records is at fault, perhaps not this one",
            evidence,
        )

    def _redrive_limit(self) -> str | None:
        if self._policy.target != "stream":
            return f"the policy's target {self._policy.target!r} is not available in this version"
        if self._policy.ordering != "none":
            return f"the policy's ordering {self._policy.ordering!r} is not available in this version"
        return None

    def _verdict(self, verdict: Verdict, rule: str, reason: str, evidence: Mapping[str, Any]) -> RecordVerdict:
        return RecordVerdict(verdict, rule, reason, self._version, evidence)


def _declared_fields(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for part in schema.values():
            yield from _declared_fields(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _declared_fields(part)


@dataclass(frozen=True, slots=True)
class ChunkVerdicts:
    """The verdicts of a chunk's records, in the order of its lines."""

    verdicts: tuple[RecordVerdict, ...]

    def encode(self) -> bytes:
        """As a vault object: equal verdicts are written once."""
        distinct: dict[str, int] = {}
        lines = [distinct.setdefault(to_json(v.to_dict()), len(distinct)) for v in self.verdicts]
        body = {"verdicts": [json.loads(text) for text in distinct], "lines": lines}
        return gzip.compress(to_json(body).encode(), compresslevel=1, mtime=0)

    @classmethod
    def load(cls, vault: Vault, key: str) -> "ChunkVerdicts":
        """Read a chunk's verdicts.

        Raises:
            VaultObjectMissing: the chunk isn't classified.
        """
        body = json.loads(gzip.decompress(vault.get(key)))
        distinct = [RecordVerdict.from_dict(fields) for fields in body["verdicts"]]
        return cls(tuple(distinct[index] for index in body["lines"]))


@dataclass(frozen=True, slots=True)
class Classification:
    """What goes to the next state. verdicts: counts by class; quarantine: whether that branch has work."""

    verdicts: Mapping[str, int]
    quarantine: bool
    backoff_seconds: int
    target: str

    def to_dict(self) -> dict[str, Any]:
        """As a state's result."""
        return asdict(self)


class ClassifyRecords:
    """Classifies the records of one incident, chunk by chunk."""

    def __init__(self, vault: Vault, policies: Callable[[], PolicyBook]) -> None:
        self._vault = vault
        self._policies = policies

    def __call__(self, incident: Incident) -> Classification:
        """Classify. A chunk that has verdicts keeps them: a policy that changed meanwhile must not send a record
        both ways.

        Raises:
            VaultObjectMissing: the capture isn't finished.
        """
        book = self._policies()
        policy = book.policy_for(incident.shard.consumer)
        manifest = CaptureManifest.load(self._vault, incident)
        ambiguous = any(notice.outcome is Outcome.AMBIGUOUS for notice in manifest.notices)
        classifier = Classifier(policy, book.version, lanes_or_filters=ambiguous)
        finder = NoticeFinder(manifest.notices)
        keys = VaultKeys(incident)
        counts: Counter[Verdict] = Counter()
        attempt = 0
        for index, chunk in enumerate(manifest.chunks):
            records = list(chunks.decode(self._vault.get(chunk.key)))
            verdicts = self._settle(
                keys.verdicts(index),
                tuple(classifier.classify(r, finder.covering(r.stream.sequence_number)) for r in records),
            )
            counts.update(v.verdict for v in verdicts)
            for record, verdict in zip(records, verdicts, strict=True):
                if verdict.verdict is Verdict.TRANSIENT:
                    attempt = max(attempt, record.lineage.attempt)
        return Classification(
            verdicts={verdict.value: counts[verdict] for verdict in Verdict},
            quarantine=bool(counts[Verdict.POISON] or counts[Verdict.HELD] or manifest.missing),
            backoff_seconds=_full_jitter(policy, attempt, incident.id),
            target=policy.target,
        )

    def _settle(self, key: str, verdicts: tuple[RecordVerdict, ...]) -> tuple[RecordVerdict, ...]:
        if self._vault.put_new(key, ChunkVerdicts(verdicts).encode()):
            return verdicts
        settled = ChunkVerdicts.load(self._vault, key).verdicts
        if len(settled) != len(verdicts):
            raise WriteConflict(f"{key} holds {len(settled)} verdicts, the chunk {len(verdicts)} records")
        return settled


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
