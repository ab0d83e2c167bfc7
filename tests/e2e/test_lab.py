"""The lab itself is a cloud that any AWS client can use."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import COMMAND, Lab

pytestmark = pytest.mark.lab


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
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"captured/", "cases/", "incidents/", "quarantine/"}
    mappings = lab.clients.lambda_.list_event_source_mappings()["EventSourceMappings"]
    assert {mapping["State"] for mapping in mappings} <= {"Disabled", "Disabling"}
    assert len(mappings) > 1
