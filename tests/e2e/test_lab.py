"""The lab itself: it starts and stops cleanly whatever happens, and is a cloud that any AWS client can use."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_redrive_cli.lab.directory import LabDirectory
from tests.e2e.conftest import COMMAND, Lab, eventually, redrive

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


def test_the_environment_file_serves_a_plain_boto3_client(lab: Lab) -> None:
    script = "import boto3; print(boto3.client('kinesis').list_streams()['StreamNames'])"
    shell = subprocess.run(
        ["/bin/sh", "-c", f'. "{lab.directory.env_path}" && exec "$0" -c "{script}"', COMMAND[0]],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    assert "lab-flights" in shell.stdout


PROBE = """
import os, time
class OrderRefused(Exception):
    pass
def handler(event, context):
    if event == "sleep":
        time.sleep(30)
    if event == "raise":
        raise OrderRefused("no such order")
    print("worker", os.getpid())
    return os.getpid()
"""


@pytest.fixture
def probe(lab: Lab) -> Iterator[str]:
    name = "lab-probe"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("probe.py", PROBE)
    lab.clients.lambda_.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=lab.function("CaptureRecords")["Role"],
        Handler="probe.handler",
        Code={"ZipFile": packed.getvalue()},
        Timeout=2,
    )
    yield name
    lab.clients.lambda_.delete_function(FunctionName=name)


def invoke(lab: Lab, name: str, event: str) -> Any:
    reply = lab.clients.lambda_.invoke(FunctionName=name, Payload=json.dumps(event))
    return json.loads(reply["Payload"].read())


def test_a_handler_error_names_its_class_and_keeps_the_sandbox(lab: Lab, probe: str) -> None:
    first = invoke(lab, probe, "go")
    error = invoke(lab, probe, "raise")
    assert (error["errorType"], error["errorMessage"]) == ("OrderRefused", "no such order")
    assert "raise OrderRefused" in "".join(error["stackTrace"])
    assert invoke(lab, probe, "go") == first


def test_a_timeout_ends_the_sandbox(lab: Lab, probe: str) -> None:
    first = invoke(lab, probe, "go")
    assert invoke(lab, probe, "sleep")["errorType"] == "Sandbox.Timedout"
    assert invoke(lab, probe, "go") != first


def test_what_the_local_cloudformation_drops_is_restored(lab: Lab) -> None:
    ledger = lab.state.outputs["LedgerTableName"]
    expiry = lab.clients.dynamodb.describe_time_to_live(TableName=ledger)["TimeToLiveDescription"]
    assert expiry["AttributeName"] == "expires_at"
    rules = lab.clients.s3.get_bucket_lifecycle_configuration(Bucket=lab.state.outputs["VaultBucketName"])["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"captured/", "incidents/", "quarantine/"}
    mappings = lab.clients.lambda_.list_event_source_mappings()["EventSourceMappings"]
    assert {mapping["State"] for mapping in mappings} <= {"Disabled", "Disabling"}
    assert len(mappings) > 1
