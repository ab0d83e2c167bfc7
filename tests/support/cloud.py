"""A small AWS in process (moto): the real state machine runs the real handlers, and no wait takes time."""

import base64
import gzip
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.parse.preprocessor import Preprocessor
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from stream_redrive import bootstrap
from stream_redrive.adapters import clients, sqs
from stream_redrive.adapters.clock import LambdaClock
from tests.support import build

REGION = "us-east-1"
ACCOUNT = "123456789012"
STATE_MACHINES = Path(__file__).parents[2] / "statemachines"
STEPS = {
    "CaptureRecords": "capture_records",
    "ClassifyRecords": "classify_records",
    "QuarantineRecords": "quarantine_records",
    "OpenCases": "open_cases",
    "RedriveRecords": "redrive_records",
    "CloseIncident": "close_incident",
    "ParkIncident": "park_incident",
}
CASE_STEPS = {
    "TakeOverRecords": "take_over_records",
    "NotifyApprovers": "notify_approvers",
    "ReviewCase": "review_case",
    "RedriveChunk": "redrive_chunk",
    "ConfirmCase": "confirm_case",
    "SettleCase": "settle_case",
}
OTHERS = {"StartRedrive": "start_redrive", "SweepCases": "sweep_cases", "CasesApi": "cases_api"}
INTEGRATIONS = {"InvokeAndWaitArn": "lambda:invoke.waitForTaskToken", "GetObjectArn": "s3:getObject"}
VAULT, TABLE, QUEUE, PARAMETER, STREAM = "vault", "ledger", "poison.fifo", "/redrive/policy", "orders-stream"
ENVIRONMENT = {
    "VAULT_BUCKET": VAULT,
    "LEDGER_TABLE": TABLE,
    "POLICY_PARAMETER": PARAMETER,
    "POISON_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{QUEUE}",
    "REDRIVE_STATE_MACHINE_ARN": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:redrive",
    "CASE_STATE_MACHINE_ARN": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:case",
    "APPROVAL_TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:approvers",
    "REMINDER_GRACE_SECONDS": "120",
    "REDRIVE_SETTLE_SECONDS": "1",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "StreamRedrive",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
# What a developer's shell may carry and what would lead the clients away from moto.
FOREIGN = ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_REGION")

# One for all tests: a session reads the services' models once. It comes after moto's import, which hooks into it.
SESSION = boto3.Session()

PARSE = AmazonStateLanguageParser.parse
WAIT_FOR_TOKEN = StateTaskServiceCallback._eval_wait_for_task_token

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass
class Context:
    """A Lambda context."""

    function_name: str
    millis: int = 900_000
    memory_limit_in_mb: int = 1024
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return self.millis


@dataclass
class Cloud:
    """The cloud of one test. slept: each wait of the state machine and of the handlers, in seconds."""

    slept: list[float]
    handlers: dict[str, Handler] = field(default_factory=dict)
    contexts: dict[str, Context] = field(default_factory=dict)
    visited: list[str] = field(default_factory=list)
    waiting: dict[str, Any] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(service, region_name=REGION)
        return self._clients[service]

    # the world around the service

    def produce(self, records: Sequence[tuple[str, bytes]]) -> list[build.StreamRecord]:
        """Put records into the stream and read them back as the stream holds them."""
        kinesis = self.client("kinesis")
        entries = [{"PartitionKey": key, "Data": data} for key, data in records]
        for start in range(0, len(entries), 500):
            kinesis.put_records(StreamName=STREAM, Records=entries[start : start + 500])
        return self.stream_records()[-len(records) :]

    def stream_records(self) -> list[build.StreamRecord]:
        """Everything that the stream holds, shard by shard."""
        kinesis, found = self.client("kinesis"), []
        for shard in kinesis.list_shards(StreamName=STREAM)["Shards"]:
            iterator = kinesis.get_shard_iterator(
                StreamName=STREAM, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while page := (reply := kinesis.get_records(ShardIterator=iterator))["Records"]:
                iterator = reply["NextShardIterator"]
                found += [
                    build.StreamRecord(
                        shard["ShardId"],
                        r["SequenceNumber"],
                        r["PartitionKey"],
                        r["ApproximateArrivalTimestamp"].isoformat(),
                        r["Data"],
                    )
                    for r in page
                ]
        return found

    def set_policy(self, policy: Mapping[str, Any] | str) -> None:
        text = policy if isinstance(policy, str) else json.dumps(policy)
        self.client("ssm").put_parameter(Name=PARAMETER, Value=text, Type="String", Overwrite=True)
        bootstrap.policy_cache.cache_clear()  # a minute passes

    # the service

    def call(self, name: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a handler as Lambda does, JSON in and JSON out."""
        handler = self.handlers[name]
        context = self.contexts.get(name) or Context(name)
        result: dict[str, Any] = json.loads(json.dumps(handler(json.loads(json.dumps(event)), context)))
        return result

    def run(self, incident: build.Incident, name: str | None = None) -> dict[str, Any]:
        """Run the redrive machine on an incident; the finished execution's description."""
        arn = self.client("stepfunctions").start_execution(
            stateMachineArn=ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"],
            name=name or incident.id,
            input=json.dumps({"incident": incident.to_input()}),
        )["executionArn"]
        return self.finished(arn)

    def finished(self, arn: str) -> dict[str, Any]:
        """Wait for an execution's end."""
        wait_for(lambda: arn not in self._running(), f"{arn} doesn't end")
        execution: dict[str, Any] = self.client("stepfunctions").describe_execution(executionArn=arn)
        return execution

    def still(self) -> None:
        """Wait until every execution has ended or waits for the answer to a task."""
        wait_for(
            lambda: len(self._running()) <= sum(task.get_outcome() is None for task in list(self.waiting.values())),
            "the executions go on and on",
        )

    def _running(self) -> set[str]:
        machines = stepfunctions_parser_backends[ACCOUNT][REGION].state_machines
        found = [execution for machine in machines for execution in list(machine.executions)]
        return {execution.execution_arn for execution in found if execution.exec_status in (None, "RUNNING")}

    def end_executions(self) -> None:
        """Let executions come to their end, or end those that wait: their threads outlive the cloud otherwise."""
        self.still()
        for arn in self._running():
            self.client("stepfunctions").stop_execution(executionArn=arn)

    def forget(self) -> None:
        """End all executions, empty the queue and the ledger: moto reads or copies all of it for almost every call."""
        self.end_executions()
        for machine in stepfunctions_parser_backends[ACCOUNT][REGION].state_machines:
            machine.executions.clear()
        self.waiting.clear()
        sqs_backends[ACCOUNT][REGION].queues[QUEUE]._messages.clear()
        dynamodb_backends[ACCOUNT][REGION].tables[TABLE].items.clear()

    def states(self, arn: str) -> list[str]:
        """The names of the states that an execution entered."""
        events = self.client("stepfunctions").get_execution_history(executionArn=arn)["events"]
        return [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e]

    # what it leaves

    def poison_messages(self) -> list[dict[str, Any]]:
        """All messages of the poison queue, which keeps them."""
        queue, found = self.client("sqs"), []
        while batch := queue.receive_message(
            QueueUrl=ENVIRONMENT["POISON_QUEUE_URL"], MaxNumberOfMessages=10, VisibilityTimeout=600
        ).get("Messages"):
            found += [json.loads(message["Body"]) for message in batch]
        return found

    def lines(self, prefix: str) -> list[dict[str, Any]]:
        """The lines of all chunks below a prefix of the vault."""
        s3 = self.client("s3")
        found: list[dict[str, Any]] = []
        for entry in s3.list_objects_v2(Bucket=VAULT, Prefix=prefix).get("Contents", []):
            body = s3.get_object(Bucket=VAULT, Key=entry["Key"])["Body"].read()
            found += [json.loads(line) for line in gzip.decompress(body).splitlines()]
        return found

    def payloads(self, prefix: str) -> list[bytes]:
        return [base64.b64decode(line["data"]) for line in self.lines(prefix)]


def wait_for(condition: Callable[[], bool], otherwise: str = "it doesn't happen") -> None:
    """Wait for something that moto does on a thread, and tells nobody of."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


@contextmanager
def small_aws(monkeypatch: pytest.MonkeyPatch, shards: int = 1) -> Iterator[Cloud]:
    """The cloud with everything that the stack makes, and a stream."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    cloud = Cloud(slept=[])

    def invoke(
        self: Any, name: Any, qualifier: Any, body: Any, headers: Any, response_headers: dict[str, str]
    ) -> bytes:
        step = unquote(str(name)).split(":function:")[-1].split(":")[0]
        cloud.visited.append(step)
        try:
            return json.dumps(cloud.call(step, json.loads(body or "{}"))).encode()
        except Exception as exc:  # noqa: BLE001 - Lambda too turns every exception into a reply
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorType": type(exc).__name__, "errorMessage": str(exc), "stackTrace": []}).encode()

    # The branches of the machine run side by side, and moto's tables break when one is written while another is read.
    one_call = threading.RLock()
    make_call = BaseClient._make_api_call

    def call_alone(client: Any, operation: str, arguments: Any) -> Any:
        if operation == "Invoke":  # makes calls of its own
            return make_call(client, operation, arguments)
        with one_call:
            return make_call(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call_alone)

    def wait_for_token(task: Any, **arguments: Any) -> Any:
        endpoint = arguments["callback_endpoint"]
        cloud.waiting[endpoint.callback_id] = endpoint
        try:
            return WAIT_FOR_TOKEN(task, **arguments)
        finally:
            cloud.waiting.pop(endpoint.callback_id, None)

    monkeypatch.setattr("moto.awslambda_simple.models.LambdaSimpleBackend.invoke", invoke)
    monkeypatch.setattr(StateTaskServiceCallback, "_eval_wait_for_task_token", wait_for_token)
    parser = "moto.stepfunctions.parser.asl.component."
    monkeypatch.setattr(  # moto makes a client for each invocation
        parser + "state.exec.state_task.lambda_eval_utils.boto_client_for", lambda service, **_: cloud.client(service)
    )
    monkeypatch.setattr(AmazonStateLanguageParser, "parse", parse)
    monkeypatch.setattr(parser + "common.retry.retrier_decl.time", SimpleNamespace(sleep=cloud.slept.append))
    monkeypatch.setattr(
        parser + "state.wait.wait_function.wait_function.WaitFunction._wait_interval",
        lambda self, env, wait_seconds: cloud.slept.append(wait_seconds),
    )
    monkeypatch.setattr(LambdaClock, "sleep", lambda self, seconds: cloud.slept.append(seconds))
    monkeypatch.setattr(sqs, "LONG_POLL_SECONDS", 0)
    clear_caches()
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}):
        monkeypatch.setattr("boto3.DEFAULT_SESSION", SESSION)
        _create(cloud, shards)
        yield cloud
        cloud.end_executions()
    clear_caches()


def parse(definition: str) -> tuple[Any, Any]:
    """moto's parse, which reads the whole text anew for every execution, with the text read once."""
    tree = _tree(definition)
    return Preprocessor().visit(tree), tree


@cache
def _tree(definition: str) -> Any:
    return PARSE(definition)[1]


def clear_caches() -> None:
    """Forget the clients and the policy that a Lambda sandbox would keep."""
    for factory in (
        clients.dynamodb,
        clients.kinesis,
        clients.kinesis_once,
        clients.lambda_,
        clients.lambda_once,
        clients.logs,
        clients.s3,
        clients.sns,
        clients.sqs,
        clients.ssm,
        clients.stepfunctions,
        bootstrap.policy_cache,
        bootstrap.sources,
    ):
        factory.cache_clear()


def create_table(dynamodb: Any) -> None:
    """The ledger's table."""
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )


def _create(cloud: Cloud, shards: int) -> None:
    cloud.client("s3").create_bucket(Bucket=VAULT)
    cloud.client("kinesis").create_stream(StreamName=STREAM, ShardCount=shards)
    create_table(cloud.client("dynamodb"))
    cloud.client("sqs").create_queue(QueueName=QUEUE, Attributes={"FifoQueue": "true"})
    cloud.client("ssm").put_parameter(Name=PARAMETER, Value="{}", Type="String")
    cloud.client("sns").create_topic(Name="approvers")
    for state, module in {**STEPS, **CASE_STEPS, **OTHERS}.items():
        cloud.handlers[state] = importlib.import_module(f"stream_redrive.handlers.{module}").handler
    for name, steps in (("redrive", STEPS), ("case", CASE_STEPS)):
        definition = (STATE_MACHINES / f"{name}.asl.json").read_text()
        for state in steps:
            definition = definition.replace(f"${{{state}Arn}}", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{state}")
        for placeholder, resource in INTEGRATIONS.items():
            definition = definition.replace(f"${{{placeholder}}}", f"arn:aws:states:::{resource}")
        cloud.client("stepfunctions").create_state_machine(
            name=name, definition=definition, roleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}"
        )
