"""AWS calls and state transitions of the real handlers and the real machine, counted on moto."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.client import BaseClient

from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.core.incident import MAX_RECORDS
from tests.bench.pipeline import RECORD_BYTES
from tests.support import build
from tests.support.cloud import ENVIRONMENT, TABLE, Cloud, small_aws


@dataclass(frozen=True)
class Counted:
    """What one execution cost."""

    calls: Counter[str]
    transitions: int
    executions: int


def incident_of(records: int, notices: int, poison: int = 0) -> Counted:
    """Send the notices of failed records, of 1 KiB each in one shard, through intake and machine.

    poison: how many of the records break the policy's schema.
    """
    with pytest.MonkeyPatch.context() as monkeypatch, small_aws(monkeypatch) as cloud:
        cloud.set_policy({"default": {"decoder": "json"}})
        good, bad = b'"%s"' % (b"x" * (RECORD_BYTES - 2)), b"x" * RECORD_BYTES
        batch = cloud.produce([(f"key-{n}", bad if n < poison else good) for n in range(records)])
        size = records // notices
        messages = [_message(batch[start : start + size]) for start in range(0, records, size)]
        calls: Counter[str] = Counter()
        make = BaseClient._make_api_call

        def count(client: Any, operation: str, arguments: Any) -> Any:
            calls[f"{client.meta.service_model.endpoint_prefix}.{operation}"] += 1
            return make(client, operation, arguments)

        with pytest.MonkeyPatch.context() as counting:
            counting.setattr(BaseClient, "_make_api_call", count)
            assert cloud.call("StartRedrive", {"Records": messages}) == {"batchItemFailures": []}
            watched = Counter(calls)
            transitions, executions = _finish(cloud)
            # Watching the execution is no part of it; the machine's own invocations are its transitions.
            for watching in ("states.DescribeExecution", "states.GetExecutionHistory", "states.ListExecutions"):
                calls[watching] = watched[watching]
            del calls["lambda.Invoke"]
        return Counted(+calls, transitions, executions)


def _finish(cloud: Cloud) -> tuple[int, int]:
    stepfunctions = cloud.client("stepfunctions")
    executions = stepfunctions.list_executions(stateMachineArn=ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"])["executions"]
    for execution in executions:
        assert cloud.finished(execution["executionArn"])["status"] == "SUCCEEDED"
    return sum(len(cloud.states(execution["executionArn"])) for execution in executions), len(executions)


def _message(batch: list[build.StreamRecord]) -> dict[str, str]:
    body = build.message(
        KinesisBatchInfo__startSequenceNumber=batch[0].sequence_number,
        KinesisBatchInfo__endSequenceNumber=batch[-1].sequence_number,
        KinesisBatchInfo__batchSize=len(batch),
    )
    return {"messageId": f"m-{batch[0].sequence_number}", "eventSource": "aws:sqs", "body": body}


@dataclass(frozen=True)
class OneCase:
    """What equal records in quarantine came to. writes: to the case's own item. seconds: of quarantine and opening."""

    cases: int
    records: int
    executions: int
    writes: int
    seconds: float


def equal_records(records: int, an_incident: int = MAX_RECORDS) -> OneCase:
    """Let the real handlers quarantine records that all fail alike, incident by incident, and open their cases."""
    with pytest.MonkeyPatch.context() as monkeypatch, small_aws(monkeypatch) as cloud:
        cloud.set_policy({"default": {"default": "held"}})
        batch = cloud.produce([(f"key-{n}", b"%d" % n) for n in range(records)])
        writes, seconds = 0, 0.0
        make = BaseClient._make_api_call

        def count(client: Any, operation: str, arguments: Any) -> Any:
            nonlocal writes
            writes += sum(_case_item(action) for action in arguments.get("TransactItems", ()))
            if operation == "SendMessageBatch":
                # moto's FIFO queue looks at every message for each that comes: a night for tens of thousands.
                return {"Successful": [{"Id": entry["Id"]} for entry in arguments["Entries"]]}
            if operation == "BatchWriteItem":
                # The records' own marks: moto copies the whole table for each transaction that comes after them.
                return {"UnprocessedItems": {}}
            return make(client, operation, arguments)

        for start in range(0, records, an_incident):
            parts = range(start, min(start + an_incident, records), 100)
            incident = build.incident(*(build.notice_of(batch[n : n + 100]) for n in parts))
            event = {"incident": incident.to_input(), "execution_arn": "arn"}
            cloud.call("CaptureRecords", event)
            cloud.call("ClassifyRecords", event)
            began = time.monotonic()
            with pytest.MonkeyPatch.context() as counting:
                counting.setattr(BaseClient, "_make_api_call", count)
                cloud.call("QuarantineRecords", event)
                cloud.call("OpenCases", event)
            seconds += time.monotonic() - began
        store = DynamoCaseStore(cloud.client("dynamodb"), TABLE, LambdaClock(lambda: 1000))
        cases, _ = store.cases(every=True, limit=100, after=None)
        machine = ENVIRONMENT["CASE_STATE_MACHINE_ARN"]
        executions = cloud.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
        return OneCase(len(cases), sum(case.records for case in cases), len(executions), writes, seconds)


def _case_item(action: dict[str, Any]) -> bool:
    [written] = action.values()
    return bool(written.get("Key", written.get("Item"))["sk"]["S"] == "CASE")
