"""Start: one execution for the notices of a shard that arrived together, however often they arrive."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream_redrive.core.chunks import notices_key
from stream_redrive.core.errors import IncidentGivenUp, RedriveError
from stream_redrive.core.incident import (
    MAX_INLINE_NOTICES,
    Incident,
    Reference,
    earliest_failure,
    encode_notices,
    gather,
    incident_id,
)
from stream_redrive.core.notices import Notice, ShardRef
from stream_redrive.core.ports import ExecutionExists, Executions, Vault
from stream_redrive.core.records import to_json

_MAX_RESTARTS = 20
_ENDED_IN_VAIN = frozenset({"FAILED", "TIMED_OUT", "ABORTED"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """A notice and the message that brought it."""

    message_id: str
    shard: ShardRef
    notice: Notice


@dataclass(frozen=True, slots=True)
class StartResult:
    """The incidents that run now, and the messages whose incident could not be started (message id: why)."""

    incidents: Sequence[str]
    failed: dict[str, Exception]


class StartRedrive:
    """Starts the redrive state machine for the notices of one intake window."""

    def __init__(self, executions: Executions, vault: Vault) -> None:
        self._executions = executions
        self._vault = vault

    def __call__(self, arrivals: Iterable[Arrival]) -> StartResult:
        """Start an execution a group. A group that fails doesn't hold up the others."""
        arrivals = list(arrivals)
        messages: dict[tuple[ShardRef, int, int], list[str]] = defaultdict(list)
        for arrival in arrivals:
            key = (arrival.shard, int(arrival.notice.start), int(arrival.notice.end))
            messages[key].append(arrival.message_id)
        started: list[str] = []
        failed: dict[str, Exception] = {}
        for shard, notices in gather((a.shard, a.notice) for a in arrivals):
            try:
                started.append(self._start(shard, notices))
            except RedriveError as exc:
                for notice in notices:
                    key = (shard, int(notice.start), int(notice.end))
                    failed |= dict.fromkeys(messages[key], exc)
        return StartResult(started, failed)

    def _start(self, shard: ShardRef, notices: Sequence[Notice]) -> str:
        name = incident_id(shard, notices)
        body = to_json({"incident": self._incident(name, shard, notices).to_input()})
        for execution in (name, *(f"{name}-r{number}" for number in range(2, _MAX_RESTARTS))):
            try:
                self._executions.start(execution, body)
            except ExecutionExists:
                # A duplicate, unless the incident was parked and somebody sends its notices anew. Its id stays:
                # the new execution goes on from what the vault and the ledger hold.
                if self._executions.status(execution) not in _ENDED_IN_VAIN:
                    return name
            else:
                return name
        raise IncidentGivenUp(f"incident {name} of {shard.consumer} was parked {_MAX_RESTARTS - 1} times")

    def _incident(self, name: str, shard: ShardRef, notices: Sequence[Notice]) -> Incident:
        failed_at = earliest_failure(notices)
        if len(notices) <= MAX_INLINE_NOTICES:
            return Incident(name, shard, failed_at, tuple(notices), None)
        key = notices_key(name)
        self._vault.put(key, encode_notices(notices))
        return Incident(name, shard, failed_at, None, Reference(self._vault.bucket, key, len(notices)))
