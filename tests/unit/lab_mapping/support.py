"""Records, a function and a stream to test the lab's mapping with."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from botocore.exceptions import ClientError
from mypy_boto3_lambda import LambdaClient

from stream_redrive_cli.lab.mapping.backoff import Backoff
from stream_redrive_cli.lab.mapping.invocation import FunctionInvoker
from stream_redrive_cli.lab.mapping.readers import After, Page, PositionLostError, Shard, ShardGoneError, Start
from stream_redrive_cli.lab.mapping.records import StreamRecord
from stream_redrive_cli.lab.mapping.settings import StreamMapping
from stream_redrive_cli.lab.mapping.stream_poller import Pace, StreamPoller

FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:consumer"
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/flights"
ROLE_ARN = "arn:aws:iam::123456789012:role/consumer"
QUICK = Pace(busy=0.005, idle=0.01, reshard=0.02, failed=0.01)
AT_ONCE = Backoff(base=0.0, most=0.0)


def mapping(**settings: Any) -> StreamMapping:
    """A stream mapping, TRIM_HORIZON unless told otherwise."""
    base: dict[str, Any] = {"starting_position": "TRIM_HORIZON", "on_failure_arn": "arn:aws:sns:::topic"}
    return StreamMapping(
        uuid="0f1e2d3c-0000-4000-8000-000000000000",
        function_arn=FUNCTION_ARN,
        source_arn=STREAM_ARN,
        source="kinesis",
        **base | settings,
    )


def record(number: int, *, arrived_at: float = 0.0, key: str = "k") -> StreamRecord:
    """A record whose sequence number is `number`."""
    return StreamRecord(str(number), arrived_at, key, "{}")


def records(count: int) -> tuple[StreamRecord, ...]:
    # From 9 on, so that a comparison as strings gets the order wrong.
    return tuple(record(number) for number in range(9, 9 + count))


def event(number: int, *, key: str = "k", data: str = "e30=", arrived_at: float | None = None) -> dict[str, Any]:
    """A Kinesis event entry; its data is `{}` unless given in base64."""
    return {
        "kinesis": {
            "partitionKey": key,
            "sequenceNumber": str(number),
            "data": data,
            "approximateArrivalTimestamp": time.time() if arrived_at is None else arrived_at,
        },
        "eventSource": "aws:kinesis",
    }


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": {}}, "Any")  # type: ignore[typeddict-item]  # only what is read


def eventually(condition: Callable[[], bool], *, within: float = 20.0) -> None:
    """Wait until the condition holds; fail when it doesn't in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        threading.Event().wait(0.005)


class FakeLambda:
    """Runs a Python function where a LambdaClient would call AWS; keeps the events it got."""

    def __init__(self, handler: Callable[[dict[str, Any]], Any]) -> None:
        self.handler = handler
        self.events: list[dict[str, Any]] = []
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()

    @property
    def invoker(self) -> FunctionInvoker:
        return FunctionInvoker(cast(LambdaClient, self), FUNCTION_ARN)

    @property
    def batches(self) -> list[list[int]]:
        """The sequence numbers of each Kinesis event."""
        return [[int(r["kinesis"]["sequenceNumber"]) for r in e["Records"]] for e in self.events]

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert InvocationType == "RequestResponse"
        received = json.loads(Payload)
        with self._lock:
            self.events.append(received)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            request_id = f"request-{len(self.events)}"
        reply: dict[str, Any] = {
            "StatusCode": 200,
            "ExecutedVersion": "$LATEST",
            "ResponseMetadata": {"RequestId": request_id},
        }
        try:
            answer = self.handler(received)
        except ClientError:
            raise
        except Exception as exc:  # noqa: BLE001  # whatever the function raises is a function error
            reply["FunctionError"] = "Unhandled"
            answer = {"errorType": type(exc).__name__, "errorMessage": str(exc)}
        finally:
            with self._lock:
                self.running -= 1
        return reply | {"Payload": io.BytesIO(json.dumps(answer).encode())}


class ListDestination:
    """Keeps notices; fails the first `failures` times."""

    def __init__(self, *, failures: int = 0) -> None:
        self.notices: list[dict[str, Any]] = []
        self.failures = failures

    def send(self, body: str) -> None:
        if self.failures:
            self.failures -= 1
            raise client_error("NotFound")
        self.notices.append(json.loads(body))

    @property
    def ranges(self) -> list[tuple[int, int, int]]:
        """(start, end, batch size) of each notice."""
        infos = [notice["KinesisBatchInfo"] for notice in self.notices]
        return [(int(i["startSequenceNumber"]), int(i["endSequenceNumber"]), i["batchSize"]) for i in infos]


class ListReader:
    """A stream in memory: pages of events per shard, iterators that are positions."""

    def __init__(self, *shards: Shard) -> None:
        self.listed = list(shards) or [Shard("shard-0")]
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.closed: set[str] = set()
        self.failures: list[Exception] = []
        self.lost = threading.Event()
        self.starts: list[tuple[str, Start]] = []

    def put(self, *events: dict[str, Any], shard_id: str = "shard-0") -> None:
        self.events.setdefault(shard_id, []).extend(events)

    def shards(self) -> list[Shard]:
        self._fail()
        return list(self.listed)

    def iterator(self, shard_id: str, start: Start) -> str:
        self._fail()
        if shard_id not in {shard.shard_id for shard in self.listed}:
            raise ShardGoneError(shard_id)
        self.starts.append((shard_id, start))
        events = self.events.get(shard_id, [])
        match start:
            case After(sequence_number):
                numbers = [e["kinesis"]["sequenceNumber"] for e in events]
                return str(numbers.index(sequence_number) + 1)
            case "LATEST":
                return str(len(events))
            case _:
                return "0"

    def read(self, shard_id: str, iterator: str) -> Page:
        self._fail()
        if shard_id not in {shard.shard_id for shard in self.listed}:
            raise ShardGoneError(shard_id)
        if self.lost.is_set():
            self.lost.clear()
            raise PositionLostError("expired")
        closed = shard_id in self.closed
        events = self.events.get(shard_id, [])
        page = events[int(iterator) :]
        return Page(list(page), None if closed else str(int(iterator) + len(page)), at_tip=True)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


@contextmanager
def polling(
    stream_mapping: StreamMapping,
    function: FakeLambda,
    reader: Any,
    destination: ListDestination | None = None,
    *,
    backoff: Backoff = AT_ONCE,
    **options: Any,
) -> Iterator[StreamPoller]:
    """A poller at work until the block ends; then none of its threads is left."""
    poller = StreamPoller(
        stream_mapping,
        reader=reader,
        invoker=function.invoker,
        destination=destination,
        backoff=backoff,
        pace=QUICK,
        **options,
    )
    before = set(threading.enumerate())
    poller.start()
    try:
        yield poller
    finally:
        poller.stop()
    assert set(threading.enumerate()) <= before


def is_idle(poller: StreamPoller, since: float) -> Callable[[], bool]:
    """Whether everything that arrived before `since` is settled."""
    return lambda: (poller.settled_until() or 0.0) > since
