"""Copies that a redrive has put into the stream while their lineage is not written yet.

A run that was cut between PutRecords and its bookkeeping leaves such copies; they can fail and be captured before the
next run has settled what landed. Without this their attempts would begin anew, and the cap would never be reached.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from stream_redrive.core import chunks, work_list
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.notices import parse_time
from stream_redrive.core.ports import Ledger, RedriveCursor, Vault
from stream_redrive.core.records import Lineage, Record, StreamRecord, digest

# Between the clock of a run and the clock that stamps arrivals.
CLOCK_SKEW = timedelta(seconds=2)
# A call that nobody answered has landed by then, or never will.
_LANDS_WITHIN = timedelta(minutes=5)


class OpenCalls:
    """The PutRecords calls that were announced for a stream and not accounted for."""

    def __init__(self, vault: Vault, ledger: Ledger, stream: str) -> None:
        self._calls: list[tuple[datetime, dict[tuple[str, str], Lineage]]] = []
        for redrive_id in ledger.open_redrives(stream):
            cursor = ledger.redrive_cursor(redrive_id)
            if cursor is not None and cursor.open_since is not None:
                self._calls.append((cursor.open_since, _announced(vault, redrive_id, cursor)))

    def lineage_of(self, record: StreamRecord) -> Lineage | None:
        """The lineage that a record without one has if it is such a copy: the same key and payload, at that time."""
        for since, announced in self._calls:
            arrived = parse_time(record.arrived_at)
            if since - CLOCK_SKEW <= arrived <= since + _LANDS_WITHIN:
                lineage = announced.get((record.partition_key or "", digest(record.data)))
                if lineage is not None:
                    return lineage
        return None


def _announced(vault: Vault, redrive_id: str, cursor: RedriveCursor) -> dict[tuple[str, str], Lineage]:
    announced: dict[tuple[str, str], Lineage] = {}
    for index in sorted({chunk for chunk, _ in cursor.open_records}):
        records = _chunk(vault, redrive_id, index)
        for chunk, line in cursor.open_records:
            if chunk == index:
                record = records[line]
                place = (record.put_key, record.digest())
                announced[place] = Lineage(record.lineage.origin, record.lineage.attempt + 1)
    return announced


def _chunk(vault: Vault, redrive_id: str, index: int) -> Mapping[int, Record]:
    if of_case := work_list.chunk_of(vault, redrive_id):
        return of_case.read(vault)
    captured = CaptureManifest.load(vault, redrive_id).chunks
    return dict(enumerate(chunks.decode(vault.get(captured[index].key))))
