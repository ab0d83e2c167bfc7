"""A limit in CPU time, by the process's virtual timer.

Signals reach the main thread only: elsewhere there is no limit. A Lambda's handler runs in the main thread.
https://docs.python.org/3/library/signal.html#signals-and-threads
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from stream_redrive.core.ports import TimeIsUp

_AGAIN_SECONDS = 0.05


class CpuTimeLimit:
    """Ends a block of Python code, patterns of `re` included, that uses more CPU time than it may."""

    def __call__(self, seconds: float) -> "_Block":
        """ITIMER_VIRTUAL, which counts no waiting."""
        return _Block(seconds)


class _Block:
    # No generator: a classification enters as many blocks as there are records.
    __slots__ = ("_previous", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._previous: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            # None: a handler that Python doesn't know, and can't put back.
            self._previous = signal.signal(signal.SIGVTALRM, _stop) or signal.SIG_DFL
            # Again and again: what is raised in a finaliser or a callback of the collector is lost.
            signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds, _AGAIN_SECONDS)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._previous is None:
            return
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        finally:
            signal.signal(signal.SIGVTALRM, self._previous)


# At these edges of a block an exception would leave the timer running.
_EDGES = {_Block.__enter__.__code__, _Block.__exit__.__code__}


def _stop(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code in _EDGES:
            return
        frame = frame.f_back
    raise TimeIsUp
