"""Kinesis: the stream's reader and writer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.core.errors import IteratorExpired, SequenceNumberRejected, ShardNotFound
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import Page, PutResult, ShardInfo
from stream_redrive.core.records import Origin, StreamRecord

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

# Half of what a call may give: a reply of 10 MiB would shut the shard for its consumer for five seconds.
MAX_PAGE = 5_000


@contextmanager
def _positions(call: str) -> Iterator[None]:
    with faults_of(call):
        try:
            yield
        except ClientError as exc:
            code = error_code(exc)
            if code == "ResourceNotFoundException":
                raise ShardNotFound(f"{call}: {exc}") from exc
            if code == "InvalidArgumentException":
                raise SequenceNumberRejected(f"{call}: {exc}") from exc
            if code == "ExpiredIteratorException":
                raise IteratorExpired(f"{call}: {exc}") from exc
            raise


class KinesisReader:
    """Reads the shards of Kinesis streams."""

    def __init__(self, client: "KinesisClient") -> None:
        self._client = client
        self._shard_of: dict[str, str] = {}

    def open_at(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        """An iterator AT_SEQUENCE_NUMBER."""
        return self._open(
            stream_arn, shard_id, ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=sequence_number
        )

    def open_after(self, stream_arn: str, shard_id: str, sequence_number: str) -> str:
        """An iterator AFTER_SEQUENCE_NUMBER."""
        return self._open(
            stream_arn, shard_id, ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=sequence_number
        )

    def open_from(self, stream_arn: str, shard_id: str, moment: datetime) -> str:
        """An iterator AT_TIMESTAMP; before the trim horizon it starts with the oldest record."""
        return self._open(stream_arn, shard_id, ShardIteratorType="AT_TIMESTAMP", Timestamp=moment)

    def _open(self, stream_arn: str, shard_id: str, **position: Any) -> str:
        with _positions("kinesis:GetShardIterator"):
            iterator = self._client.get_shard_iterator(
                StreamARN=stream_arn, StreamName=_name(stream_arn), ShardId=shard_id, **position
            )["ShardIterator"]
        self._shard_of = {iterator: shard_id}
        return iterator

    def read(self, stream_arn: str, iterator: str) -> Page:
        """A GetRecords reply."""
        shard_id = self._shard_of.pop(iterator)
        with _positions("kinesis:GetRecords"):
            reply = self._client.get_records(StreamARN=stream_arn, ShardIterator=iterator, Limit=MAX_PAGE)
        following = reply.get("NextShardIterator")
        if following:
            self._shard_of = {following: shard_id}
        records = [
            StreamRecord(
                shard_id=shard_id,
                sequence_number=record["SequenceNumber"],
                # Streams that distribute records by themselves may have no key.
                partition_key=record.get("PartitionKey"),
                arrived_at=format_time(record["ApproximateArrivalTimestamp"]),
                data=record["Data"],
            )
            for record in reply["Records"]
        ]
        return Page(records, following, reply.get("MillisBehindLatest", 0))

    def shards(self, stream_arn: str) -> Sequence[ShardInfo]:
        """ListShards, all pages."""
        found: list[ShardInfo] = []
        request: dict[str, Any] = {"StreamARN": stream_arn}
        while request:
            with _positions("kinesis:ListShards"):
                reply = self._client.list_shards(**request)
            found += [
                ShardInfo(shard["ShardId"], shard["SequenceNumberRange"]["StartingSequenceNumber"])
                for shard in reply["Shards"]
            ]
            token = reply.get("NextToken")
            # The token stands for the stream: with the ARN beside it Kinesis answers InvalidArgumentException
            # ("NextToken and StreamARN cannot be provided together").
            request = {"NextToken": token} if token else {}
        return found


class KinesisWriter:
    """Puts records into Kinesis streams."""

    def __init__(self, client: "KinesisClient") -> None:
        """client: one that doesn't repeat calls."""
        self._client = client

    def put(self, stream_arn: str, records: Sequence[tuple[str, bytes]]) -> Sequence[PutResult]:
        """One PutRecords call."""
        entries: Any = [{"PartitionKey": key, "Data": data} for key, data in records]
        with faults_of("kinesis:PutRecords"):
            try:
                reply = self._client.put_records(StreamARN=stream_arn, StreamName=_name(stream_arn), Records=entries)
            except ClientError as exc:
                if error_code(exc) == "ResourceNotFoundException":
                    raise ShardNotFound(f"kinesis:PutRecords: {exc}") from exc
                raise
        return [
            PutResult(None, result["ErrorCode"])
            if result.get("ErrorCode")
            else PutResult(Origin(result["ShardId"], result["SequenceNumber"]))
            for result in reply["Records"]
        ]


def _name(stream_arn: str) -> str:
    return stream_arn.partition("/")[2]
