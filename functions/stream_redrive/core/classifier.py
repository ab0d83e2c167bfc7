"""The classifier: weighs the evidence about one record under one consumer's policy."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import fastjsonschema

from stream_redrive.core.fingerprint import fingerprint, normalise
from stream_redrive.core.manifest import Examined, Outcome
from stream_redrive.core.notices import ShardRef
from stream_redrive.core.payloads import KplAggregate, Payload, Undecodable
from stream_redrive.core.policy import Decoder, Policy, Rule, Verdict, compile_schema
from stream_redrive.core.records import Record
from stream_redrive.core.reports import FailureReport
from stream_redrive.core.rules import Evidence, RuleSet, default_rules
from stream_redrive.core.schema_check import declared_fields
from stream_redrive.core.verdicts import RecordVerdict

# From so many records on, and so large a share of all in their range, it is not the records that are at fault.
_MANY = 10
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Neighbourhood:
    """What is known about the records around one.

    failed: captured records of the incident. bystanders: records between them that went through.
    reports: what the consumer reported, by sequence number.
    """

    failed: int = 0
    bystanders: int = 0
    reports: Mapping[int, FailureReport] = field(default_factory=dict)

    @cached_property
    def _alike(self) -> Counter[str]:
        return Counter(report.fingerprint for report in self.reports.values())

    @cached_property
    def _numbers(self) -> list[int]:
        return sorted(self.reports)

    def everything_fails_like(self, report: FailureReport) -> bool:
        """Whether many records failed with this error and hardly any went through: an outage, not a poison record."""
        alike = self._alike[report.fingerprint]
        return alike >= _MANY and alike >= _NEARLY_ALL * (self.failed + self.bystanders)

    def any_reported(self, notice: Examined) -> bool:
        """Whether the consumer reported a record of the notice's batch."""
        start, end = int(notice.start), int(notice.end)
        position = bisect_left(self._numbers, start)
        return position < len(self._numbers) and self._numbers[position] <= end


@dataclass(frozen=True, slots=True)
class _Finding:
    """A verdict in the making."""

    verdict: Verdict
    rule: str
    reason: str
    schema_path: str = ""
    alarm: bool = False

    @classmethod
    def of(cls, rule: Rule) -> "_Finding":
        return cls(rule.then, rule.id, rule.reason, alarm=rule.alarm)


class Classifier:
    """Gives verdicts under one consumer's policy, for the records of one incident."""

    def __init__(
        self,
        policy: Policy,
        version: str,
        shard: ShardRef,
        neighbourhood: Neighbourhood | None = None,
        lanes_or_filters: bool = False,
    ) -> None:
        """lanes_or_filters: a notice of the incident is ambiguous, so no incomplete one can be trusted either."""
        self._policy = policy
        self._version = version
        self._shard = shard
        self._neighbourhood = neighbourhood or Neighbourhood()
        self._lanes_or_filters = lanes_or_filters
        self._own_rules = RuleSet(policy.rules)
        self._default_rules = RuleSet(default_rules())
        self._check = None if policy.schema is None else compile_schema(policy.schema)
        self._fields = frozenset(declared_fields(policy.schema))
        # With decoder "auto" and no schema a payload that can't be decoded proves nothing: don't spend time on it.
        self._decodes = self._check is not None or policy.decoder in (Decoder.JSON, Decoder.GZIP_JSON)

    def classify(self, record: Record, notices: Sequence[Examined]) -> RecordVerdict:
        """The verdict for a record that these notices cover."""
        report = self._neighbourhood.reports.get(int(record.stream.sequence_number))
        trusted = [n for n in notices if not self._untrusted(n)]
        notice = min(trusted or notices, key=lambda n: n.size)
        payload = Payload(record.stream.data, self._policy.decoder)
        evidence = Evidence(
            condition=notice.condition,
            batch_size=notice.size,
            attempt=record.lineage.attempt,
            format=payload.format,
            document=payload.document,
            error_type=report.error_type if report else None,
            message=report.message if report else None,
        )
        # A record that the consumer itself reported was in the batch, whatever else lies in the range.
        finding = self._weigh(evidence, payload, report, notice) if trusted or report else _AMBIGUOUS
        return self._verdict(self._bounded(finding, evidence), evidence)

    def _weigh(self, evidence: Evidence, payload: Payload, report: FailureReport | None, notice: Examined) -> _Finding:
        """The first of these that has something to say: own rules, payload, default rules, neighbours, policy."""
        if rule := self._own_rules.first(evidence):
            return _Finding.of(rule)
        if self._decodes and (broken := self._payload_fault(payload)):
            return broken
        if report and (rule := self._default_rules.first(evidence)):
            everything = rule.then is Verdict.POISON and evidence.attempt == 0
            if everything and self._neighbourhood.everything_fails_like(report):
                return _EVERYTHING_FAILS
            return _Finding.of(rule)
        return self._without_evidence(evidence, report, notice)

    def _without_evidence(self, evidence: Evidence, report: FailureReport | None, notice: Examined) -> _Finding:
        if not report and self._neighbourhood.any_reported(notice):
            return _NOT_REPORTED
        if evidence.condition == "RecordAgeExceeded":
            return _TOO_OLD
        known = f"no rule knows {report.error_type}" if report else "no evidence against the record"
        return _Finding(self._policy.default, "default", f"{known}: the policy's default decides")

    def _bounded(self, finding: _Finding, evidence: Evidence) -> _Finding:
        """Nothing is redriven for ever, nor where this version can't redrive to."""
        if finding.verdict is not Verdict.TRANSIENT and finding.rule != "default":
            return finding
        if evidence.attempt >= self._policy.max_attempts:
            return self._over_the_cap(finding, evidence)
        if finding.verdict is Verdict.TRANSIENT and (limit := self._redrive_limit()):
            return _Finding(Verdict.HELD, "redrive-not-supported", limit)
        return finding

    def _over_the_cap(self, finding: _Finding, evidence: Evidence) -> _Finding:
        times = f"failed again after {evidence.attempt} redrives, the most that the policy allows"
        known = finding.reason if finding.rule != "default" else "nothing else is known about why"
        if finding.rule == "not-reported" or (evidence.batch_size > 1 and evidence.error_type is None):
            size = evidence.batch_size
            shared = f"always in a batch: one of {size} records is at fault, perhaps not this one"
            return _Finding(Verdict.HELD, "attempt-cap-in-batch", f"{times}, but {shared}", alarm=finding.alarm)
        return _Finding(Verdict.POISON, "attempt-cap", f"{times}; {known}", alarm=finding.alarm)

    def _untrusted(self, notice: Examined) -> bool:
        return notice.outcome is Outcome.AMBIGUOUS or (self._lanes_or_filters and notice.outcome is Outcome.PARTIAL)

    def _payload_fault(self, payload: Payload) -> _Finding | None:
        try:
            document = payload.decode()
        except KplAggregate as exc:
            return _Finding(Verdict.HELD, "payload-kpl", f"the payload is {exc}")
        except Undecodable as exc:
            return _Finding(Verdict.POISON, "payload-decode", f"the payload is {exc}")
        if self._check is None:
            return None
        try:
            self._check(document)
        except fastjsonschema.JsonSchemaValueException as exc:
            # A name that the schema doesn't declare is the payload's own.
            path = ".".join(part if part in self._fields else "*" for part in exc.path[1:]) or "the document"
            reason = f"the payload breaks the schema at {path}: rule {exc.rule!r}"
            return _Finding(Verdict.POISON, "payload-schema", reason, schema_path=f"{path}:{exc.rule}")
        except (ArithmeticError, ValueError, RecursionError) as exc:
            # 1e999 under multipleOf, or a schema that refers to itself: fastjsonschema gives up, which proves nothing.
            problem = f"the payload can't be checked against the schema: {type(exc).__name__}"
            return _Finding(Verdict.HELD, "payload-unchecked", problem)
        return None

    def _redrive_limit(self) -> str | None:
        if self._policy.target != "stream":
            return f"the policy's target {self._policy.target!r} is not available in this version"
        if self._policy.ordering != "none":
            return f"the policy's ordering {self._policy.ordering!r} is not available in this version"
        return None

    def _verdict(self, finding: _Finding, evidence: Evidence) -> RecordVerdict:
        known: dict[str, Any] = {
            "condition": evidence.condition,
            "batch_size": evidence.batch_size,
            "attempt": evidence.attempt,
        }
        if evidence.error_type is not None:
            # The message may quote the payload: only what is left of it after normalising is kept here.
            known |= {"error_type": evidence.error_type, "message": normalise(evidence.message or "")}
        name = None
        if finding.verdict is not Verdict.TRANSIENT:
            name = fingerprint(
                consumer=self._shard.consumer,
                stream=self._shard.stream_arn,
                rule=finding.rule,
                error_type=evidence.error_type or "",
                message=evidence.message or "",
                schema_path=finding.schema_path,
            )
        return RecordVerdict(finding.verdict, finding.rule, finding.reason, self._version, known, name, finding.alarm)


_AMBIGUOUS = _Finding(
    Verdict.HELD,
    "ambiguous-range",
    "the range holds records that were never in the failed batch, and nothing tells which",
)
_TOO_OLD = _Finding(
    Verdict.TRANSIENT,
    "record-age-exceeded",
    "the record grew too old while it waited: that says nothing against the record",
)
_NOT_REPORTED = _Finding(
    Verdict.TRANSIENT,
    "not-reported",
    "the consumer reported other records of the batch, and not this one",
)
_EVERYTHING_FAILS = _Finding(
    Verdict.TRANSIENT,
    "everything-fails",
    "nearly every record in the range failed with the same error: it is the consumer, or what it writes to",
    alarm=True,
)
