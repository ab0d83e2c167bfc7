"""The classifier: weighs the evidence about one record under one consumer's policy."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from stream_redrive.core.fingerprint import fingerprint, normalise
from stream_redrive.core.known_errors import Bearing, KnownError
from stream_redrive.core.logged import Logged
from stream_redrive.core.manifest import Examined, Outcome
from stream_redrive.core.notices import ShardRef, parse_time
from stream_redrive.core.patience import SECONDS_A_RECORD, Patience
from stream_redrive.core.payloads import KplAggregate, Overloaded, Payload, Undecodable
from stream_redrive.core.policy import Decoder, Policy, Rule, Verdict
from stream_redrive.core.ports import ProbeFinding, TimeIsUp
from stream_redrive.core.records import Record
from stream_redrive.core.reports import FailureReport
from stream_redrive.core.rules import TIMED_OUT_RULE, WRITING_RULES, Evidence, RuleSet, default_rules, names_error
from stream_redrive.core.schema_check import SchemaCheck
from stream_redrive.core.verdicts import RecordVerdict

# From so many records on, and so large a share of all in their range, it is not the records that are at fault.
_MANY = 10
_NEARLY_ALL = 0.9


class Members(Protocol):
    """Who of an ambiguous range was in a failed batch; None where nothing tells."""

    def belongs(self, sequence_number: str, notice: Examined) -> bool | None:
        """Whether a record was in the notice's batch."""

    def failed(self, sequence_number: str, notices: Sequence[Examined]) -> bool | None:
        """Whether it was in the batch of one of the notices that cover it."""


class LogWanted(Exception):
    """A verdict needs the consumer's log, which nobody has read yet."""


@dataclass(frozen=True)
class Neighbourhood:
    """What is known about the records around one.

    failed: captured records of the incident. bystanders: records between them that went through.
    reports: what the consumer reported, by sequence number. logged: what its log says; None before it was read.
    """

    failed: int = 0
    bystanders: int = 0
    reports: Mapping[int, FailureReport] = field(default_factory=dict)
    logged: Logged | None = field(default_factory=Logged)

    @cached_property
    def _reported(self) -> Counter[str]:
        return Counter(report.fingerprint for report in self.reports.values())

    @cached_property
    def _numbers(self) -> list[int]:
        return sorted(self.reports)

    def everything_fails_like(self, error: KnownError) -> bool:
        """Whether many records failed with this error and hardly any went through: an outage, not a poison record.

        One batch alone proves nothing: a single record can fail a batch of any size.
        """
        name = error.fingerprint
        records = sources = self._reported[name]
        around: float = self.failed + self.bystanders
        if error.source != "report" and self.logged:
            records += self.logged.records.get(name, 0)
            sources += self.logged.batches.get(name, 0)
            # A long log is read in part: what it tells stands for the rest.
            around *= min(1, (len(self.reports) + self.logged.heard) / max(self.failed, 1))
        return sources > 1 and records >= _MANY and records >= _NEARLY_ALL * around

    def half_went_through(self, error: KnownError) -> bool:
        """Whether at most half of the records in the range are known to have failed with this error."""
        records = self._reported[error.fingerprint]
        if self.logged:
            records += self.logged.records.get(error.fingerprint, 0)
        return 2 * records <= self.failed + self.bystanders

    def any_reported(self, notice: Examined) -> bool:
        """Whether the consumer reported a record of the notice's batch."""
        if not self._numbers:
            return False
        start, end = int(notice.start), int(notice.end)
        position = bisect_left(self._numbers, start)
        return position < len(self._numbers) and self._numbers[position] <= end

    def error_of(self, number: int, notice: Examined) -> KnownError | None:
        """The error of a record of the notice's batch.

        Raises:
            LogWanted: the log may know it.
        """
        if report := self.reports.get(number):
            return KnownError(report.error_type, report.message, "report")
        if self.any_reported(notice):
            return None
        if self.logged is not None:
            return self.logged.of(number, notice)
        if notice.request_id is None:
            return None
        raise LogWanted


@dataclass(frozen=True, slots=True)
class _Finding:
    """A verdict in the making."""

    verdict: Verdict
    rule: str
    reason: str
    schema_path: str = ""
    alarm: bool = False
    settled: bool = False
    certain: bool = False

    @classmethod
    def of(cls, rule: Rule, error: KnownError | None = None) -> "_Finding":
        told = f"; {error.clue}" if error and error.clue else ""
        return cls(rule.then, rule.id, f"{rule.reason}{told}", alarm=rule.alarm)


class _Case:
    """One record, the notice that it is judged by, and what has been found out about it so far."""

    def __init__(
        self,
        record: Record,
        notice: Examined,
        neighbourhood: Neighbourhood,
        payload: Payload,
        probed: ProbeFinding | None,
    ) -> None:
        self.record = record
        self.notice = notice
        self.payload = payload
        # Whoever was probed alone has failed alone.
        self.batch_size = 1 if probed else notice.size
        self.attempt = record.lineage.attempt
        self._neighbourhood = neighbourhood
        self._probed = probed
        self.asked = False
        self.error: KnownError | None = None

    def find_error(self) -> KnownError | None:
        """The error, as far as it may concern the record. Raises LogWanted."""
        if not self.asked:
            self.error = self._find_error()
            self.asked = True
        return self.error

    def _find_error(self) -> KnownError | None:
        if self._probed and self._probed.error_type is not None:
            return KnownError(self._probed.error_type, self._probed.message or "", "probe")
        return self._neighbourhood.error_of(int(self.record.stream.sequence_number), self.notice)

    def error_at_hand(self) -> KnownError | None:
        """The error, if nobody needs to be asked for it."""
        return self.error if self.asked else None

    def evidence(self) -> Evidence:
        """What rules test. An error that speaks against others is none of the record's."""

        def find_own() -> KnownError | None:
            error = self.find_error()
            return None if error and error.bearing is Bearing.OTHERS else error

        return Evidence(
            condition=self.notice.condition,
            batch_size=self.batch_size,
            attempt=self.attempt,
            format=self.payload.format,
            document=self.payload.document,
            find_error=find_own,
            find_age=self._age,
            invoke_count=self.notice.invoke_count,
            function_error=self.notice.function_error,
            last_error=self.record.lineage.last_error,
        )

    def _age(self) -> float | None:
        if self.notice.failed_at is None:
            return None
        return (parse_time(self.notice.failed_at) - parse_time(self.record.stream.arrived_at)).total_seconds()


class Classifier:
    """Gives verdicts under one consumer's policy, for the records of one incident."""

    def __init__(
        self,
        policy: Policy,
        version: str,
        shard: ShardRef,
        neighbourhood: Neighbourhood,
        patience: Patience,
        *,
        lanes_or_filters: bool = False,
        members: Members | None = None,
    ) -> None:
        """
        Args:
            lanes_or_filters: a notice of the incident is ambiguous, so no incomplete one can be trusted either.
            members: what can be told of incomplete and ambiguous ranges; without, they are trusted or not as they are.
        """
        self._policy = policy
        self._version = version
        self._shard = shard
        self._neighbourhood = neighbourhood
        self._patience = patience
        self._lanes_or_filters = lanes_or_filters
        self._members = members
        self._own_rules = RuleSet(policy.rules)
        self._default_rules = RuleSet(default_rules())
        self._schema = None if policy.schema is None else SchemaCheck(policy.schema)
        # With decoder "auto" and no schema a payload that can't be decoded proves nothing: don't spend time on it.
        self._decodes = self._schema is not None or policy.decoder in (Decoder.JSON, Decoder.GZIP_JSON)
        self._opens = self._decodes or any({"field", "format"} & rule.when.keys() for rule in policy.rules)
        self._given: dict[tuple[Any, ...], RecordVerdict] = {}
        self._busy_with = ""

    def read(self, logged: Logged) -> None:
        """Take what the consumer's log says into account from here on."""
        self._neighbourhood = replace(self._neighbourhood, logged=logged)

    def speaks(self, notice: Examined, error: KnownError) -> Verdict | None:
        """The verdict that a rule gives for an error of a notice's batch, whatever the record; None: no rule does."""
        evidence = Evidence(
            condition=notice.condition,
            batch_size=notice.size,
            attempt=0,
            format=str,
            document=lambda: None,
            find_error=lambda: error,
            find_age=lambda: None,
            invoke_count=notice.invoke_count,
            function_error=notice.function_error,
        )
        rule = self._own_rules.first(evidence) or self._default_rules.first(evidence)
        return rule.then if rule and names_error(rule) else None

    def _judged_by(self, record: Record, notices: Sequence[Examined]) -> tuple[Examined | None, bool]:
        """The notice that a record is judged by, None for a stranger, and whether it is sure that the record failed."""
        if trusted := [n for n in notices if not self._untrusted(n)]:
            return min(trusted, key=_size), True
        number = record.stream.sequence_number
        # A record that the consumer itself reported was in the batch, whatever else lies in the range.
        reported = int(number) in self._neighbourhood.reports
        if self._members is None:
            return min(notices, key=_size), reported
        belongs = {n: self._members.belongs(number, n) for n in notices}
        failed = reported or self._members.failed(number, notices)
        if failed is False:
            return None, False
        possible = [n for n in notices if belongs[n]] or [n for n in notices if belongs[n] is None] or notices
        return min(possible, key=_size), bool(failed)

    def classify(
        self, record: Record, notices: Sequence[Examined], probed: ProbeFinding | None = None
    ) -> RecordVerdict | None:
        """The verdict for a record that these notices cover; None for a stranger among them, which did not fail.

        Args:
            probed: what an invocation with this record alone has shown.

        Raises:
            LogWanted: the consumer's log must be read first.
        """
        notice, failed = self._judged_by(record, notices)
        if notice is None:
            return None
        case = _Case(record, notice, self._neighbourhood, Payload(record.stream.data, self._policy.decoder), probed)
        if self._neighbourhood.reports and int(record.stream.sequence_number) in self._neighbourhood.reports:
            case.find_error()
        if probed and probed.processed:
            return self._verdict(_PROCESSED, case)
        finding = self._examine(case) if failed else _AMBIGUOUS
        return self._verdict(self._bounded(finding, case), case)

    def _examine(self, case: _Case) -> _Finding:
        if not self._opens:
            return self._weigh(case)
        if self._patience.exhausted:
            return _LEFT_UNCHECKED
        try:
            return self._patience(lambda: self._weigh(case))
        except TimeIsUp:
            return _Finding(
                Verdict.HELD,
                "payload-too-costly",
                f"looking into the payload took more than {SECONDS_A_RECORD} s of CPU time: {self._busy_with}",
            )

    def _weigh(self, case: _Case) -> _Finding:
        """The first of these that has something to say: own rules, payload, default rules, neighbours, policy."""
        self._busy_with = "the policy's rules"
        own = self._own_rules.first(case.evidence()) if self._policy.rules else None
        if own and not (names_error(own) and _only_of_the_batch(own, case)):
            return _Finding.of(own, case.error_at_hand() if names_error(own) else None)
        if self._decodes and (broken := self._payload_fault(case)):
            return broken
        self._busy_with = "the shipped rules"
        error = case.find_error()
        if error is None:
            return self._without_evidence(case)
        if error.bearing is Bearing.OTHERS:
            return _NOT_SUSPECTED
        evidence = case.evidence()
        rule = own or self._default_rules.first(evidence)
        if rule is None:
            return self._by_default(f"no rule knows {error.error_type}")
        return self._by_rule(rule, error, case, again=evidence.same_error)

    def _by_rule(self, rule: Rule, error: KnownError, case: _Case, *, again: bool) -> _Finding:
        if rule.then is Verdict.POISON and case.attempt == 0 and self._neighbourhood.everything_fails_like(error):
            return _EVERYTHING_FAILS
        if _only_of_the_batch(rule, case):
            return _batch_error(case, again=again)
        # Alone, again, while others go through: that is no slow service any more.
        alone_again = rule.id == TIMED_OUT_RULE and case.batch_size == 1 and again
        if alone_again and self._neighbourhood.half_went_through(error):
            return _TIMED_OUT_AGAIN
        return _Finding.of(rule, error)

    def _without_evidence(self, case: _Case) -> _Finding:
        if self._neighbourhood.any_reported(case.notice):
            return _NOT_REPORTED
        if case.notice.condition == "RecordAgeExceeded":
            return _TOO_OLD
        return self._by_default("no evidence against the record")

    def _by_default(self, known: str) -> _Finding:
        return _Finding(self._policy.default, "default", f"{known}: the policy's default decides")

    def _bounded(self, finding: _Finding, case: _Case) -> _Finding:
        """Nothing is redriven for ever, nor where this version can't redrive to."""
        if finding.verdict is not Verdict.TRANSIENT and finding.rule != "default":
            return finding
        if case.attempt >= self._policy.max_attempts:
            return self._over_the_cap(finding, case)
        if finding.verdict is Verdict.TRANSIENT and (limit := self._redrive_limit()):
            return _Finding(Verdict.HELD, "redrive-not-supported", limit)
        return finding

    def _over_the_cap(self, finding: _Finding, case: _Case) -> _Finding:
        times = f"failed again after {case.attempt} redrives, the most that the policy allows"
        known = finding.reason if finding.rule != "default" else "nothing else is known about why"
        error = case.error_at_hand()
        own = error is not None and error.bearing in (Bearing.OWN, Bearing.SUSPECT)
        if finding.rule == "not-reported" or (case.batch_size > 1 and not own):
            shared = f"always in a batch: one of {case.batch_size} records is at fault, perhaps not this one"
            return _Finding(Verdict.HELD, "attempt-cap-in-batch", f"{times}, but {shared}", alarm=finding.alarm)
        return _Finding(Verdict.POISON, "attempt-cap", f"{times}; {known}", alarm=finding.alarm)

    def _untrusted(self, notice: Examined) -> bool:
        if notice.outcome is Outcome.PARTIAL:
            return self._members is not None or self._lanes_or_filters
        return notice.outcome is Outcome.AMBIGUOUS

    def _payload_fault(self, case: _Case) -> _Finding | None:
        fault = self._find_fault(case.payload)
        if fault and fault.verdict is Verdict.POISON and (error := case.error_at_hand()):
            rule = self._default_rules.first(case.evidence())
            if error.bearing is Bearing.OWN and rule and rule.id in WRITING_RULES:
                problem = f"{fault.reason}; but the consumer got as far as writing it: {rule.reason}"
                return _Finding(Verdict.HELD, "contradicting", problem, fault.schema_path)
        return fault

    def _find_fault(self, payload: Payload) -> _Finding | None:
        self._busy_with = "decoding"
        try:
            document = payload.decode()
        except KplAggregate as exc:
            return _Finding(Verdict.HELD, "payload-kpl", f"the payload is {exc}")
        except Overloaded as exc:
            return _Finding(Verdict.HELD, "payload-too-costly", f"the payload is {exc}")
        except Undecodable as exc:
            return _Finding(Verdict.POISON, "payload-decode", f"the payload is {exc}", certain=True)
        return self._schema_fault(document)

    def _schema_fault(self, document: object) -> _Finding | None:
        if self._schema is None:
            return None
        self._busy_with = "the schema"
        try:
            fault = self._schema.fault(document)
        except (ArithmeticError, ValueError, RecursionError) as exc:
            # 1e999 under multipleOf, or a schema that refers to itself: fastjsonschema gives up, which proves nothing.
            problem = f"the payload can't be checked against the schema: {type(exc).__name__}"
            return _Finding(Verdict.HELD, "payload-unchecked", problem)
        if fault is None:
            return None
        reason = f"the payload breaks the schema at {fault.path}: rule {fault.rule!r}"
        return _Finding(Verdict.POISON, "payload-schema", reason, f"{fault.path}:{fault.rule}", certain=True)

    def _redrive_limit(self) -> str | None:
        if self._policy.target != "stream":
            return f"the policy's target {self._policy.target!r} is not available in this version"
        if self._policy.ordering != "none":
            return f"the policy's ordering {self._policy.ordering!r} is not available in this version"
        return None

    def _verdict(self, finding: _Finding, case: _Case) -> RecordVerdict:
        error = case.error_at_hand()
        if error and error.bearing is Bearing.OTHERS:
            error = None
        logged = self._neighbourhood.logged
        unreadable = logged.unreadable if logged and case.asked and error is None else None
        # Most records of an incident get the same verdict: it is made and written once.
        name = (finding, case.notice.condition, case.batch_size, case.attempt, error, unreadable)
        if name not in self._given:
            self._given[name] = self._made(finding, case, error, unreadable)
        return self._given[name]

    def _made(self, finding: _Finding, case: _Case, error: KnownError | None, unreadable: str | None) -> RecordVerdict:
        known: dict[str, Any] = {
            "condition": case.notice.condition,
            "batch_size": case.batch_size,
            "attempt": case.attempt,
        }
        reason = finding.reason
        if error:
            # The message may quote the payload: only what is left of it after normalising is kept here.
            known |= {"error_type": error.error_type, "message": normalise(error.message), "error": error.fingerprint}
            known |= {"source": error.source}
        if finding.settled:
            known |= {"source": "probe"}
        if finding.certain or (error and error.bearing is Bearing.OWN):
            known |= {"confidence": "certain"}
        elif error and error.bearing is Bearing.SUSPECT:
            known |= {"confidence": "likely"}
        if unreadable:
            known |= {"log": unreadable}
            reason += "; the consumer's log could not be read"
        name = None
        if finding.verdict is not Verdict.TRANSIENT:
            name = fingerprint(
                consumer=self._shard.consumer,
                stream=self._shard.stream_arn,
                rule=finding.rule,
                error_type=error.error_type if error else "",
                message=error.message if error else "",
                schema_path=finding.schema_path,
            )
        return RecordVerdict(
            finding.verdict, finding.rule, reason, self._version, known, name, finding.alarm, finding.settled
        )


def _size(notice: Examined) -> int:
    return notice.size


def _only_of_the_batch(rule: Rule, case: _Case) -> bool:
    """Whether a rule blames the record for an error of its batch of which nobody knows who has caused it."""
    error = case.error_at_hand()
    return error is not None and error.bearing is Bearing.BATCH and rule.then is not Verdict.TRANSIENT


def _batch_error(case: _Case, *, again: bool) -> _Finding:
    batch = f"one of the batch's {case.batch_size} records fails the consumer, and nothing tells which"
    if again:
        return _Finding(Verdict.HELD, "batch-error-again", f"{batch}; it was the same when they were sent again")
    return _Finding(Verdict.TRANSIENT, "batch-error", f"{batch}: they are sent again, to be seen apart")


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
_NOT_SUSPECTED = _Finding(
    Verdict.TRANSIENT,
    "not-suspected",
    "the error in the consumer's log speaks against other records of the batch",
)
_EVERYTHING_FAILS = _Finding(
    Verdict.TRANSIENT,
    "everything-fails",
    "nearly every record in the range failed with the same error: it is the consumer, or what it writes to",
    alarm=True,
)
_TIMED_OUT_AGAIN = _Finding(
    Verdict.POISON,
    "timed-out-again",
    "the consumer ran into its time limit again with this record alone, while at least half of the range went through",
)
_LEFT_UNCHECKED = _Finding(
    Verdict.HELD,
    "payload-too-costly",
    "payloads of the incident took so much CPU time that no more of them are looked into",
)
_PROCESSED = _Finding(
    Verdict.TRANSIENT,
    "probe-processed",
    "the consumer processed the record when it was probed: there is nothing to send again",
    settled=True,
)
