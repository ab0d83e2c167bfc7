"""The runner: mappings come, change and go; the counters tell how they fare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_lambda import LambdaClient

from stream_redrive_cli.lab.mapping.runner import Clients, MappingRunner
from tests.unit.lab_mapping.support import (
    AT_ONCE,
    FUNCTION_ARN,
    ROLE_ARN,
    STREAM_ARN,
    FakeLambda,
    client_error,
    eventually,
)

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:intake"
STREAM = {
    "UUID": "stream-mapping",
    "FunctionArn": FUNCTION_ARN,
    "EventSourceArn": STREAM_ARN,
    "State": "Disabled",
    "BatchSize": 100,
    "StartingPosition": "LATEST",
}
QUEUE = {
    "UUID": "queue-mapping",
    "FunctionArn": FUNCTION_ARN + ":live",
    "EventSourceArn": QUEUE_ARN,
    "State": "Disabled",
    "BatchSize": 10,
}


class FakeLambdaApi(FakeLambda):
    """A function, and the mappings deployed for it."""

    def __init__(self, *mappings: dict[str, Any]) -> None:
        super().__init__(lambda _: None)
        self.mappings = list(mappings)
        self.failures: list[Exception] = []
        self.looks = 0

    def get_paginator(self, operation: str) -> FakeLambdaApi:
        assert operation == "list_event_source_mappings"
        return self

    def paginate(self) -> list[dict[str, Any]]:
        self.looks += 1
        if self.failures:
            raise self.failures.pop()
        return [{"EventSourceMappings": list(self.mappings)}]

    def get_function_configuration(self, **_: str) -> dict[str, str]:
        return {"Role": ROLE_ARN}


class Lab:
    """A runner at work on a stream and a queue in moto."""

    def __init__(self, api: FakeLambdaApi, path: Path) -> None:
        self.api = api
        self.path = path
        self.session = boto3.session.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        clients = Clients.of(self.session)
        self.kinesis, self.queues = clients.kinesis, clients.queues
        self.clients = Clients(
            cast(LambdaClient, api), clients.kinesis, clients.dynamodb_streams, clients.queues, clients.topics
        )

    @property
    def counters(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.path.read_text())) if self.path.exists() else {}

    def entry(self, uuid: str) -> dict[str, Any]:
        entries = self.counters.get("mappings", [])
        return next((entry for entry in entries if entry["uuid"] == uuid), {})

    def put(self, data: bytes) -> None:
        self.kinesis.put_record(StreamName="flights", Data=data, PartitionKey="k")

    @contextmanager
    def running(self, **options: Any) -> Iterator[None]:
        stop = threading.Event()
        runner = MappingRunner(
            self.clients,
            counters_path=self.path,
            backoff=AT_ONCE,
            look_seconds=0.05,
            write_seconds=0.02,
            **options,
        )
        before = set(threading.enumerate())
        thread = threading.Thread(target=runner.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert set(threading.enumerate()) <= before


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        lab = Lab(FakeLambdaApi(STREAM, QUEUE), tmp_path / "counters.json")
        lab.kinesis.create_stream(StreamName="flights", ShardCount=1)
        lab.queues.create_queue(QueueName="intake")
        yield lab


def test_counters_tell_when_all_is_ready_and_settled(lab: Lab) -> None:
    with lab.running():
        eventually(lambda: bool(lab.counters.get("ready")))
        lab.put(b"{}")
        lab.queues.send_message(QueueUrl=lab.queues.get_queue_url(QueueName="intake")["QueueUrl"], MessageBody="x")
        put_at = time.time()
        eventually(
            lambda: (
                bool(lab.counters.get("idle"))
                and all(entry["settled_until"] > put_at for entry in lab.counters["mappings"])
            )
        )
    counters = lab.counters
    assert counters["schema"] == "stream-redrive.mapping-counters/1"
    assert counters["pid"] == os.getpid()
    by_uuid = {entry["uuid"]: entry for entry in counters["mappings"]}
    assert by_uuid["stream-mapping"]["kind"] == "stream"
    assert by_uuid["queue-mapping"]["kind"] == "queue"
    assert by_uuid["stream-mapping"]["counts"]["delivered"] == 1
    assert by_uuid["queue-mapping"]["counts"]["delivered"] == 1


def test_enabled_mapping_is_left_to_the_cloud(lab: Lab) -> None:
    lab.api.mappings = [{**STREAM, "State": "Enabled"}, QUEUE]
    with lab.running():
        eventually(lambda: bool(lab.counters.get("ready")))
        assert not lab.entry("stream-mapping")


def test_only_functions_of_the_given_prefixes(lab: Lab) -> None:
    lab.api.mappings.append({**STREAM, "UUID": "other", "FunctionArn": FUNCTION_ARN.replace("consumer", "other")})
    with lab.running(function_prefixes=["cons"]):
        eventually(lambda: bool(lab.counters.get("ready")))
        assert {entry["uuid"] for entry in lab.counters["mappings"]} == {"stream-mapping", "queue-mapping"}


def test_changed_mapping_goes_on_where_it_stood(lab: Lab) -> None:
    lab.api.mappings = [STREAM]
    lab.put(b"before")
    with lab.running():
        eventually(lambda: bool(lab.counters.get("ready")))
        lab.put(b"1")
        eventually(lambda: lab.entry("stream-mapping")["counts"]["delivered"] == 1)
        lab.api.mappings = [{**STREAM, "BatchSize": 1}]
        eventually(lambda: lab.entry("stream-mapping")["counts"]["delivered"] == 0)  # a poller of its own
        lab.put(b"2")
        lab.put(b"3")
        eventually(lambda: lab.entry("stream-mapping")["counts"]["delivered"] == 2)
    assert [[r["kinesis"]["data"] for r in event["Records"]] for event in lab.api.events] == [
        ["MQ=="],
        ["Mg=="],
        ["Mw=="],
    ]


def test_deleted_mapping_stops(lab: Lab) -> None:
    with lab.running():
        eventually(lambda: bool(lab.counters.get("ready")))
        lab.api.mappings = [QUEUE]
        eventually(lambda: not lab.entry("stream-mapping"))


def test_unusable_mapping_is_named_and_the_others_work(lab: Lab) -> None:
    lab.api.mappings = [{**STREAM, "BatchSize": 0}, QUEUE]
    with lab.running():
        eventually(lambda: bool(lab.entry("queue-mapping").get("ready")))
        assert lab.entry("stream-mapping")["error"] == "BatchSize is 0: AWS allows 1 to 10000"
        assert not lab.counters["ready"]


def test_mapping_changed_into_something_unusable_goes_on_as_it_was(lab: Lab) -> None:
    lab.api.mappings = [STREAM]
    with lab.running():
        eventually(lambda: bool(lab.counters.get("ready")))
        lab.api.mappings = [{**STREAM, "BatchSize": 0}]
        eventually(lambda: bool(lab.entry("stream-mapping")["error"]))
        lab.put(b"1")
        eventually(lambda: lab.entry("stream-mapping")["counts"]["delivered"] == 1)


def test_cloud_that_does_not_answer_is_waited_for(lab: Lab) -> None:
    lab.api.failures = [client_error("ServiceException")] * 3
    with lab.running():
        eventually(lambda: bool(lab.counters.get("ready")))


def test_without_any_mapping_nothing_is_ready(lab: Lab) -> None:
    lab.api.mappings = []
    with lab.running():
        eventually(lambda: lab.api.looks > 1)
        assert (lab.counters["ready"], lab.counters["idle"]) == (False, False)


def test_sigterm_ends_the_program_with_its_counters_written(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody answers: discovery has to be survived, too
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "stream_redrive_cli.lab.mapping", "--counters", str(path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as program:
        eventually(path.exists)
        program.send_signal(signal.SIGTERM)
        _, messages = program.communicate(timeout=20)
    assert program.returncode == 0
    assert json.loads(path.read_text())["ready"] is False
    assert b"can't list event source mappings" in messages
