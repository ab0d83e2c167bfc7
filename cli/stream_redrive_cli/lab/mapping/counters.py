"""What a poller has done so far, for the lab's live progress."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

Count = Literal[
    "read",  # records or messages fetched from the source
    "filtered",  # dropped by FilterCriteria
    "delivered",  # accepted by the function
    "discarded",  # given up, whether a notice was wanted or not
    "invocations",  # calls of the function that ran
    "errors",  # of those: failed whole or in part
    "refused",  # calls that didn't run: throttles, service errors
    "notices",  # delivered to the OnFailure destination
    "notice_failures",  # refused attempts to deliver a notice
]
COUNTS: tuple[Count, ...] = Count.__args__  # type: ignore[attr-defined]  # a Literal's values, typed as a form


class Tally:
    """Counts of one mapping, shared by its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: Count, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return {name: self._counts[name] for name in COUNTS}
