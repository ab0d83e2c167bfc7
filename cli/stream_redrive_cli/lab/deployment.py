"""Deploys the lab's stacks with the real CDK CLI."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import stream_redrive_cli
from stream_redrive_cli.errors import CommandError, ConfigurationError
from stream_redrive_cli.lab.directory import ACCOUNT, REGION, LabDirectory, LabState
from stream_redrive_cli.lab.processes import signal_group

DEMO_STACK = "LabDemo"
SERVICE_STACK = "StreamRedrive"
_QUIET = ["--no-notices", "--no-version-reporting", "--no-path-metadata", "--ci", "--progress", "events"]
_ERROR_LINES = 25


def cdk_cli() -> str:
    """Path of the CDK CLI: the checkout's, else the one on the PATH. Raises ConfigurationError without one."""
    checkout = Path(stream_redrive_cli.__file__).parents[2] / "cdk" / "node_modules" / ".bin" / "cdk"
    if checkout.exists():
        return str(checkout)
    if found := shutil.which("cdk", path=_search_path()):
        return found
    raise ConfigurationError(
        "the AWS CDK CLI is missing: run `make install` in a checkout of the project, or `npm install -g aws-cdk`"
    )


class Deployment:
    """One deployment of the lab's app into a local cloud that is still coming up.

    The synthesis and the bootstrap need nothing of each other: start both, then `deploy`.
    """

    def __init__(self, lab: LabDirectory, state: LabState) -> None:
        self._lab = lab
        self._cli = cdk_cli()
        self._environment = cdk_environment(lab, state)
        self._synthesis: subprocess.Popen[bytes] | None = None
        self._bootstrap: subprocess.Popen[bytes] | None = None

    def start_synthesis(self) -> None:
        app = f"{sys.executable} -m stream_redrive_cli.lab.app"
        self._synthesis = self._start(
            "synth", "synth", "--app", app, "--quiet", "--all", "--output", str(self._lab.assembly_path)
        )

    def start_bootstrap(self) -> None:
        self._bootstrap = self._start("bootstrap", "bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self, prepared: Callable[[], None]) -> dict[str, str]:
        """Finish both, say so, and deploy; returns the outputs of the service's stack. Raises CommandError."""
        assert self._synthesis is not None
        assert self._bootstrap is not None
        self._finish("synth", self._synthesis)
        self._finish("bootstrap", self._bootstrap)
        prepared()
        outputs = self._lab.path / "outputs.json"
        deploy = self._start(
            "deploy",
            "deploy",
            "--app",
            str(self._lab.assembly_path),
            "--all",
            "--require-approval",
            "never",
            "--outputs-file",
            str(outputs),
            "--asset-parallelism",
        )
        self._finish("deploy", deploy)
        found: dict[str, str] = json.loads(outputs.read_text())[SERVICE_STACK]
        return found

    def stop(self) -> None:
        """End what still runs, after an error or an interruption."""
        for process in (self._synthesis, self._bootstrap):
            if process is not None:
                _end(process)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._lab.path / f"cdk-{name}.log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - the CDK CLI with arguments of our own
                [self._cli, *arguments, *_QUIET],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # No cdk.json of the user's may speak here.
                cwd=self._lab.tmp_path,
                # So that it can be ended together with the app it runs.
                start_new_session=True,
            )

    def _finish(self, name: str, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if code:
            text = (self._lab.path / f"cdk-{name}.log").read_text("utf-8", "replace")
            tail = "\n".join(text.splitlines()[-_ERROR_LINES:])
            raise CommandError(f"`cdk {name}` failed with code {code}; the end of its output:\n{tail}")


def cdk_environment(lab: LabDirectory, state: LabState) -> dict[str, str]:
    """The user's environment less anything of AWS, CDK or Node that could lead elsewhere."""
    own: Mapping[str, str] = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "CDK_", "NODE_", "JSII_", "npm_"))
    }
    return {
        **own,
        **state.environment(),
        "PATH": _search_path(),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NODE_EXTRA_CA_CERTS": state.ca_bundle,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
        "TMPDIR": str(lab.tmp_path),
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _search_path() -> str:
    # The virtual environment carries Node.
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
