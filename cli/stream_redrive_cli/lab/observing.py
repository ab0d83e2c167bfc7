"""Reads at the end of a run what the cloud holds: vault, sink, stream, ledger, poison queue, executions."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stream_redrive_cli.lab.accounting import ChunkLine, MissingRange, Observation, Place, StreamRecord
from stream_redrive_cli.lab.aws import LabClients
from stream_redrive_cli.lab.emulator.client import EmulatorControl
from stream_redrive_cli.lab.scenarios import Scenario
from stream_redrive_cli.lab.transitions import count_transitions

# The clocks of the lab and of the emulator are one; S3 listings have whole seconds.
_LISTING_TOLERANCE = timedelta(seconds=2)
_BATCH_GET_LIMIT = 100


@dataclass(frozen=True)
class Execution:
    """An execution of the redrive machine. `output` is empty unless it succeeded."""

    arn: str
    status: str
    shard_id: str
    output: Mapping[str, Any]
    transitions: int


@dataclass(frozen=True)
class PoisonMessage:
    schema: str
    body: Mapping[str, Any]


class Observer:
    """Looks at what one run of a scenario left behind; everything it finds is of `since` or later."""

    def __init__(
        self,
        clients: LabClients,
        control: EmulatorControl,
        outputs: Mapping[str, str],
        scenario: Scenario,
        since: datetime,
    ) -> None:
        self._clients = clients
        self._control = control
        self._outputs = outputs
        self._scenario = scenario
        self._since = since
        self._finished: dict[str, Execution | None] = {}

    def observe(self, produced: Iterable[Place]) -> Observation:
        own = set(produced)
        spelled = {record.place: (record, number) for record, number in self._stream_records()}
        copies = [record for record, _ in spelled.values() if record.place not in own]
        return Observation(
            captured=list(self._chunk_lines("captured/")),
            quarantined=list(self._chunk_lines("quarantine/")),
            sink=self.sink(),
            copies=copies,
            lineage=self._lineage({copy.place: spelled[copy.place][1] for copy in copies}),
            missing=[gap for execution in self.executions() for gap in self._missing(execution)],
            poison_payloads=[
                (_origin(message.body["record"]), base64.b64decode(message.body["payload"]["inline"]))
                for message in self.poison_messages()
                if message.schema == "stream-redrive.poison/1" and "inline" in message.body["payload"]
            ],
        )

    def sink(self) -> dict[str, dict[str, Any]]:
        table = self._clients.tables.Table(self._scenario.sink_table)
        items: dict[str, dict[str, Any]] = {}
        page = table.scan()
        while True:
            items.update({str(item["id"]): item for item in page["Items"]})
            if "LastEvaluatedKey" not in page:
                return items
            page = table.scan(ExclusiveStartKey=page["LastEvaluatedKey"])

    def clear_sink(self) -> None:
        with self._clients.tables.Table(self._scenario.sink_table).batch_writer() as batch:
            for key in self.sink():
                batch.delete_item(Key={"id": key})

    def executions(self) -> list[Execution]:
        """Finished executions for this scenario's consumer. A finished one doesn't change: it is read once."""
        found = []
        for summary in self._executions_since():
            if summary["status"] == "RUNNING":
                continue
            arn = summary["executionArn"]
            if arn not in self._finished:
                self._finished[arn] = self._execution(arn)
            if execution := self._finished[arn]:
                found.append(execution)
        return found

    def running(self) -> int:
        """Executions at work, of whatever consumer."""
        page = self._clients.stepfunctions.list_executions(
            stateMachineArn=self._outputs["RedriveStateMachineArn"], statusFilter="RUNNING"
        )
        return len(page["executions"])

    def started(self) -> int:
        return sum(1 for _ in self._executions_since())

    def waiting_notices(self) -> int:
        """Messages on the intake queue, in flight ones included."""
        attributes = self._clients.sqs.get_queue_attributes(
            QueueUrl=self._outputs["IntakeQueueUrl"],
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return sum(map(int, attributes.values()))

    def poison_messages(self) -> list[PoisonMessage]:
        """Messages for this consumer; the queue is left as it is."""
        found = []
        for raw in self._control.peek_queue(self._outputs["PoisonQueueUrl"]):
            if raw["SentTimestamp"] < int(self._since.timestamp()):
                continue
            text = raw["Body"]
            if f':stream/{self._scenario.stream_name}"' in text:
                body = json.loads(text)
                found.append(PoisonMessage(body["schema"], body))
        return found

    def _executions_since(self) -> Iterator[Any]:
        pages = self._clients.stepfunctions.get_paginator("list_executions").paginate(
            stateMachineArn=self._outputs["RedriveStateMachineArn"]
        )
        for page in pages:
            for execution in page["executions"]:  # the youngest first
                if execution["startDate"] < self._since:
                    return
                yield execution

    def _execution(self, arn: str) -> Execution | None:
        described = self._clients.stepfunctions.describe_execution(executionArn=arn)
        incident = json.loads(described["input"])["incident"]
        if incident["consumer"].split(":function:")[1] != self._scenario.function_name:
            return None
        history = [
            event
            for page in self._clients.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
            for event in page["events"]
        ]
        output = json.loads(described.get("output") or "{}")
        return Execution(arn, described["status"], incident["shard_id"], output, count_transitions(history))

    def _missing(self, execution: Execution) -> list[MissingRange]:
        capture = execution.output.get("capture", {})
        entries = capture.get("missing", [])
        if reference := capture.get("missing_ref"):
            manifest = self._clients.s3.get_object(Bucket=reference["bucket"], Key=reference["key"])
            entries = json.loads(manifest["Body"].read())["missing"]
        return [_missing_range(execution.shard_id, entry) for entry in entries]

    def _chunk_lines(self, prefix: str) -> Iterator[ChunkLine]:
        bucket = self._outputs["VaultBucketName"]
        own_prefix = f"{prefix}{self._scenario.function_name}/"
        for page in self._clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=own_prefix):
            for entry in page.get("Contents", []):
                if entry["LastModified"] < self._since - _LISTING_TOLERANCE:
                    continue
                packed = self._clients.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                for text in gzip.decompress(packed).splitlines():
                    yield _chunk_line(json.loads(text))

    def _stream_records(self) -> Iterator[tuple[StreamRecord, str]]:
        """Each record, and its sequence number as the stream spells it."""
        name = self._scenario.stream_name
        for shard in self._clients.kinesis.list_shards(StreamName=name)["Shards"]:
            iterator: str | None = self._clients.kinesis.get_shard_iterator(
                StreamName=name,
                ShardId=shard["ShardId"],
                ShardIteratorType="AT_TIMESTAMP",
                Timestamp=self._since,
            )["ShardIterator"]
            while iterator:
                page = self._clients.kinesis.get_records(ShardIterator=iterator)
                for record in page["Records"]:
                    place = Place(shard["ShardId"], int(record["SequenceNumber"]))
                    yield (
                        StreamRecord(place, record["PartitionKey"], record["Data"]),
                        record["SequenceNumber"],
                    )
                done = not page["Records"] and page.get("MillisBehindLatest", 0) == 0
                iterator = None if done else page.get("NextShardIterator")

    def _lineage(self, copies: Mapping[Place, str]) -> dict[Place, tuple[Place, int]]:
        table = self._outputs["LedgerTableName"]
        keys = {
            f"RECORD#{self._scenario.stream_name}#{place.shard_id}#{number}": place for place, number in copies.items()
        }
        found: dict[Place, tuple[Place, int]] = {}
        names = list(keys)
        for start in range(0, len(names), _BATCH_GET_LIMIT):
            wanted: Any = {
                table: {
                    "Keys": [{"pk": name, "sk": "LINEAGE"} for name in names[start : start + _BATCH_GET_LIMIT]],
                    "ConsistentRead": True,
                }
            }
            while wanted:
                reply = self._clients.tables.batch_get_item(RequestItems=wanted)
                for item in reply["Responses"].get(table, []):
                    origin = Place(str(item["origin_shard"]), int(str(item["origin_sequence"])))
                    found[keys[str(item["pk"])]] = (origin, int(str(item["attempt"])))
                wanted = reply.get("UnprocessedKeys")
        return found


def _origin(line: Mapping[str, Any]) -> Place:
    origin = line["lineage"]["origin"]
    return Place(origin["shard_id"], int(origin["sequence_number"]))


def _chunk_line(line: Mapping[str, Any]) -> ChunkLine:
    return ChunkLine(
        origin=_origin(line),
        attempt=line["lineage"]["attempt"],
        partition_key=line["partition_key"],
        data=base64.b64decode(line["data"]),
        sha256=line["sha256"],
    )


def _missing_range(shard_id: str, entry: Mapping[str, Any]) -> MissingRange:
    end = int(entry["end"])
    if (captured_from := entry.get("captured_from")) is not None:
        end = int(captured_from) - 1
    return MissingRange(shard_id, int(entry["start"]), end)
