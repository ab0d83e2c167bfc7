"""How far a shard is read and settled."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from stream_redrive_cli.lab.mapping.records import StreamRecord


class ShardProgress:
    """The shard's checkpoint while several lanes settle its records out of order.

    A record is settled when it was delivered, filtered out, or given up with its notice sent.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unsettled: deque[str] = deque()
        self._settled: set[str] = set()
        self._checkpoint: str | None = None
        self._last_read: str | None = None
        self._tip_at: float | None = None
        self._bytes: dict[str, int] = {}
        self._pending_bytes = 0
        self._finished = False

    @property
    def checkpoint(self) -> str | None:
        """The last sequence number up to which everything is settled."""
        with self._changed:
            return self._checkpoint

    @property
    def last_read(self) -> str | None:
        with self._changed:
            return self._last_read

    @property
    def finished(self) -> bool:
        """Whether the shard is closed and each of its records settled."""
        with self._changed:
            return self._finished and not self._bytes

    def settled_until(self) -> float | None:
        """The epoch second before which everything that arrived is settled; None while there is work."""
        with self._changed:
            return None if self._bytes else self._tip_at

    def page_read(self, records: Iterable[StreamRecord], last_read: str | None, tip_at: float | None) -> None:
        """Note a page: the records to settle, and when it was asked for if it reached the shard's tip."""
        with self._changed:
            for record in records:
                self._unsettled.append(record.sequence_number)
                self._bytes[record.sequence_number] = record.payload_bytes
                self._pending_bytes += record.payload_bytes
            self._last_read = last_read or self._last_read
            self._tip_at = tip_at
            if not self._unsettled:
                self._checkpoint = self._last_read

    def settle(self, records: Iterable[StreamRecord]) -> None:
        with self._changed:
            for record in records:
                self._settled.add(record.sequence_number)
                self._pending_bytes -= self._bytes.pop(record.sequence_number)
            while self._unsettled and self._unsettled[0] in self._settled:
                self._checkpoint = self._unsettled.popleft()
                self._settled.remove(self._checkpoint)
            if not self._unsettled:
                self._checkpoint = self._last_read  # what follows the last record was filtered out
            self._changed.notify_all()

    def close(self, at: float) -> None:
        """The shard has no more records."""
        with self._changed:
            self._finished = True
            self._tip_at = at

    def wait_for_room(self, stop: threading.Event, *, records: int, size: int) -> None:
        """Block while at least `records` or `size` bytes are unsettled, until `wake` after `stop` is set."""
        with self._changed:
            self._changed.wait_for(lambda: stop.is_set() or (len(self._bytes) < records and self._pending_bytes < size))

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
