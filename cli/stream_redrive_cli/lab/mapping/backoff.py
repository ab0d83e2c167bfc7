"""How long to wait after failures in a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential: `base` seconds after the first failure, doubled for each further one, up to `most`."""

    base: float = 0.2
    most: float = 3.0

    def seconds(self, failures: int) -> float:
        if failures < 1:
            return 0.0
        exponent = min(failures - 1, 30)  # far beyond `most`, and 2.0 ** 10000 overflows
        return min(self.most, self.base * 2.0**exponent)


DEFAULT_BACKOFF = Backoff()
