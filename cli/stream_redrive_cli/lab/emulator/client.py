"""The lab's side of the emulator: start it, ask for its call counts, switch faults on and off."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream_redrive_cli.errors import CommandError
from stream_redrive_cli.lab.directory import REGION, LabDirectory
from stream_redrive_cli.lab.emulator.faults import Fault

READY_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(lab: LabDirectory, access_key: str, secret_key: str) -> str:
    """Start the emulator in the background; returns its endpoint, which may not answer yet."""
    # Needs a package that an operator's installation doesn't have.
    from stream_redrive_cli.lab.certificate import write_certificate  # noqa: PLC0415

    write_certificate(lab.certificate_path, lab.key_path)
    port = free_port()
    lab.emulator.start(
        ["-m", "stream_redrive_cli.lab.emulator.launcher"],
        emulator_environment(lab, port, access_key, secret_key),
        cwd=lab.tmp_path,
    )
    return f"https://127.0.0.1:{port}"


def emulator_environment(lab: LabDirectory, port: int, access_key: str, secret_key: str) -> dict[str, str]:
    """Nothing of the user's own environment: the Lambda workers inherit all of it."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(lab.tmp_path),
        "TMPDIR": str(lab.tmp_path),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(lab.certificate_path),
        "MINISTACK_SSL_KEY": str(lab.key_path),
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{lab.tmp_path}/no-docker.sock",
        # The root user's key; a request signed with another is refused.
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        # For the workers: trust the emulator, read nobody's configuration, look for no instance metadata.
        "AWS_CA_BUNDLE": str(lab.certificate_path),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # There is no X-Ray daemon here.
        "POWERTOOLS_TRACE_DISABLED": "true",
    }


class EmulatorControl:
    """Talks to the control paths of the running emulator."""

    def __init__(self, endpoint: str, certificate: str | Path) -> None:
        self._endpoint = endpoint
        self._tls = ssl.create_default_context(cafile=str(certificate))

    def wait_until_ready(self, lab: LabDirectory) -> None:
        """Raises CommandError with the end of the emulator's log when it doesn't come up."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._request("GET", "/_ministack/ready")
            except OSError as error:
                if not lab.emulator.alive or time.monotonic() > deadline:
                    raise CommandError(
                        f"the local cloud did not start ({error}); the end of its log:\n{lab.emulator.log_tail()}"
                    ) from error
                time.sleep(0.05)
            else:
                return

    def calls(self) -> dict[str, dict[str, int]]:
        """AWS calls so far: caller (the function's name for a Lambda) to operation to number."""
        calls: dict[str, dict[str, int]] = self._request("GET", "/_lab/calls")
        return calls

    def struck(self) -> dict[str, int]:
        """How many calls each fault has failed."""
        struck: dict[str, int] = self._request("GET", "/_lab/faults")
        return struck

    def add_fault(self, fault: Fault) -> None:
        self._request("POST", "/_lab/faults", fault.to_json())

    def lift_fault(self, fault: Fault) -> None:
        self._request("DELETE", f"/_lab/faults/{fault.id}")

    def lift_all_faults(self) -> None:
        self._request("DELETE", "/_lab/faults")

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[Fault]:
        self.add_fault(fault)
        try:
            yield fault
        finally:
            self.lift_fault(fault)

    def peek_queue(self, queue_url: str) -> list[dict[str, Any]]:
        """Every message on a queue, in flight ones included; none of them notices."""
        query = urllib.parse.urlencode({"QueueUrl": queue_url})
        reply = self._request("GET", f"/_ministack/sqs/messages?{query}")
        return [
            message
            for regions in reply["messages"].values()
            for queues in regions.values()
            for messages in queues.values()
            for message in messages
        ]

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - always the lab's own https endpoint
            f"{self._endpoint}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, context=self._tls, timeout=10) as reply:  # noqa: S310 - see above
            return json.loads(reply.read() or b"null")
