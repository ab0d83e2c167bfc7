"""The checkpoint of a shard whose lanes finish out of order."""

from __future__ import annotations

import threading

from stream_redrive_cli.lab.mapping.backoff import Backoff
from stream_redrive_cli.lab.mapping.progress import ShardProgress
from tests.unit.lab_mapping.support import record


def test_checkpoint_moves_only_over_settled_records() -> None:
    first, second, third = record(1), record(2), record(3)
    progress = ShardProgress()
    progress.page_read([first, second, third], "3", tip_at=5.0)
    progress.settle([third, second])
    assert (progress.checkpoint, progress.settled_until()) == (None, None)
    progress.settle([first])
    assert (progress.checkpoint, progress.settled_until()) == ("3", 5.0)


def test_checkpoint_covers_filtered_records_at_the_end() -> None:
    progress = ShardProgress()
    progress.page_read([record(1)], "4", tip_at=5.0)
    progress.settle([record(1)])
    assert progress.checkpoint == "4"


def test_page_of_filtered_records_moves_the_checkpoint() -> None:
    progress = ShardProgress()
    progress.page_read([], "9", tip_at=5.0)
    assert progress.checkpoint == "9"


def test_shard_behind_its_tip_is_not_settled() -> None:
    progress = ShardProgress()
    progress.page_read([record(1)], "1", tip_at=None)
    progress.settle([record(1)])
    assert progress.settled_until() is None


def test_closed_shard_is_finished_once_its_records_are_settled() -> None:
    progress = ShardProgress()
    progress.page_read([record(1)], "1", tip_at=1.0)
    progress.close(2.0)
    assert not progress.finished
    progress.settle([record(1)])
    assert progress.finished


def test_reader_waits_while_too_much_is_unsettled() -> None:
    progress = ShardProgress()
    progress.page_read([record(1), record(2)], "2", tip_at=1.0)
    passed = threading.Event()

    def read() -> None:
        progress.wait_for_room(threading.Event(), records=2, size=1_000)
        passed.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert not passed.wait(0.05)
    progress.settle([record(1)])
    reader.join()
    assert passed.is_set()


def test_waiting_reader_stops() -> None:
    progress, stop = ShardProgress(), threading.Event()
    progress.page_read([record(1)], "1", tip_at=1.0)
    reader = threading.Thread(target=lambda: progress.wait_for_room(stop, records=1, size=1_000))
    reader.start()
    stop.set()
    progress.wake()
    reader.join(timeout=10)
    assert not reader.is_alive()


def test_backoff_doubles_up_to_its_most() -> None:
    backoff = Backoff(base=0.2, most=3.0)
    assert [backoff.seconds(n) for n in (0, 1, 2, 3, 4, 5, 10_000)] == [0.0, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0]
