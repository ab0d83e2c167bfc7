"""The time, and the time limit of a Lambda invocation."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


class LambdaClock:
    """The clock of one invocation."""

    def __init__(self, remaining_millis: Callable[[], int]) -> None:
        """remaining_millis: the context's get_remaining_time_in_millis."""
        self._remaining_millis = remaining_millis

    def now(self) -> datetime:
        """The current time, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # the only wait of the functions: backoff of a call, or a call's settling

    def remaining_seconds(self) -> float:
        """Seconds until Lambda ends the invocation."""
        return self._remaining_millis() / 1000
