"""Reads the wanted records of a shard in one pass, whatever the stream does meanwhile."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from stream_redrive.core.errors import IteratorExpired, SequenceNumberRejected
from stream_redrive.core.ports import StreamReader
from stream_redrive.core.records import StreamRecord
from stream_redrive.core.sequence import Stretch

# The arrival time is approximate; what comes too early is skipped.
_ARRIVAL_TOLERANCE = timedelta(seconds=1)


class ShardScan:
    """One pass over a shard.

    Reads on through the gap between two stretches when the next one begins within a page, and seeks when it doesn't:
    iterators and reads are both limited to 5 a second and shared with the consumer.

    bystanders: how many records it came by that no notice speaks of. They went through.
    """

    def __init__(
        self,
        reader: StreamReader,
        stream_arn: str,
        shard_id: str,
        stretches: Sequence[Stretch],
        since: datetime,
    ) -> None:
        """stretches: in ascending order. since: when the first wanted record arrived, for a number that is gone."""
        self._reader = reader
        self._stream_arn = stream_arn
        self._shard_id = shard_id
        self._stretches = stretches
        self._since = since
        self.bystanders = 0

    def pages(self, after: str | None = None) -> Iterator[list[StreamRecord]]:
        """The wanted records, page by page; a page may be empty.

        Args:
            after: the last record that an earlier pass got.

        Raises:
            ShardNotFound: no such shard or stream.
        """
        remaining = [s for s in self._stretches if after is None or s.last > int(after)]
        if not remaining:
            return
        if after is not None and int(after) >= remaining[0].first:
            iterator = self._open_after(after)
        else:
            iterator, after = self._open_at(remaining[0]), None
        seen, sought = after, remaining[0]
        passed = -1 if after is None else int(after)
        found = by_time = False
        while True:
            try:
                page = self._reader.read(self._stream_arn, iterator)
            except IteratorExpired:
                iterator = self._open_after(seen) if seen else self._open_at(remaining[0])
                found = by_time = False
                yield []
                continue
            wanted = self._pick(page.records, remaining, passed)
            yield wanted
            if page.records:
                seen, found = page.records[-1].sequence_number, True
                passed = max(passed, int(seen))
            at_tip = not page.records and page.millis_behind == 0
            if not remaining:
                return
            if page.next_iterator is None or at_tip:
                if found or by_time:
                    return
                # By one report the iterator of a trimmed number returns nothing, though later records are there.
                iterator, by_time = self._open_by_time(), True
            elif page.records and not wanted and remaining[0] is not sought:
                iterator, seen, sought = self._open_at(remaining[0]), None, remaining[0]
                found = by_time = False
            else:
                iterator = page.next_iterator

    def _open_at(self, stretch: Stretch) -> str:
        try:
            return self._reader.open_at(self._stream_arn, self._shard_id, stretch.start)
        except SequenceNumberRejected:
            return self._open_by_time()

    def _open_after(self, sequence_number: str) -> str:
        try:
            return self._reader.open_after(self._stream_arn, self._shard_id, sequence_number)
        except SequenceNumberRejected:
            return self._open_by_time()

    def _open_by_time(self) -> str:
        return self._reader.open_from(self._stream_arn, self._shard_id, self._since - _ARRIVAL_TOLERANCE)

    def _pick(self, records: Sequence[StreamRecord], remaining: list[Stretch], passed: int) -> list[StreamRecord]:
        """The records behind passed that lie in a stretch.

        Stretches that are passed, or read to their last number, leave remaining.
        """
        wanted = []
        for record in records:
            number = int(record.sequence_number)
            # An iterator that had to go back to a time returns what was read already.
            if number <= passed:
                continue
            while remaining and number > remaining[0].last:
                remaining.pop(0)
            if not remaining:
                break
            if number in remaining[0]:
                wanted.append(record)
            elif number > self._stretches[0].first:
                self.bystanders += 1
            if number == remaining[0].last:
                remaining.pop(0)
        return wanted
