"""Background processes of the lab."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_redrive_cli.lab.processes import BackgroundProcess

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
# Ignores SIGTERM and leaves a child of its own behind.
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[BackgroundProcess]:
    background = BackgroundProcess(tmp_path, "sleeper")
    yield background
    background.stop()


def start(process: BackgroundProcess, script: str, directory: Path) -> None:
    process.start(["-c", script], dict(os.environ), directory)
    eventually(process.log_tail)


def test_a_started_process_is_alive_until_stopped(process: BackgroundProcess, tmp_path: Path) -> None:
    start(process, SLEEPER, tmp_path)
    pid = process.pid
    assert pid is not None
    assert exists(pid)
    process.stop()
    assert process.pid is None
    assert not exists(pid)


def test_another_command_recognises_the_process(process: BackgroundProcess, tmp_path: Path) -> None:
    start(process, SLEEPER, tmp_path)
    assert BackgroundProcess(tmp_path, "sleeper").pid == process.pid


def test_a_process_that_ended_is_not_taken_for_the_one_that_has_its_id_now(tmp_path: Path) -> None:
    (tmp_path / "sleeper.lock").write_text(str(os.getpid()))
    stale = BackgroundProcess(tmp_path, "sleeper")
    assert stale.pid is None
    stale.stop()  # and this test is still here


def test_a_process_never_started_is_not_alive(tmp_path: Path) -> None:
    assert not BackgroundProcess(tmp_path, "nothing").alive


def test_stopping_ends_a_stubborn_process_with_its_children(process: BackgroundProcess, tmp_path: Path) -> None:
    start(process, STUBBORN, tmp_path)
    child = int(process.log_tail())
    assert exists(child)
    process.stop()
    assert not process.alive
    eventually(lambda: not exists(child))


def test_a_crash_is_seen_and_its_output_kept(process: BackgroundProcess, tmp_path: Path) -> None:
    process.start(["-c", "raise SystemExit('no such port')"], dict(os.environ), tmp_path)
    eventually(lambda: not process.alive)
    assert process.log_tail() == "no such port"


def test_a_second_process_of_the_same_name_is_refused(process: BackgroundProcess, tmp_path: Path) -> None:
    start(process, SLEEPER, tmp_path)
    with pytest.raises(BlockingIOError):
        BackgroundProcess(tmp_path, "sleeper").start(["-c", SLEEPER], dict(os.environ), tmp_path)
