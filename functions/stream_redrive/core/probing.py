"""The probe: invokes the consumer with single records, or by halving a batch, to find out which ones fail.

Each invocation is announced in the ledger before it is made, and what it has found out is written after. A record
whose invocation was announced and not answered may have been processed: it is never invoked again, and nothing is
known about it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from stream_redrive.core.errors import RedriveError
from stream_redrive.core.events import kinesis_entry
from stream_redrive.core.fingerprint import MAX_MESSAGE, normalise
from stream_redrive.core.incident import Incident
from stream_redrive.core.policy import ProbeLimits
from stream_redrive.core.ports import Clock, ConsumerFunction, Ledger, ProbeCall, ProbeFinding, Reply
from stream_redrive.core.records import Record
from stream_redrive.core.responses import WholeBatchFailed, failed_items

__all__ = ["INVOCATION_SECONDS", "Probe", "ProbeFinding"]

INVOCATION_SECONDS = 60  # the longest that an invocation is waited for
# An invocation, and as much again for what the run has to do after it.
STOP_BEFORE_SECONDS = 2 * INVOCATION_SECONDS
MAX_GROUP = 100  # the batch size that mappings have by default
# Of payloads. In base64, with what goes around them, they stay under the 6 MB of an invocation.
MAX_GROUP_BYTES = 4 * 1024 * 1024
_ALIKE = 3

Group = list[Record]


class Probe:
    """Probes the records of one incident, within the limits of its policy."""

    def __init__(
        self, function: ConsumerFunction, ledger: Ledger, clock: Clock, limits: ProbeLimits, incident: Incident
    ) -> None:
        self._function = function
        self._ledger = ledger
        self._clock = clock
        self._limits = limits
        self._incident = incident
        self._made: _Made | None = None
        self._refused = False

    def __call__(self, records: Sequence[Record]) -> Mapping[int, ProbeFinding]:
        """Find out which of the records the consumer processes; what an earlier run has found out counts.

        Returns:
            findings by sequence number. A record about which nothing was found out is left out; all are when the
            first three failures are alike and nothing was processed: then it is the consumer that is at fault.

        Raises:
            WriteConflict: another run is at work.
            ServiceBusy, ServiceUnreachable: the ledger can't be used now.
        """
        if not self._limits.enabled:
            return {}
        if self._made is None:
            self._made = _Made(self._ledger.probe_calls(self._incident.id))
        made = self._made
        in_order = sorted(records, key=_number)
        todo = list(_groups([record for record in in_order if not made.settles(_number(record))]))[::-1]
        while todo and self._may_invoke(made):
            group = todo.pop()
            if len(group) > 1:
                if len(group) + sum(map(len, todo)) <= self._limits.max_calls - len(made.calls):
                    todo.append(group[1:])
                    group = group[:1]
                elif made.fails(group):
                    todo += _halves(group)
                    continue
            todo += _rest(group, self._invoke(made, group))
        if made.shows_an_outage:
            return {}
        return {_number(record): made.found[_number(record)] for record in in_order if _number(record) in made.found}

    def _may_invoke(self, made: "_Made") -> bool:
        if self._refused or made.shows_an_outage or len(made.calls) >= self._limits.max_calls:
            return False
        if self._clock.remaining_seconds() < STOP_BEFORE_SECONDS:
            return False
        if not made.calls:
            return True
        return self._clock.now() - made.calls[0].announced_at < timedelta(seconds=self._limits.max_seconds)

    def _invoke(self, made: "_Made", group: Group) -> ProbeCall:
        number = len(made.calls)
        call = ProbeCall(self._clock.now(), tuple(map(_number, group)))
        self._ledger.announce_probe(self._incident.id, number, call)
        try:
            reply = self._function.invoke(
                self._incident.shard.consumer, {"Records": [kinesis_entry(record) for record in group]}
            )
        except RedriveError:
            # Throttled, forbidden or out of reach: what was found so far is all that is to be had.
            self._refused = True
        else:
            call = replace(call, findings=_findings(group, reply))
            self._ledger.record_probe(self._incident.id, number, call)
        made.add(call)
        return call


class _Made:
    """What an incident's invocations have shown so far."""

    def __init__(self, calls: Sequence[ProbeCall]) -> None:
        self.calls: list[ProbeCall] = []
        self.found: dict[int, ProbeFinding] = {}
        self._never_again: set[int] = set()
        self._failed_groups: list[set[int]] = []
        for call in calls:
            self.add(call)

    def add(self, call: ProbeCall) -> None:
        """Take an invocation into account."""
        self.calls.append(call)
        if call.findings:
            self.found |= call.findings
        elif call.findings is None or len(call.sequence_numbers) == 1:
            self._never_again.update(call.sequence_numbers)
        else:
            self._failed_groups.append(set(call.sequence_numbers))

    def settles(self, number: int) -> bool:
        """Whether a record must not be invoked (again)."""
        return number in self.found or number in self._never_again

    def fails(self, group: Group) -> bool:
        """Whether a group must fail: it holds all that may have failed a group before."""
        numbers = set(map(_number, group))
        return any(suspects and suspects <= numbers for suspects in map(self._suspects, self._failed_groups))

    def _suspects(self, failed_group: set[int]) -> set[int]:
        left = {number for number in failed_group if number not in self.found}
        explained = any(not self.found[number].processed for number in failed_group - left)
        return set() if explained else left

    @property
    def shows_an_outage(self) -> bool:
        """Whether the first failures are alike and nothing was processed."""
        if any(finding.processed for finding in self.found.values()):
            return False
        first = [(f.error_type, normalise(f.message or "")) for f in list(self.found.values())[:_ALIKE]]
        return len(first) == _ALIKE and len(set(first)) == 1


def _findings(group: Group, reply: Reply) -> Mapping[int, ProbeFinding]:
    """What a reply says about the records of its event, in their order."""
    if reply.error_type is not None:
        # Which of several it was, and which were processed before it, an exception doesn't tell.
        failed = ProbeFinding(False, reply.error_type[:MAX_MESSAGE], (reply.message or "")[:MAX_MESSAGE])
        return {_number(record): failed for record in group if len(group) == 1}
    # Lambda reads the answers of those consumers only that report batch item failures; others may answer anything.
    answer = reply.answer if isinstance(reply.answer, dict) else None
    try:
        failures = failed_items(answer, {record.stream.sequence_number for record in group})
    except WholeBatchFailed:
        return {}
    # A consumer may stop at the first failure, and a stream's checkpoint is the lowest number that is named: the
    # records behind it that aren't named may or may not have been processed.
    checkpoint = min(map(int, failures), default=None)
    return {
        _number(record): ProbeFinding(processed=record.stream.sequence_number not in failures)
        for record in group
        if checkpoint is None or _number(record) < checkpoint or record.stream.sequence_number in failures
    }


def _rest(group: Group, call: ProbeCall) -> list[Group]:
    """What of a group is to be invoked again, the first of it last."""
    if call.findings is None or len(group) == 1:
        return []
    unknown = [record for record in group if _number(record) not in call.findings]
    if unknown and not call.findings:
        return _halves(group)
    return [unknown] if unknown else []


def _halves(group: Group) -> list[Group]:
    middle = len(group) // 2
    return [group[middle:], group[:middle]]


def _groups(records: Sequence[Record]) -> Iterator[Group]:
    """The records in groups that an invocation can take; one that is too large for any is left out."""
    group: Group = []
    size = 0
    for record in records:
        length = len(record.stream.data)
        if length > MAX_GROUP_BYTES:
            continue
        if group and (len(group) == MAX_GROUP or size + length > MAX_GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(record)
        size += length
    if group:
        yield group


def _number(record: Record) -> int:
    return int(record.stream.sequence_number)
