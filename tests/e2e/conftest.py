"""One lab for the whole suite, driven as a user drives it: by the command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from stream_redrive_cli.lab.aws import LabClients
from stream_redrive_cli.lab.deployment import SERVICE_STACK
from stream_redrive_cli.lab.directory import LabDirectory, LabState
from stream_redrive_cli.lab.emulator.client import EmulatorControl

T = TypeVar("T")
COMMAND = [sys.executable, "-m", "stream_redrive_cli.main"]


def redrive(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def eventually(probe: Callable[[], T | None], seconds: float = 60) -> T:
    """What the probe finds; fails when it finds nothing in time."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


@dataclass
class Lab:
    """The running lab."""

    directory: LabDirectory
    state: LabState
    clients: LabClients
    control: EmulatorControl

    def run(self, scenario: str, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report of a scenario."""
        done = redrive("lab", "run", scenario, "--output", "json", "--dir", str(self.directory.path), *options)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if not report["ok"]:
            print(done.stderr)  # noqa: T201 - shown by pytest when the test fails
        return done.returncode, report

    def function(self, construct: str) -> dict[str, Any]:
        """The configuration of one of the service's functions, by its construct's id."""
        pages = self.clients.cloudformation.get_paginator("list_stack_resources").paginate(StackName=SERVICE_STACK)
        for page in pages:
            for resource in page["StackResourceSummaries"]:
                is_function = resource["ResourceType"] == "AWS::Lambda::Function"
                if is_function and f"Functions{construct}" in resource["LogicalResourceId"]:
                    name = resource["PhysicalResourceId"]
                    return dict(self.clients.lambda_.get_function_configuration(FunctionName=name))
        raise LookupError(construct)

    def messages(self, queue_url: str, since: float = 0) -> list[dict[str, Any]]:
        """Bodies on a queue; nothing is taken from it."""
        return [
            json.loads(message["Body"])
            for message in self.control.peek_queue(queue_url)
            if message["SentTimestamp"] >= int(since)
        ]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = LabDirectory(tmp_path_factory.mktemp("lab") / ".lab")
    started = redrive("lab", "up", "--dir", str(directory.path))
    try:
        assert started.returncode == 0, started.stderr
        state = directory.read_state()
        yield Lab(directory, state, LabClients(state), EmulatorControl(state.endpoint, state.ca_bundle))
    finally:
        directory.stop()
