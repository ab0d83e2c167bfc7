"""Run as a program: a Lambda sandbox in which all handlers work on marked records, and which prints what Lambda logs.

Its argument names a file for a summary of what was done. It is a process of its own because Lambda sets the environment
before it imports the functions, and the tests' own process can't.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stream_redrive.adapters import kinesis
from stream_redrive.core.incident import Incident
from stream_redrive.core.records import StreamRecord
from tests.support import build
from tests.support.cloud import ENVIRONMENT, Cloud, Context, Handler, small_aws

MARK = "SECRET-OF-A-CUSTOMER"
GOOD = [(f"{MARK}-key-{n}", json.dumps({"n": n, "secret": MARK}).encode()) for n in range(4)]
POISON = [(f"{MARK}-bad", f'{{"{MARK}": "no n"}}'.encode()), (f"{MARK}-worse", f"\x00 {MARK}".encode())]


def message(body: str, number: int) -> dict[str, str]:
    return {"messageId": f"m-{number}", "eventSource": "aws:sqs", "body": body}


def notice(batch: list[StreamRecord], **fields: Any) -> str:
    return build.message(
        KinesisBatchInfo__startSequenceNumber=batch[0].sequence_number,
        KinesisBatchInfo__endSequenceNumber=batch[-1].sequence_number,
        KinesisBatchInfo__batchSize=fields.get("size", len(batch)),
    )


def one_at_a_time(cloud: Cloud) -> list[str]:
    """Keep what runs side by side apart: on AWS each function has a logger and metrics of its own.

    Returns:
        the names of the functions that have run, as they end.
    """
    turn = threading.Lock()
    ended: list[str] = []

    def alone(name: str, handler: Handler) -> Handler:
        def wait_and_run(event: dict[str, Any], context: Any) -> dict[str, Any]:
            with turn:
                result = handler(event, context)
                ended.append(name)
                return result

        return wait_and_run

    cloud.handlers = {name: alone(name, handler) for name, handler in cloud.handlers.items()}
    return ended


def cases_that_wait(cloud: Cloud, ended: list[str]) -> list[str]:
    """The cases that were opened, once their approvers have been told."""
    executions = cloud.client("stepfunctions").list_executions(stateMachineArn=ENVIRONMENT["CASE_STATE_MACHINE_ARN"])
    names = [execution["name"] for execution in executions["executions"]]
    deadline = time.monotonic() + 60
    while ended.count("NotifyApprovers") < len(names):
        assert time.monotonic() < deadline, "the approvers are not told"
        time.sleep(0.02)  # moto runs the executions on threads and tells nobody how far they are
    return names


def run(cloud: Cloud) -> dict[str, Any]:
    """What a day brings: healed, poison, ambiguous, expired and unreadable records, and messages that are none."""
    ended = one_at_a_time(cloud)
    cloud.set_policy({"default": {"decoder": "json", "schema": {"required": ["n"]}}})
    batch = cloud.produce([*GOOD, *POISON])
    ambiguous = cloud.produce(GOOD)
    failing = {"requestPayload": {"secret": MARK}, "responsePayload": {"errorMessage": MARK}}
    bodies = [
        notice(batch),
        notice(ambiguous, size=3),
        build.message(
            KinesisBatchInfo__startSequenceNumber="900",
            KinesisBatchInfo__endSequenceNumber="901",
            KinesisBatchInfo__batchSize=2,
        ),
        json.dumps({**build.invocation_record(), "KinesisBatchInfo": None, "payload": MARK}),
        json.dumps(failing),
        f"{MARK} is no JSON",
        f'"{MARK}"',
        "",
    ]
    started = cloud.call("StartRedrive", {"Records": [message(body, n) for n, body in enumerate(bodies)]})
    machine = ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"]
    stepfunctions = cloud.client("stepfunctions")
    arns = [e["executionArn"] for e in stepfunctions.list_executions(stateMachineArn=machine)["executions"]]
    finished = [cloud.finished(arn) for arn in arns]
    cases = cases_that_wait(cloud, ended)
    parked = build.incident(build.notice_of(batch))
    failure = {"Error": "ServiceBusy", "Cause": "kinesis:GetRecords"}
    cloud.call("ParkIncident", {"incident": parked.to_input(), "failure": failure, "execution_arn": arns[0]})
    cloud.set_policy(f'{{"default": {{"decoder": "{MARK}"}}}}')
    short = build.incident(*(build.notice_of([record]) for record in cloud.produce(GOOD)))
    unfinished = run_with_little_time(cloud, short)
    return {
        "incidents": [e["name"] for e in finished] + [parked.id, short.id],
        "cases": cases,
        "statuses": [e["status"] for e in finished],
        "failed": [entry["itemIdentifier"] for entry in started["batchItemFailures"]],
        "unfinished": unfinished,
    }


def run_with_little_time(cloud: Cloud, incident: Incident) -> list[bool]:
    """Run two steps once too short and once as long as they need; whether they said that there is more to do."""
    event = {"incident": incident.to_input(), "target": "stream"}
    unfinished = []
    for step in ("CaptureRecords", "ClassifyRecords", "RedriveRecords"):
        if step != "ClassifyRecords":
            cloud.contexts[step] = Context(step, millis=30_000)
            unfinished.append(cloud.call(step, event)["more"])
            del cloud.contexts[step]
        cloud.call(step, event)
    return unfinished


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as monkeypatch, small_aws(monkeypatch) as small_cloud:
        monkeypatch.setattr(kinesis, "MAX_PAGE", 2)
        summary = run(small_cloud)
    Path(sys.argv[1]).write_text(json.dumps(summary))
