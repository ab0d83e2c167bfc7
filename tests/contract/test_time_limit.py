"""What every time limit does, and what the real one ends."""

import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from stream_redrive.adapters.time_limit import CpuTimeLimit
from stream_redrive.core.ports import TimeIsUp, TimeLimit
from tests.support.memory import MemoryTimeLimit


@dataclass
class Limits:
    """A limit, and how the next block is made to take too long."""

    limit: TimeLimit
    dawdle: Callable[[], object]
    prepare: Callable[[], None] = lambda: None


@pytest.fixture(params=["memory", "cpu"])
def limits(request: pytest.FixtureRequest) -> Limits:
    if request.param == "cpu":
        return Limits(CpuTimeLimit(), backtrack)
    memory = MemoryTimeLimit()
    return Limits(memory, lambda: None, lambda: setattr(memory, "slow", 1))


def backtrack() -> None:
    """A pattern that would take years."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def count() -> None:
    """Python code that takes a minute; not for ever, should the limit be broken."""
    ends = time.process_time() + 60
    while time.process_time() < ends:
        pass


def test_a_block_that_ends_in_time_is_left_alone(limits: Limits) -> None:
    done = []
    with limits.limit(5):
        done.append(True)
    assert done


def test_a_block_that_takes_too_long_is_ended(limits: Limits) -> None:
    limits.prepare()
    with pytest.raises(TimeIsUp), limits.limit(0.01):
        limits.dawdle()


def test_the_next_block_has_the_whole_time_again(limits: Limits) -> None:
    for _ in range(3):
        limits.prepare()
        with pytest.raises(TimeIsUp), limits.limit(0.01):
            limits.dawdle()
        with limits.limit(5):
            pass


def test_what_a_block_raises_passes(limits: Limits) -> None:
    with pytest.raises(KeyError), limits.limit(5):
        raise KeyError("mine")


def test_plain_python_code_is_ended_too() -> None:
    began = time.process_time()
    with pytest.raises(TimeIsUp), CpuTimeLimit()(0.05):
        count()
    assert time.process_time() - began < 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_block_is_ended_even_where_the_first_exception_is_lost() -> None:
    class Finalised:
        def __del__(self) -> None:
            # Python reports what is raised here, and goes on.
            ends = time.process_time() + 0.04
            while time.process_time() < ends:
                pass

    def work() -> None:
        Finalised()
        count()

    began = time.process_time()
    with pytest.raises(TimeIsUp), CpuTimeLimit()(0.02):
        work()
    assert time.process_time() - began < 5


def test_blocks_that_end_at_the_very_limit_leave_no_timer_behind() -> None:
    for _ in range(300):
        with suppress(TimeIsUp), CpuTimeLimit()(0.001):
            ends = time.process_time() + 0.001
            while time.process_time() < ends:
                pass
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_whoever_handled_the_signal_before_handles_it_again() -> None:
    def mine(number: int, frame: object) -> None:
        raise AssertionError("the limit was not lifted")

    before = signal.signal(signal.SIGVTALRM, mine)
    try:
        with CpuTimeLimit()(0.01):
            pass
        with pytest.raises(TimeIsUp), CpuTimeLimit()(0.01):
            backtrack()
        assert signal.getsignal(signal.SIGVTALRM) is mine
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_outside_the_main_thread_there_is_no_limit() -> None:
    ended = []

    def work() -> None:
        with CpuTimeLimit()(0.001):
            sum(range(200_000))
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended
