"""Starts and stops the lab: emulator, deployment, event source mappings."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stream_redrive.reporting import TABLE_VARIABLE
from stream_redrive_cli.errors import CommandError, ConfigurationError
from stream_redrive_cli.lab import parity, people
from stream_redrive_cli.lab.aws import LabClients
from stream_redrive_cli.lab.counters import read_counters
from stream_redrive_cli.lab.deployment import DEMO_STACK, SERVICE_STACK, Deployment
from stream_redrive_cli.lab.directory import ACCOUNT, REGION, LabDirectory, LabState
from stream_redrive_cli.lab.emulator import client as emulator
from stream_redrive_cli.lab.scenarios import SCENARIOS

_LAB_PACKAGES = ("ministack", "aws_cdk", "cryptography", "aws_lambda_powertools")
_MAPPING_READY_SECONDS = 30.0
# A failing record costs its shard this much: AWS waits longer, the lab has thousands of them to get through.
_RETRY_BASE_SECONDS = 0.02

Tell = Callable[[str], None]


def start(lab: LabDirectory, tell: Tell) -> LabState:
    """Start a lab in the directory, which the caller holds. Whatever goes wrong, nothing of it stays behind."""
    started = time.monotonic()
    deployment: Deployment | None = None
    try:
        require_packages()
        lab.start_afresh()
        access_key, secret_key = "test", "test"  # the emulator's root user
        tell("starting the local cloud and synthesising the stacks")
        endpoint = emulator.launch(lab, access_key, secret_key)
        state = LabState(
            endpoint=endpoint,
            ca_bundle=str(lab.certificate_path),
            access_key=access_key,
            secret_key=secret_key,
            emulator_pid=lab.emulator.pid or 0,
            mapping_pid=0,
            outputs={},
        )
        deployment = Deployment(lab, state)
        deployment.start_synthesis()
        emulator.EmulatorControl(endpoint, state.ca_bundle).wait_until_ready(lab)
        deployment.start_bootstrap()
        outputs = deployment.deploy(lambda: tell("deploying with the CDK CLI"))
        clients = LabClients(state)
        parity.restore(clients, [DEMO_STACK, SERVICE_STACK])
        parity.let_tasks_be_answered(clients, SERVICE_STACK)
        parity.shorten_intake(clients, outputs["IntakeQueueUrl"])
        for scenario in SCENARIOS.values():
            if not scenario.bisects:
                stream_arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{scenario.stream_name}"
                parity.switch_off_bisection(clients, stream_arn)
        switch_reports_on(clients, outputs["LedgerTableName"])
        tell("starting the event source mappings")
        start_mappings(lab, state)
        people.write_profiles(clients, lab.config_path)
        state = replace(state, config_file=str(lab.config_path), mapping_pid=lab.mapping.pid or 0, outputs=outputs)
        lab.write_state(state)
    except BaseException:
        if deployment is not None:
            deployment.stop()
        lab.stop()
        raise
    tell(f"the lab is up after {time.monotonic() - started:.0f} s: {state.endpoint}")
    return state


def switch_reports_on(clients: LabClients, ledger: str) -> None:
    """Give the consumers that report their failures the ledger's name, as the owner of a consumer does."""
    for scenario in SCENARIOS.values():
        if scenario.reports:
            configuration: Any = clients.lambda_.get_function_configuration(FunctionName=scenario.function_name)
            variables = {**configuration["Environment"]["Variables"], TABLE_VARIABLE: ledger}
            clients.lambda_.update_function_configuration(
                FunctionName=scenario.function_name, Environment={"Variables": variables}
            )


def require_packages() -> None:
    """Raises ConfigurationError when the packages are missing that only the lab needs."""
    if missing := [name for name in _LAB_PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigurationError(
            f"the lab needs {', '.join(missing)}, not installed here: pip install 'stream-redrive[lab]'"
        )


def start_mappings(lab: LabDirectory, state: LabState) -> None:
    """Start the stand-in for Lambda's pollers and wait until it reads every stream. Raises CommandError."""
    lab.counters_path.unlink(missing_ok=True)
    environment = {
        **state.environment(),
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(lab.tmp_path),
        "TMPDIR": str(lab.tmp_path),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }
    arguments = ["-m", "stream_redrive_cli.lab.mapping", "--counters", str(lab.counters_path)]
    arguments += ["--retry-base", str(_RETRY_BASE_SECONDS)]
    lab.mapping.start(arguments, environment, cwd=lab.tmp_path)
    deadline = time.monotonic() + _MAPPING_READY_SECONDS
    while (counters := read_counters(lab.counters_path)) is None or not counters.ready:
        if not lab.mapping.alive or time.monotonic() > deadline:
            raise CommandError(
                f"the event source mappings did not start; the end of their log:\n{lab.mapping.log_tail()}"
            )
        time.sleep(0.1)
