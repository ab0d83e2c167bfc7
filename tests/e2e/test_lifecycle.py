"""The lab starts and stops cleanly whatever happens; each test has a lab of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_redrive_cli.lab.directory import LabDirectory
from tests.e2e.conftest import COMMAND, eventually, redrive

pytestmark = pytest.mark.lab


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[LabDirectory]:
    own = LabDirectory(tmp_path / ".lab")
    yield own
    own.stop()


def group_exists(group: int) -> bool:
    """Whether the process group has a process; zombies don't count: pid 1 of a container may be slow to reap."""
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = process.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            return True
    return False


def processes_about(path: Path) -> list[str]:
    """Command lines that name the path (where /proc tells)."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(path) in line and "pytest" not in line:
            found.append(line)
    return found


def test_up_twice_is_told_a_lost_process_is_made_good_and_down_leaves_nothing(directory: LabDirectory) -> None:
    where = ("--dir", str(directory.path))
    assert redrive("lab", "up", *where).returncode == 0
    first = directory.read_state()

    again = redrive("lab", "up", *where)
    assert again.returncode == 0
    assert "up already" in again.stderr
    assert directory.read_state() == first

    os.killpg(first.mapping_pid, signal.SIGKILL)
    eventually(lambda: not directory.running)
    assert redrive("lab", "up", *where).returncode == 0
    second = directory.read_state()
    assert second.emulator_pid != first.emulator_pid
    assert not group_exists(first.emulator_pid)

    assert redrive("lab", "down", *where).returncode == 0
    assert not directory.path.exists()
    assert not any(map(group_exists, (first.mapping_pid, second.emulator_pid, second.mapping_pid)))
    assert processes_about(directory.path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [("up",), ("run", "no-poison-pill")], ids=["up", "run"])
def test_an_interrupted_start_leaves_nothing(
    directory: LabDirectory, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    command = [*COMMAND, "lab", *arguments, "--dir", str(directory.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as starting:
        emulator = eventually(lambda: directory.emulator.pid)
        eventually((directory.path / "cdk-synth.log").exists)
        starting.send_signal(number)
        out, err = starting.communicate(timeout=30)
    assert starting.returncode == 130, err
    assert out == ""
    assert "interrupted" in err
    assert not group_exists(emulator)
    assert not directory.path.exists()
    assert processes_about(directory.path) == []


def test_an_interrupted_run_stops_the_lab_it_started(directory: LabDirectory) -> None:
    command = [*COMMAND, "lab", "run", "flights", "--dir", str(directory.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        eventually(lambda: directory.running)
        state = directory.read_state()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert running.returncode == 130
    assert not any(map(group_exists, (state.emulator_pid, state.mapping_pid)))
    assert not directory.path.exists()
