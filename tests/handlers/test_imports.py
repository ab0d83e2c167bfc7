"""Importing a function costs nothing but the import: no client, no region, no credentials, no settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HANDLERS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "functions/stream_redrive/handlers").glob("[!_]*.py")
)
PROGRAM = """
import importlib, json, sys
import botocore.session
created = []
botocore.session.Session.create_client = lambda self, name, *_, **__: created.append(name)
module = importlib.import_module("stream_redrive.handlers." + sys.argv[1])
print(json.dumps({"created": created, "callable": callable(module.handler)}))
"""


def test_every_function_of_the_design_has_its_handler() -> None:
    assert HANDLERS == [
        "capture_records",
        "cases_api",
        "classify_records",
        "close_incident",
        "confirm_case",
        "notify_approvers",
        "open_cases",
        "park_incident",
        "quarantine_records",
        "redrive_chunk",
        "redrive_records",
        "review_case",
        "settle_case",
        "start_redrive",
        "sweep_cases",
        "take_over_records",
    ]


@pytest.mark.parametrize("handler", HANDLERS)
def test_no_client_is_made_at_import_and_no_environment_is_needed(handler: str, tmp_path: Path) -> None:
    left = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POWERTOOLS_"))}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, handler],
        env={**left, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"created": [], "callable": True}
    assert run.stderr == ""
