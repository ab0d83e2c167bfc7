"""The crash sweep: every AWS call of every step is cut once, and the promise still holds at the end.

Cut before: the run is killed and the call was never made. Cut after: the call took effect, then the run is killed.
Answer lost: the call took effect, and the run is told that nobody answered. The step then runs again, as the state
machine (or, for StartRedrive, the queue) lets it.

A kill at a call that only reads leaves what a kill before the next write, or after the last one, leaves: of such calls
only the answer is lost, once for each line of the core that asks, since the core may take that for an answer.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ReadTimeoutError

from stream_redrive import bootstrap
from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.core import chunks, packing, sending
from stream_redrive.core.notices import format_time
from tests.support import build
from tests.support.cloud import ACCOUNT, ENVIRONMENT, STREAM, TABLE, Cloud, small_aws

POISON = {1: b"\x00 not JSON", 6: b"\xff nor this"}
RECORDS = 8  # two chunks and two PutRecords calls, with the limits below
CHUNK_RECORDS = 5
CALL_RECORDS = 4
CUTS = ("before", "after", "answer lost")
READS = ("Get", "BatchGet", "Query", "List", "Describe", "Filter")
CORE = str(Path(sending.__file__).parent)
IN_MACHINE = (
    "CaptureRecords",
    "ClassifyRecords",
    "QuarantineRecords",
    "OpenCases",
    "RedriveRecords",
    "CloseIncident",
)


class Killed(BaseException):
    """The sandbox is gone; no code of the function runs any more."""


class Scissors:
    """Counts the AWS calls of one step's runs and cuts the nth of them."""

    def __init__(self, step: str, how: str = "before") -> None:
        self.step = step
        self.calls: list[str] = []
        self._askers: list[Any] = []
        self._how = how
        self._cut_at: int | None = None
        self.cuts = 0
        self._here = threading.local()  # the branches of the machine run side by side

    def cut_next(self, index: int) -> None:
        """Count anew, and cut the call of this index."""
        self.calls, self._askers, self._cut_at, self.cuts = [], [], index, 0

    def worthwhile(self) -> dict[int, str]:
        """The calls so far that are worth a cut: index and operation."""
        chosen: dict[int, str] = {}
        known = set()
        for index, (operation, asker) in enumerate(zip(self.calls, self._askers, strict=True)):
            if operation.startswith(READS):
                if self._how != "answer lost" or asker in known:
                    continue
                known.add(asker)
            chosen[index] = operation
        return chosen or {0: self.calls[0]}

    def around(self, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def run(event: Any, context: Any) -> Any:
            self._here.inside = True
            try:
                return handler(event, context)
            except Killed as exc:
                raise type("Lambda.Unknown", (Exception,), {})("the sandbox was killed") from exc
            finally:
                self._here.inside = False

        return run

    def call(self, make: Callable[..., Any], client: Any, operation: str, arguments: Any) -> Any:
        if not getattr(self._here, "inside", False):
            return make(client, operation, arguments)
        self.calls.append(operation)
        self._askers.append((operation, *lines_of_the_core()))
        if len(self.calls) - 1 != self._cut_at:
            return make(client, operation, arguments)
        self.cuts += 1
        if self._how == "before":
            raise Killed
        make(client, operation, arguments)
        if self._how == "after":
            raise Killed
        raise ReadTimeoutError(endpoint_url=operation)


def lines_of_the_core() -> Iterator[tuple[str, int]]:
    """Where in the core we are, from the inside to the outside."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(CORE):
            yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


@contextmanager
def cloud_with(scissors: Scissors) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as monkeypatch, small_aws(monkeypatch, shards=2) as cloud:
        monkeypatch.setattr(chunks, "MAX_RECORDS", CHUNK_RECORDS)
        monkeypatch.setattr(sending, "pack", partial(packing.pack, max_records=CALL_RECORDS))
        cloud.set_policy({"default": {"decoder": "json", "backoff": {"base_seconds": 0, "max_seconds": 0}}})
        make = BaseClient._make_api_call
        monkeypatch.setattr(
            BaseClient,
            "_make_api_call",
            lambda client, operation, arguments: scissors.call(make, client, operation, arguments),
        )
        cloud.handlers[scissors.step] = scissors.around(cloud.handlers[scissors.step])
        yield cloud


def produce(cloud: Cloud) -> list[build.StreamRecord]:
    """Records of one shard, the poison ones among them; some payloads and keys are the same."""
    payloads = [POISON.get(n, b'{"n": %d}' % (n // 2)) for n in range(RECORDS)]
    return cloud.produce([("one key", payload) for payload in payloads])


def run_to_the_end(cloud: Cloud, batch: list[build.StreamRecord]) -> str:
    """Run the incident of the batch; where its chunks lie, below "captured/" and "quarantine/"."""
    half = len(batch) // 2
    incident = build.incident(
        *(build.notice_of(part) for part in (batch[:half], batch[half:])),
        shard=build.ShardRef(build.Source.KINESIS, build.CONSUMER, build.STREAM_ARN, batch[0].shard_id),
    )
    execution = cloud.run(incident)
    assert execution["status"] == "SUCCEEDED", execution
    output = json.loads(execution["output"])
    assert output["verdicts"] == {"transient": RECORDS - len(POISON), "poison": len(POISON), "held": 0}
    assert output["redrive"]["sent"] == RECORDS - len(POISON)
    assert output["quarantine"]["records"] == len(POISON)
    assert_in_exactly_one_case(cloud, incident, output["quarantine"]["cases"])
    return chunks.VaultKeys(incident).captured.removeprefix("captured/")


def assert_in_exactly_one_case(cloud: Cloud, incident: build.Incident, cases: list[str]) -> None:
    """Object, pieces, counts and messages agree, and each case has been handed to its workflow."""
    store = DynamoCaseStore(cloud.client("dynamodb"), TABLE, LambdaClock(lambda: 1000))
    prefix = chunks.VaultKeys(incident).quarantine_chunk(0).removesuffix("00000.ndjson.gz")
    named = Counter(line["case_id"] for line in cloud.lines(prefix))
    assert sorted(named) == cases
    assert set(store.joined(incident.id).values()) == set(cases)
    pieces = {name: store.pieces(name) for name in cases}
    ours = {name: sum(len(p.lines) for p in found if p.incident_id == incident.id) for name, found in pieces.items()}
    assert ours == named
    for name, found in pieces.items():
        case = store.case(name)
        assert case is not None
        assert case.records == sum(len(piece.lines) for piece in found)
        assert case.revision == sum(event.kind in ("opened", "joined") for event in store.events(name))
    assert not store.hand_overs()
    executions = cloud.client("stepfunctions").list_executions(stateMachineArn=ENVIRONMENT["CASE_STATE_MACHINE_ARN"])
    assert set(cases) <= {execution["name"] for execution in executions["executions"]}


Places = set[tuple[str, str]]


def assert_nothing_lost_and_nothing_twice(
    cloud: Cloud, batch: list[build.StreamRecord], before: Places, path: str
) -> None:
    """before: what the stream held before the batch came; becomes what it holds now. path: of the incident's chunks."""
    places = [(r.shard_id, r.sequence_number) for r in batch]
    poison = [places[n] for n in POISON]
    for prefix, expected in (("captured/", places), ("quarantine/", poison)):
        assert [(line["shard_id"], line["sequence_number"]) for line in cloud.lines(prefix + path)] == expected
    assert cloud.payloads("quarantine/" + path) == list(POISON.values())
    queued = Counter(m["record"]["lineage"]["origin"]["sequence_number"] for m in cloud.poison_messages())
    assert queued == Counter(number for _, number in poison)
    copies = [r for r in cloud.stream_records() if (r.shard_id, r.sequence_number) not in before.union(places)]
    before.update(places, ((r.shard_id, r.sequence_number) for r in copies))
    assert Counter(r.data for r in copies) == Counter(r.data for r in batch if r.data not in POISON.values())
    lineages = ledger_items(cloud, [(r.shard_id, r.sequence_number) for r in copies], "LINEAGE")
    assert [lineage["attempt"]["N"] for lineage in lineages.values()] == ["1"] * len(copies)
    origins = Counter((i["origin_shard"]["S"], i["origin_sequence"]["S"]) for i in lineages.values())
    assert origins == Counter(place for place in places if place not in poison)
    assert ledger_items(cloud, places, "QUARANTINE").keys() == set(poison)


def ledger_items(cloud: Cloud, places: list[tuple[str, str]], kind: str) -> dict[tuple[str, str], Any]:
    """What the ledger holds of this kind about the records of these places."""
    keys = {f"RECORD#{STREAM}#{shard}#{number}": (shard, number) for shard, number in places}
    wanted = {TABLE: {"Keys": [{"pk": {"S": pk}, "sk": {"S": kind}} for pk in keys]}}
    found = cloud.client("dynamodb").batch_get_item(RequestItems=wanted)["Responses"][TABLE]
    return {keys[item["pk"]["S"]]: item for item in found}


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("step", IN_MACHINE)
def test_each_step_survives_a_cut_at_each_of_its_calls(step: str, how: str) -> None:
    scissors = Scissors(step, how)
    with cloud_with(scissors) as cloud:
        check_one_incident(cloud, before := set())
        for index, operation in scissors.worthwhile().items():
            cloud.forget()
            # Records that open a case, then records that join it.
            for _ in range(2 if step == "QuarantineRecords" else 1):
                scissors.cut_next(index)
                try:
                    check_one_incident(cloud, before)
                except AssertionError as exc:
                    raise AssertionError(f"cut {how} call {index} of {step}, {operation}: {exc}") from exc
                assert scissors.cuts or len(scissors.calls) <= index, f"call {index} of {step} was not cut"


@pytest.mark.parametrize("how", CUTS)
def test_the_classification_survives_a_cut_while_it_asks_for_evidence(how: str) -> None:
    scissors = Scissors("ClassifyRecords", how)
    with cloud_with(scissors) as cloud:
        let_the_consumer_log(cloud)
        for index in range(20):
            bootstrap.sources.cache_clear()  # another sandbox: it asks for everything again
            scissors.cut_next(index)
            check_an_incident_with_strangers(cloud, f"request-{index}")
            if not scissors.cuts:
                break
        assert {"GetFunctionConfiguration", "FilterLogEvents", "ListEventSourceMappings"} <= set(scissors.calls)


def let_the_consumer_log(cloud: Cloud) -> None:
    cloud.client("iam").create_role(RoleName="orders", AssumeRolePolicyDocument="{}")
    cloud.client("lambda").create_function(
        FunctionName="orders",
        Runtime="python3.13",
        Handler="index.handler",
        Role=f"arn:aws:iam::{ACCOUNT}:role/orders",
        Code={"ZipFile": b"no code runs here"},
    )
    cloud.client("logs").create_log_group(logGroupName="/aws/lambda/orders")


def check_an_incident_with_strangers(cloud: Cloud, request_id: str) -> None:
    """Run an incident of a batch whose range holds a stranger, and which left a line in the consumer's log."""
    logs, at = cloud.client("logs"), datetime.now(UTC)
    logs.create_log_stream(logGroupName="/aws/lambda/orders", logStreamName=request_id)
    lines = [f"START RequestId: {request_id} Version: 1", "[ERROR] TooManyRequestsException: wait"]
    events = [{"timestamp": int(at.timestamp() * 1000), "message": line} for line in lines]
    logs.put_log_events(logGroupName="/aws/lambda/orders", logStreamName=request_id, logEvents=events)
    batch = cloud.produce([("one key", b'{"n": %d}' % number) for number in range(3)])
    shard = build.ShardRef(build.Source.KINESIS, build.CONSUMER, build.STREAM_ARN, batch[0].shard_id)
    notice = build.notice_of([batch[0], batch[2]], request_id=request_id, failed_at=format_time(at))
    execution = cloud.run(build.incident(notice, shard=shard))
    assert execution["status"] == "SUCCEEDED", execution
    output = json.loads(execution["output"])
    assert (output["verdicts"]["transient"], output["capture"]["strangers"]) == (2, 1)
    assert output["redrive"]["sent"] == 2
    assert (output["verdicts"]["held"], output["quarantine"]["records"]) == (0, 0)


def check_one_incident(cloud: Cloud, before: Places) -> None:
    batch = produce(cloud)
    path = run_to_the_end(cloud, batch)
    assert_nothing_lost_and_nothing_twice(cloud, batch, before, path)


@pytest.mark.parametrize("how", CUTS)
def test_the_start_survives_a_cut_at_each_of_its_calls(how: str) -> None:
    for notices in (1, 150):
        for index in range(2 if notices > 100 else 1):
            with cloud_with(scissors := Scissors("StartRedrive", how)) as cloud:
                scissors.cut_next(index)
                batch = cloud.produce([("one key", b"%d" % n) for n in range(notices)])
                event = {"Records": [message_of(record) for record in batch]}
                arns = start_until_taken(cloud, event)
                assert len(arns) == 1
                assert cloud.finished(arns[0])["status"] == "SUCCEEDED"
                assert len(cloud.payloads("captured/")) == notices


def message_of(record: build.StreamRecord) -> dict[str, str]:
    body = build.message(
        KinesisBatchInfo__startSequenceNumber=record.sequence_number,
        KinesisBatchInfo__endSequenceNumber=record.sequence_number,
        KinesisBatchInfo__batchSize=1,
        KinesisBatchInfo__shardId=record.shard_id,
    )
    return {"messageId": f"m-{record.sequence_number}", "eventSource": "aws:sqs", "body": body}


def start_until_taken(cloud: Cloud, event: dict[str, Any]) -> list[str]:
    """Deliver messages as the queue does, until none is left."""
    for _ in range(5):
        try:
            failed = {f["itemIdentifier"] for f in cloud.call("StartRedrive", event)["batchItemFailures"]}
        except Exception:  # noqa: BLE001 - the queue doesn't ask why either
            continue
        event = {"Records": [r for r in event["Records"] if r["messageId"] in failed]}
        if not failed:
            break
    executions = cloud.client("stepfunctions").list_executions(
        stateMachineArn=ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"]
    )["executions"]
    return [execution["executionArn"] for execution in executions]


def test_the_parking_survives_a_cut() -> None:
    for how in CUTS:
        with cloud_with(scissors := Scissors("ParkIncident", how)) as cloud:
            scissors.cut_next(0)
            shard = build.ShardRef(build.Source.DYNAMODB, build.CONSUMER, build.TABLE_STREAM_ARN, "shardId-1")
            execution = cloud.run(build.incident(build.notice("1", "2", 2), shard=shard))
            assert execution["error"] == "IncidentParked"
            assert [m["schema"] for m in cloud.poison_messages()] == ["stream-redrive.parked/1"]
