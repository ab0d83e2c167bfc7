"""One way to read the shards of a Kinesis stream and of a DynamoDB stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from stream_redrive_cli.lab.mapping.records import dynamodb_event, kinesis_event
from stream_redrive_cli.lab.mapping.settings import StartingPosition

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

# A page bounds memory: the local cloud doesn't cap a reply at 10 MiB as AWS does.
_PAGE_RECORDS = 1_000


class ReadError(Exception):
    """Reading failed for now: a throttle, a broken connection, a cloud that restarts."""


class PositionLostError(ReadError):
    """The iterator expired, or what it points at is trimmed: ask for a new one."""


class ShardGoneError(ReadError):
    """The shard doesn't exist any more (the local cloud deletes a closed one)."""


@dataclass(frozen=True, slots=True)
class Shard:
    shard_id: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class After:
    """Read from the record behind this one."""

    sequence_number: str


@dataclass(frozen=True, slots=True)
class Since:
    """Read from this epoch second on."""

    moment: float


Start = StartingPosition | After | Since


@dataclass(frozen=True, slots=True)
class Page:
    """Records as event entries; `next_iterator` is None at the end of a closed shard."""

    events: list[dict[str, Any]]
    next_iterator: str | None
    at_tip: bool


class StreamReader(Protocol):
    """A stream as the poller sees it. Every method raises ReadError or one of its kinds."""

    def shards(self) -> list[Shard]: ...

    def iterator(self, shard_id: str, start: Start) -> str: ...

    def read(self, shard_id: str, iterator: str) -> Page: ...


class KinesisReader:
    def __init__(self, client: KinesisClient, stream_arn: str, invoke_identity_arn: str) -> None:
        self._client = client
        self._stream_arn = stream_arn
        self._stream_name = stream_arn.rpartition("/")[2]
        self._invoke_identity_arn = invoke_identity_arn

    def shards(self) -> list[Shard]:
        with _translated():
            pages = self._client.get_paginator("list_shards").paginate(StreamName=self._stream_name)
            return [_shard(shard) for page in pages for shard in page["Shards"]]

    def iterator(self, shard_id: str, start: Start) -> str:
        request: dict[str, Any]
        match start:
            case After(sequence_number):
                request = {
                    "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                    "StartingSequenceNumber": sequence_number,
                }
            case Since(moment):
                request = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.fromtimestamp(moment, UTC)}
            case _:
                request = {"ShardIteratorType": start}
        with _translated():
            reply = self._client.get_shard_iterator(StreamName=self._stream_name, ShardId=shard_id, **request)
            return reply["ShardIterator"]

    def read(self, shard_id: str, iterator: str) -> Page:
        with _translated():
            reply = self._client.get_records(ShardIterator=iterator, Limit=_PAGE_RECORDS)
        events = [
            kinesis_event(
                record,
                shard_id=shard_id,
                stream_arn=self._stream_arn,
                invoke_identity_arn=self._invoke_identity_arn,
            )
            for record in reply["Records"]
        ]
        return Page(events, reply.get("NextShardIterator"), at_tip=reply["MillisBehindLatest"] == 0)


class DynamoDbReader:
    # No stubs of this client are pinned, hence Any.
    def __init__(self, client: Any, stream_arn: str) -> None:
        self._client = client
        self._stream_arn = stream_arn

    def shards(self) -> list[Shard]:
        shards: list[Shard] = []
        after: dict[str, str] = {}
        while True:
            with _translated():
                reply = self._client.describe_stream(StreamArn=self._stream_arn, **after)["StreamDescription"]
            shards += [_shard(shard) for shard in reply["Shards"]]
            if not reply.get("LastEvaluatedShardId"):
                return shards
            after = {"ExclusiveStartShardId": reply["LastEvaluatedShardId"]}

    def iterator(self, shard_id: str, start: Start) -> str:
        match start:
            case After(sequence_number):
                request = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": sequence_number}
            case Since() | "AT_TIMESTAMP":
                # DynamoDB streams have no AT_TIMESTAMP: rather too many records than too few.
                request = {"ShardIteratorType": "TRIM_HORIZON"}
            case _:
                request = {"ShardIteratorType": start}
        with _translated():
            reply = self._client.get_shard_iterator(StreamArn=self._stream_arn, ShardId=shard_id, **request)
            return str(reply["ShardIterator"])

    def read(self, shard_id: str, iterator: str) -> Page:
        with _translated():
            reply = self._client.get_records(ShardIterator=iterator, Limit=_PAGE_RECORDS)
        events = [dynamodb_event(record, stream_arn=self._stream_arn) for record in reply["Records"]]
        # DynamoDB doesn't tell how far behind a page is; an empty one is taken for the tip.
        return Page(events, reply.get("NextShardIterator"), at_tip=not events)


def _shard(shard: Mapping[str, Any]) -> Shard:
    parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
    return Shard(shard["ShardId"], tuple(parent for parent in parents if parent))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code in ("ExpiredIteratorException", "TrimmedDataAccessException"):
            raise PositionLostError(code) from exc
        if code == "ResourceNotFoundException":
            raise ShardGoneError(str(exc)) from exc
        raise ReadError(str(exc)) from exc
    except BotoCoreError as exc:
        raise ReadError(str(exc)) from exc
