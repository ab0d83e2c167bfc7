"""The policy's commands against the lab, as after `source .lab/env`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import COMMAND, Lab

pytestmark = pytest.mark.lab


def policy(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [*COMMAND, "policy", *arguments],
        env={**environment, **lab.state.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def data(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def stored(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """The policy that the lab has, as a file; it is put back afterwards."""
    shown = policy(lab, "show")
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "stored.json"
    file.write_text(shown.stdout)
    yield file
    assert policy(lab, "set", str(file), "--yes", "--reason", "as it was").returncode == 0


def test_a_change_is_written_shown_and_taken_back(lab: Lab, stored: Path, tmp_path: Path) -> None:
    before = data(policy(lab, "show", "--output", "json"))
    changed = json.loads(stored.read_text())
    changed["consumers"]["nobody"] = {"max_attempts": 7}
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed))

    assert policy(lab, "set", str(file), "--reason", "a trial").returncode == 252, "nobody was asked"
    done = data(policy(lab, "set", str(file), "--reason", "a trial", "--yes", "--output", "json"))
    assert done["changes"] == [{"field": "consumers.nobody.max_attempts", "after": 7}]
    assert done["version"] == before["version"] + 1

    after = data(policy(lab, "show", "--output", "json"))
    assert (after["version"], after["reason"], after["valid"]) == (done["version"], "a trial", True)
    assert after["written_by"].startswith("arn:aws:iam:")
    effective = data(policy(lab, "show", "--consumer", "nobody", "--output", "json"))
    assert effective["fields"]["max_attempts"] == {"value": 7, "from": "consumers.nobody"}
    assert policy(lab, "show", "--version", str(before["version"])).stdout == stored.read_text()


def test_a_past_incident_is_tried_and_nothing_happens_to_it(lab: Lab, stored: Path, tmp_path: Path) -> None:
    started = datetime.now(UTC)
    code, _ = lab.run("data-checks")
    assert code == 0
    outputs = lab.state.outputs
    ended = lab.clients.stepfunctions.list_executions(
        stateMachineArn=outputs["RedriveStateMachineArn"], statusFilter="SUCCEEDED"
    )["executions"]
    incidents = [execution["name"] for execution in ended if execution["startDate"] >= started]
    everything = tmp_path / "everything.json"
    held = {"rules": [{"id": "all", "when": {"condition": "*"}, "then": "held", "reason": "a trial"}]}
    everything.write_text(json.dumps({"default": held}))

    def vault() -> set[tuple[str, str]]:
        pages = lab.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=outputs["VaultBucketName"])
        return {(entry["Key"], entry["ETag"]) for page in pages for entry in page.get("Contents", [])}

    kept, judged = vault(), 0
    for incident in incidents:
        same = data(policy(lab, "test", str(stored), "--incident", incident, "--output", "json"))
        assert same["changes"] == [], "the policy that gave the verdicts changes none"
        other = data(policy(lab, "test", str(everything), "--incident", incident, "--output", "json"))
        assert sum(row["held"] for row in other["matrix"].values()) == other["records"] == same["records"]
        judged += other["records"]
    assert judged
    assert vault() == kept
