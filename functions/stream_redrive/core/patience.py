"""Patience: how much CPU time the payloads of one incident may cost."""

from collections.abc import Callable
from typing import TypeVar

from stream_redrive.core.ports import TimeIsUp, TimeLimit

SECONDS_A_RECORD = 0.25
MAX_OVERRUNS = 20

T = TypeVar("T")


class Patience:
    """A limit for each record, and an end of looking into payloads once many have reached it."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._overruns = 0

    @property
    def exhausted(self) -> bool:
        """Whether no payload of the incident is looked into any more."""
        return self._overruns >= MAX_OVERRUNS

    def __call__(self, look: Callable[[], T]) -> T:
        """Look into one record's payload.

        Raises:
            TimeIsUp: it took too long.
        """
        try:
            with self._limit(SECONDS_A_RECORD):
                return look()
        except TimeIsUp:
            self._overruns += 1
            raise
