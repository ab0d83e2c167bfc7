"""Background processes of the lab: started apart from the terminal, recognised surely, stopped with their children."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_GRACE_SECONDS = 1.0  # the emulator keeps no state worth waiting for
_POLL_SECONDS = 0.05


class BackgroundProcess:
    """A process that holds the lock on `<name>.lock` for as long as it lives.

    The lock, not the process id, tells whether it runs: an id may be another process's by now.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.log_path = directory / f"{name}.log"
        self._lock_path = directory / f"{name}.lock"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        """Start it in a process group of its own, output going to `<name>.log`."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self.log_path.open("wb") as log:
                self._child = subprocess.Popen(  # noqa: S603 - this Python with arguments of our own
                    [sys.executable, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    cwd=cwd,
                    pass_fds=[lock],
                    start_new_session=True,
                )
            os.ftruncate(lock, 0)
            os.write(lock, str(self._child.pid).encode())
        finally:
            os.close(lock)

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        try:
            lock = os.open(self._lock_path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(lock, 32) or b"0") or None
        else:
            return None
        finally:
            os.close(lock)

    @property
    def alive(self) -> bool:
        if self._child is not None:
            self._child.poll()  # a child that ended stays a zombie until its parent asks
        return self.pid is not None

    def stop(self) -> None:
        """End the process and everything it started; returns when all is gone."""
        pid = self.pid
        if pid is None:
            return
        signal_group(pid, signal.SIGTERM)
        if not self._gone_within(STOP_GRACE_SECONDS):
            signal_group(pid, signal.SIGKILL)
            self._gone_within(STOP_GRACE_SECONDS)
        signal_group(pid, signal.SIGKILL)  # a child that outlived its parent

    def log_tail(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal a process group; one that is gone already is fine."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
