"""The `redrive policy` commands against a small AWS that has a stack of the service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stream_redrive.core.incident import Incident
from stream_redrive_cli import main as command
from tests.support.build import incident, notice_of
from tests.support.cloud import PARAMETER, REGION, TABLE, VAULT, Cloud

OUTPUTS = {"PolicyParameterName": PARAMETER, "VaultBucketName": VAULT, "LedgerTableName": TABLE}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


Redrive = Callable[..., Ended]


@pytest.fixture
def redrive(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Redrive:
    """Run the command in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["redrive", *map(str, arguments)])
        capsys.readouterr()
        code = command._exit_code()
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def service(cloud: Cloud) -> Cloud:
    """The cloud, with the service's stack in it."""
    template = {
        "Resources": {"Any": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in OUTPUTS.items()},
    }
    cloud.client("cloudformation").create_stack(StackName="StreamRedrive", TemplateBody=json.dumps(template))
    return cloud


def write(cloud: Cloud, *texts: str) -> None:
    """Write versions of the policy, as somebody does who doesn't use the command."""
    for text in texts:
        cloud.client("ssm").put_parameter(Name=PARAMETER, Value=text, Type="String", Overwrite=True)


def stored(cloud: Cloud) -> str:
    value: str = cloud.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"]
    return value


def classified(cloud: Cloud, *payloads: bytes, key: str = "k") -> Incident:
    """An incident of one failed batch a record, captured and classified by the service itself."""
    records = cloud.produce([(key, payload) for payload in payloads])
    failed = incident(*(notice_of([record]) for record in records))
    for step in ("CaptureRecords", "ClassifyRecords"):
        cloud.call(step, {"incident": failed.to_input()})
    return failed


__all__ = ["PARAMETER", "REGION", "Ended", "Redrive", "classified", "stored", "write"]
