"""The construct works from a built wheel, in somebody else's app, without this repository."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.templates import REPOSITORY, SynthesisedStack

# Where the CDK's bindings keep what they unpacked: without it, a home of its own costs the app half a minute.
JSII_CACHE = str(Path.home() / ".cache" / "aws" / "jsii" / "package-cache")

FOREIGN_APP = """
import sys

import aws_cdk as cdk
import stream_redrive_cdk
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_lambda as lambda_
from stream_redrive_cdk import StreamRedrive

print(stream_redrive_cdk.__file__)
assert "stream_redrive" not in sys.modules
app = cdk.App(outdir=sys.argv[1])
stack = cdk.Stack(app, "Foreign")
stream = kinesis.Stream(stack, "Stream")
for name in ("Orders", "Refunds"):
    consumer = lambda_.Function(
        stack,
        name,
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler="index.handler",
        code=lambda_.Code.from_inline("def handler(event, context): pass"),
    )
    StreamRedrive(stack, f"{name}Redrive", policy={"default": {"max_attempts": 5}}).protect(
        consumer=consumer, stream=stream
    )
app.synth()
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command without the repository in reach; return what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, and nothing else, was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    python = sys.executable
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY), cwd=folder)
    [wheel] = folder.glob("*.whl")
    target = folder / "site"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel), cwd=folder)
    return target


@pytest.fixture(scope="module")
def foreign(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> SynthesisedStack:
    """A stack of somebody else's app that uses the installed construct twice."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "app.py").write_text(FOREIGN_APP)
    # The paths before the environment's own: its editable install of this repository must not win.
    printed = run(
        sys.executable,
        "app.py",
        str(folder / "out"),
        cwd=folder,
        PYTHONPATH=str(installed),
        JSII_RUNTIME_PACKAGE_CACHE_ROOT=JSII_CACHE,
    )
    assert printed.strip() == str(installed / "stream_redrive_cdk" / "__init__.py")
    template: dict[str, Any] = json.loads((folder / "out" / "Foreign.template.json").read_text())
    assets = json.loads((folder / "out" / "Foreign.assets.json").read_text())["files"].values()
    [source] = {asset["source"]["path"] for asset in assets if asset["source"]["packaging"] == "zip"}
    handlers = folder / "out" / source / "stream_redrive" / "handlers"
    assert (handlers / "capture_records.py").is_file()
    return SynthesisedStack(template=template, messages=(), depends_on=())


def test_the_wheel_carries_what_is_deployed_and_no_leftovers(installed: Path) -> None:
    assets = installed / "stream_redrive_cdk" / "assets"
    for folder in ("functions", "statemachines"):
        here, there = REPOSITORY / folder, assets / folder
        assert listing(there) == listing(here)


def listing(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_foreign_app_can_use_it_twice_in_one_stack(foreign: SynthesisedStack) -> None:
    assert len(foreign.of_type("AWS::StepFunctions::StateMachine")) == 4
    ours = [
        found
        for found in foreign.of_type("AWS::Lambda::Function").values()
        if found["Handler"].startswith("stream_redrive.handlers.")
    ]
    assert len(ours) == 32
    mappings = foreign.of_type("AWS::Lambda::EventSourceMapping").values()
    assert len([found for found in mappings if "DestinationConfig" in found]) == 2
