"""Live progress of a run on stderr: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_PLAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Status:
    """What is shown: counts so far, and what is broken at the moment."""

    produced: int = 0
    accepted: int = 0
    given_up: int = 0
    executions: int = 0
    running: int = 0
    poison: int = 0
    fault: str = ""

    def line(self, seconds: float) -> str:
        parts = [
            f"{seconds:4.0f} s",
            f"produced {self.produced}",
            f"accepted by the consumer {self.accepted}",
            f"given up by Lambda {self.given_up}",
            f"redrives {self.executions}" + (f" ({self.running} running)" if self.running else ""),
            f"poison {self.poison}",
        ]
        if self.fault:
            parts.append(f"NOW: {self.fault}")
        return " · ".join(parts)


class Progress:
    """Use as a context manager; `show` as often as there is news."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status()
        self._started = time.monotonic()
        self._spinner = Spinner("dots", text="")
        self._live = Live(self._spinner, console=console, transient=True) if console.is_terminal else None
        self._last_plain = float("-inf")

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def show(self, **changes: int | str) -> None:
        before = self._status
        self._status = replace(before, **changes)  # type: ignore[arg-type] # the caller names Status's fields
        line = self._status.line(time.monotonic() - self._started)
        if self._live is not None:
            self._spinner.update(text=Text(line))
            return
        now = time.monotonic()
        fault_changed = self._status.fault != before.fault
        if fault_changed or (self._status != before and now - self._last_plain > _PLAIN_SECONDS):
            self._last_plain = now
            self.say(line)
