"""The inquiry into one incident: finds out what verdicts need, cheapest first and no further than they ask."""

from collections.abc import Iterator

from stream_redrive.core import chunks
from stream_redrive.core.classifier import Neighbourhood
from stream_redrive.core.errors import RedriveError
from stream_redrive.core.incident import Incident
from stream_redrive.core.logged import Attribution, Logged, Speaks
from stream_redrive.core.manifest import CaptureManifest, Examined, NoticeFinder, Outcome
from stream_redrive.core.membership import Membership
from stream_redrive.core.notices import parse_time
from stream_redrive.core.patience import Patience
from stream_redrive.core.policy import LOG_AUTO, LOG_OFF, Policy
from stream_redrive.core.ports import FailedInvocation, MappingSettings, Vault
from stream_redrive.core.records import Record
from stream_redrive.core.sources import Sources
from stream_redrive.core.suspicion import Suspicion


class Inquiry:
    """What can be found out about an incident's failed batches as a whole."""

    def __init__(
        self,
        incident: Incident,
        manifest: CaptureManifest,
        policy: Policy,
        vault: Vault,
        sources: Sources,
        neighbourhood: Neighbourhood,
        patience: Patience,
    ) -> None:
        self._incident = incident
        self._manifest = manifest
        self._policy = policy
        self._vault = vault
        self._sources = sources
        self._neighbourhood = neighbourhood
        self._patience = patience
        self.membership = Membership(manifest.notices, self._mapping(), neighbourhood.reports.keys())

    def read_log(self, speaks: Speaks) -> Logged:
        """What the consumer's log says of batches without reports; a log that can't be read is no evidence.

        Args:
            speaks: the verdict that a rule gives for an error of a batch; None where no rule knows it.
        """
        unreported = [n for n in self._manifest.notices if not self._neighbourhood.any_reported(n)]
        invocations = {
            n.request_id: FailedInvocation(n.request_id, parse_time(n.failed_at))
            for n in unreported
            if n.request_id is not None and n.failed_at is not None
        }
        if self._policy.log == LOG_OFF or not invocations:
            return Logged()
        group = None if self._policy.log == LOG_AUTO else self._policy.log
        try:
            found = self._sources.log.errors_of(self._incident.shard.consumer, group, list(invocations.values()))
        except RedriveError as exc:
            return Logged(unreadable=type(exc).__name__)
        attribution = Attribution(found, unreported, speaks)
        suspicion = Suspicion(attribution.in_question, self._policy.decoder, self._patience)
        if suspicion.wanted:
            for record, notices in self._records():
                suspicion.see(record, notices)
        return attribution.settle(suspicion, self._member)

    def find_members(self) -> None:
        """Look at all records once, where some range may hold strangers, to tell the batch's own from them."""
        if self.membership.wanted:
            for record, notices in self._records():
                self.membership.see(record, notices)

    def _mapping(self) -> MappingSettings | None:
        if all(notice.outcome in (Outcome.COMPLETE, Outcome.EXPIRED) for notice in self._manifest.notices):
            return None
        shard = self._incident.shard
        try:
            mappings = self._sources.mappings.of(shard.consumer, shard.stream_arn)
        except RedriveError:
            return None  # without them less can be told, and what can't be told is held
        return mappings[0] if len(mappings) == 1 else None

    def _member(self, number: int, notice: Examined) -> bool:
        return self.membership.belongs(str(number), notice) is True

    def _records(self) -> Iterator[tuple[Record, list[Examined]]]:
        finder = NoticeFinder(self._manifest.notices)
        for chunk in self._manifest.chunks:
            for record in chunks.decode(self._vault.get(chunk.key)):
                yield record, finder.covering(record.stream.sequence_number)
