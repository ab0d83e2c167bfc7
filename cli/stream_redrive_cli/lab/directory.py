"""The lab's directory (`.lab/`): what it holds, and what the commands read from it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from stream_redrive_cli.cases.place import API_VARIABLE
from stream_redrive_cli.errors import ConfigurationError
from stream_redrive_cli.lab.processes import BackgroundProcess

REGION = "us-east-1"
ACCOUNT = "000000000000"
_MARKER = "lab.marker"


@dataclass(frozen=True)
class LabState:
    """What `lab up` leaves for the other commands: `.lab/state.json`."""

    endpoint: str
    ca_bundle: str
    access_key: str
    secret_key: str
    emulator_pid: int
    mapping_pid: int
    outputs: dict[str, str]
    config_file: str = os.devnull

    def environment(self) -> dict[str, str]:
        """Environment for any AWS client, so that it talks to the lab; and for the commands on its cases API."""
        return {
            "AWS_CONFIG_FILE": self.config_file,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": self.ca_bundle,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            **(
                {API_VARIABLE: local_api_url(self.endpoint, self.outputs["ApiUrl"])} if "ApiUrl" in self.outputs else {}
            ),
        }


def local_api_url(endpoint: str, api_url: str) -> str:
    """Where the local cloud answers for an HTTP API: "https://<id>.execute-api.…" leads out of it."""
    api_id = api_url.partition("://")[2].partition(".")[0]
    return f"{endpoint}/_aws/execute-api/{api_id}/$default"


class LabDirectory:
    """Paths and state of one lab; one lab lives in one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.state_path = self.path / "state.json"
        self.env_path = self.path / "env"
        self.config_path = self.path / "aws-config"
        self.tmp_path = self.path / "tmp"
        self.counters_path = self.path / "mapping-counters.json"
        self.certificate_path = self.path / "tls" / "server.crt"
        self.key_path = self.path / "tls" / "server.key"
        self.assembly_path = self.path / "cdk.out"
        self.emulator = BackgroundProcess(self.path, "emulator")
        self.mapping = BackgroundProcess(self.path, "mapping")

    def create(self) -> None:
        """Raises ConfigurationError when the directory is somebody else's."""
        marker = self.path / _MARKER
        if self.path.exists() and not marker.exists() and any(self.path.iterdir()):
            raise ConfigurationError(
                f"{self.path} holds files that are not the lab's: choose another directory with --dir"
            )
        for path in (self.path, self.tmp_path, self.certificate_path.parent):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
        marker.touch()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the directory for one command; raises ConfigurationError when another has it."""
        self.create()
        lock = os.open(self.path / _MARKER, os.O_RDWR)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"another lab command is at work in {self.path}: wait for it, or use another --dir"
                ) from None
            yield
        finally:
            os.close(lock)

    @property
    def exists(self) -> bool:
        return (self.path / _MARKER).exists()

    @property
    def running(self) -> bool:
        return self.state_path.exists() and self.emulator.alive and self.mapping.alive

    def write_state(self, state: LabState) -> None:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in state.environment().items()]
        self.env_path.write_text("\n".join(lines) + "\n")
        self.env_path.chmod(0o600)
        staging = self.state_path.with_suffix(".tmp")
        staging.write_text(json.dumps(asdict(state), indent=1) + "\n")
        staging.chmod(0o600)
        staging.replace(self.state_path)

    def read_state(self) -> LabState:
        """Raises ConfigurationError when no lab runs here."""
        if not self.running:
            raise ConfigurationError(f"no lab runs in {self.path}: start one with `redrive lab up`")
        return LabState(**json.loads(self.state_path.read_text()))

    def stop(self) -> None:
        """Stop what runs and remove what it left; a directory that isn't a lab's is not touched."""
        self.mapping.stop()
        self.emulator.stop()
        if self.exists:
            shutil.rmtree(self.path, ignore_errors=True)

    def start_afresh(self) -> None:
        """Stop what is left of an earlier lab and clear the directory, which stays ours."""
        self.mapping.stop()
        self.emulator.stop()
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _MARKER:
                path.unlink()
        self.create()
