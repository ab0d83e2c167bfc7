"""Polls the shards of a stream and hands their records to lanes, as Lambda's stream pollers do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream_redrive_cli.lab.mapping.backoff import DEFAULT_BACKOFF, Backoff
from stream_redrive_cli.lab.mapping.counters import Tally
from stream_redrive_cli.lab.mapping.destinations import Destination, NoticeCourier
from stream_redrive_cli.lab.mapping.invocation import FunctionInvoker
from stream_redrive_cli.lab.mapping.lane import Lane, lane_of
from stream_redrive_cli.lab.mapping.progress import ShardProgress
from stream_redrive_cli.lab.mapping.readers import (
    After,
    PositionLostError,
    ReadError,
    Shard,
    ShardGoneError,
    Since,
    Start,
    StreamReader,
)
from stream_redrive_cli.lab.mapping.records import stream_record
from stream_redrive_cli.lab.mapping.settings import StreamMapping

_log = logging.getLogger(__name__)

# Unsettled records of one shard that are held in memory before its reader pauses.
_ROOM_RECORDS = 10_000
_ROOM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between reads of a shard while records flow and when idle, between looks for new shards, and
    after a failed read."""

    busy: float = 0.1
    idle: float = 0.5
    reshard: float = 5.0
    failed: float = 1.0


DEFAULT_PACE = Pace()


@dataclass(slots=True)
class _Follower:
    """A shard that is being read."""

    shard: Shard
    start: Start
    progress: ShardProgress = field(default_factory=ShardProgress)
    iterator: str | None = None
    lanes: list[Lane] = field(default_factory=list)
    gone: bool = False

    @property
    def position(self) -> Start:
        """Where another reader would go on without a gap."""
        checkpoint = self.progress.checkpoint
        return After(checkpoint) if checkpoint else self.start


class StreamPoller:
    """One stream mapping at work: a reader for each shard, `parallelization_factor` lanes for each reader."""

    def __init__(
        self,
        mapping: StreamMapping,
        *,
        reader: StreamReader,
        invoker: FunctionInvoker,
        destination: Destination | None,
        positions: Mapping[str, Start] | None = None,
        backoff: Backoff = DEFAULT_BACKOFF,
        pace: Pace = DEFAULT_PACE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.mapping = mapping
        self.tally = Tally()
        self._reader = reader
        self._invoker = invoker
        self._backoff = backoff
        self._pace = pace
        self._clock = clock
        self._stop = threading.Event()
        self._courier = NoticeCourier(destination, self.tally, backoff, self._stop)
        self._positions = dict(positions or {})
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._followers: dict[str, _Follower] = {}
        self._threads: list[threading.Thread] = []

    @property
    def ready(self) -> bool:
        """Whether an iterator is held for every shard: what is produced from now on is not missed."""
        return self._ready.is_set()

    def positions(self) -> dict[str, Start]:
        """Where each shard stands, to start another poller of the stream from."""
        with self._lock:
            return self._positions | {shard_id: f.position for shard_id, f in self._followers.items()}

    def settled_until(self) -> float | None:
        """The epoch second before which all that arrived is settled; None while there is work to do."""
        if not self.ready:
            return None
        with self._lock:
            moments = [f.progress.settled_until() for f in self._followers.values()]
        known = [moment for moment in moments if moment is not None]
        return min(known) if known and len(known) == len(moments) else None

    def start(self) -> None:
        """Begin in threads of its own. Returns at once; see `ready`."""
        self._spawn(self._follow_shards, "shards")

    def stop(self) -> None:
        """End all threads; an invocation in flight is waited for."""
        self._stop.set()
        while True:
            with self._lock:
                threads, self._threads = self._threads, []
                followers = list(self._followers.values())
            if not threads:
                return
            for follower in followers:
                follower.progress.wake()
                for lane in follower.lanes:
                    lane.wake()
            for thread in threads:
                thread.join()

    def _spawn(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=f"mapping-{self.mapping.uuid[:8]}-{name}")
        with self._lock:
            if self._stop.is_set():
                return
            self._threads.append(thread)
            thread.start()

    def _follow_shards(self) -> None:
        first = True
        while not self._stop.is_set():
            try:
                shards = self._reader.shards()
                self._follow_new(shards, first=first)
            except ReadError as exc:
                _log.warning("%s: %s", self.mapping.source_arn, exc)
                self._stop.wait(self._pace.failed)
                continue
            first = False
            self._ready.set()
            self._stop.wait(self._pace.reshard)

    def _follow_new(self, shards: list[Shard], *, first: bool) -> None:
        """Start to read shards that are not read yet; children wait for parents, as order asks for."""
        listed = {shard.shard_id for shard in shards}
        for shard in shards:
            known = self._followers.get(shard.shard_id)
            # The local cloud reuses the id of a shard that it deleted.
            reborn = known is not None and known.gone and known.progress.finished
            if known is not None and not reborn:
                continue
            start = self._start_of(shard, first=first and not reborn)
            if start != "LATEST" and any(
                parent in listed and not self._is_finished(parent) for parent in shard.parents
            ):
                continue
            self._begin(shard, start)

    def _start_of(self, shard: Shard, *, first: bool) -> Start:
        if not first:
            return "TRIM_HORIZON"  # a shard that came up since: all of it is new
        if self._positions:
            return self._positions.get(shard.shard_id, "TRIM_HORIZON")
        if self.mapping.starting_position == "AT_TIMESTAMP" and self.mapping.starting_timestamp:
            return Since(self.mapping.starting_timestamp.timestamp())
        return self.mapping.starting_position

    def _is_finished(self, shard_id: str) -> bool:
        with self._lock:
            follower = self._followers.get(shard_id)
        return follower is not None and follower.progress.finished

    def _begin(self, shard: Shard, start: Start) -> None:
        # Should a "latest" iterator die before its first read, "latest" would be another place.
        follower = _Follower(shard, Since(self._clock()) if start == "LATEST" else start)
        try:
            follower.iterator = self._iterator(shard.shard_id, start)
        except ShardGoneError:
            follower.gone = True
            follower.progress.close(self._clock())
            with self._lock:
                self._followers[shard.shard_id] = follower
            return
        follower.lanes = [
            Lane(
                self.mapping,
                shard.shard_id,
                invoker=self._invoker,
                courier=self._courier,
                progress=follower.progress,
                tally=self.tally,
                backoff=self._backoff,
                stop=self._stop,
                clock=self._clock,
            )
            for _ in range(self.mapping.parallelization_factor)
        ]
        with self._lock:
            self._followers[shard.shard_id] = follower
        for number, lane in enumerate(follower.lanes):
            self._spawn(lane.run, f"{shard.shard_id}-lane{number}")
        self._spawn(lambda: self._read_shard(follower), shard.shard_id)

    def _iterator(self, shard_id: str, start: Start) -> str:
        try:
            return self._reader.iterator(shard_id, start)
        except PositionLostError:
            return self._reader.iterator(shard_id, "TRIM_HORIZON")

    def _read_shard(self, follower: _Follower) -> None:
        self._read_to_end(follower)
        for lane in follower.lanes:
            lane.close()

    def _read_to_end(self, follower: _Follower) -> None:
        interval = self._pace.busy
        while not self._stop.is_set():
            follower.progress.wait_for_room(self._stop, records=_ROOM_RECORDS, size=_ROOM_BYTES)
            if self._stop.is_set():
                return
            try:
                count = self._read_page(follower)
            except PositionLostError:
                follower.iterator = None
                continue
            except ShardGoneError:
                follower.gone = True
                follower.progress.close(self._clock())
                return
            except ReadError as exc:
                _log.warning("%s %s: %s", self.mapping.source_arn, follower.shard.shard_id, exc)
                self._stop.wait(self._pace.failed)
                continue
            if follower.iterator is None:
                follower.progress.close(self._clock())
                return
            interval = self._pace.busy if count else min(self._pace.idle, interval * 1.5)
            self._stop.wait(interval)

    def _read_page(self, follower: _Follower) -> int:
        """Read one page and hand it out; sets the iterator to None at the shard's end."""
        shard_id = follower.shard.shard_id
        last_read = follower.progress.last_read
        if follower.iterator is None:
            follower.iterator = self._iterator(shard_id, After(last_read) if last_read else follower.start)
        asked_at = self._clock()
        page = self._reader.read(shard_id, follower.iterator)
        records = [stream_record(event) for event in page.events]
        admitted = [
            record
            for record, event in zip(records, page.events, strict=True)
            if self.mapping.filters.admits(event) is not False and (last_read is None or record.order > int(last_read))
        ]
        self.tally.add("read", len(records))
        self.tally.add("filtered", len(records) - len(admitted))
        follower.progress.page_read(
            admitted,
            last_read=records[-1].sequence_number if records else None,
            tip_at=asked_at if page.at_tip else None,
        )
        for number, lane in enumerate(follower.lanes):
            mine = [record for record in admitted if lane_of(record.lane_key, len(follower.lanes)) == number]
            if mine:
                lane.offer(mine)
        follower.iterator = page.next_iterator
        return len(records)
