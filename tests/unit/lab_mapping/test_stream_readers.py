"""The readers on the real API shapes: Kinesis and DynamoDB streams in moto, and the errors of AWS."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from stream_redrive_cli.lab.mapping.readers import (
    DynamoDbReader,
    KinesisReader,
    PositionLostError,
    ReadError,
    ShardGoneError,
)
from stream_redrive_cli.lab.mapping.settings import StreamMapping
from tests.unit.lab_mapping.support import (
    FUNCTION_ARN,
    ROLE_ARN,
    STREAM_ARN,
    FakeLambda,
    eventually,
    is_idle,
    polling,
)

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


@pytest.fixture
def kinesis(aws: None) -> KinesisClient:
    client = boto3.client("kinesis")
    client.create_stream(StreamName="flights", ShardCount=2)
    client.get_waiter("stream_exists").wait(StreamName="flights")
    return client


def settings(**changes: Any) -> StreamMapping:
    base = {"source_arn": STREAM_ARN, "source": "kinesis", "starting_position": "LATEST"}
    return StreamMapping(uuid="u" * 36, function_arn=FUNCTION_ARN, **base | changes)


def test_latest_misses_nothing_that_is_put_once_the_poller_is_ready(kinesis: KinesisClient) -> None:
    payloads = {f"{number}-✈": bytes([number]) * 100 for number in range(50)}
    kinesis.put_record(StreamName="flights", Data=b"before", PartitionKey="x")
    function = FakeLambda(lambda _: None)
    reader = KinesisReader(kinesis, STREAM_ARN, ROLE_ARN)
    with polling(settings(), function, reader) as poller:
        eventually(lambda: poller.ready)
        kinesis.put_records(
            StreamName="flights",
            Records=[{"Data": data, "PartitionKey": key} for key, data in payloads.items()],
        )
        eventually(is_idle(poller, time.time()))
    received = [record for event in function.events for record in event["Records"]]
    got = {r["kinesis"]["partitionKey"]: base64.b64decode(r["kinesis"]["data"]) for r in received}
    assert got == payloads
    assert len(received) == 50
    assert {r["eventSourceARN"] for r in received} == {STREAM_ARN}
    assert {r["invokeIdentityArn"] for r in received} == {ROLE_ARN}
    shards = {r["eventID"].partition(":")[0] for r in received}
    assert shards == {"shardId-000000000000", "shardId-000000000001"}


@pytest.mark.usefixtures("aws")
def test_table_stream_reaches_the_function() -> None:
    tables = boto3.client("dynamodb")
    table = tables.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )["TableDescription"]
    tables.put_item(TableName="orders", Item={"id": {"S": "a"}, "raw": {"B": b"\xff\x00"}})
    function = FakeLambda(lambda _: None)
    stream_arn = table["LatestStreamArn"]
    reader = DynamoDbReader(boto3.client("dynamodbstreams"), stream_arn)
    mapping = settings(source_arn=stream_arn, source="dynamodb", starting_position="TRIM_HORIZON")
    with polling(mapping, function, reader) as poller:
        eventually(is_idle(poller, time.time()))
    ((record,),) = [event["Records"] for event in function.events]
    assert record["eventName"] == "INSERT"
    assert record["eventSourceARN"] == stream_arn
    assert record["dynamodb"]["Keys"] == {"id": {"S": "a"}}
    assert isinstance(record["dynamodb"]["ApproximateCreationDateTime"], int)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ExpiredIteratorException", PositionLostError),
        ("TrimmedDataAccessException", PositionLostError),
        ("ResourceNotFoundException", ShardGoneError),
        ("ProvisionedThroughputExceededException", ReadError),
        ("AccessDeniedException", ReadError),
    ],
)
def test_errors_of_aws_are_told_apart(kinesis: KinesisClient, code: str, expected: type[Exception]) -> None:
    reader = KinesisReader(kinesis, STREAM_ARN, ROLE_ARN)
    with Stubber(kinesis) as stubber:
        stubber.add_client_error("get_records", code)
        with pytest.raises(expected) as caught:
            reader.read("shardId-000000000000", "iterator")
    assert caught.type is expected


def test_broken_connection_is_a_read_error() -> None:
    class Broken:
        def describe_stream(self, **_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="https://localhost")

    with pytest.raises(ReadError):
        DynamoDbReader(Broken(), STREAM_ARN).shards()


def test_end_of_a_closed_shard_has_no_next_iterator(kinesis: KinesisClient) -> None:
    reader = KinesisReader(kinesis, STREAM_ARN, ROLE_ARN)
    with Stubber(kinesis) as stubber:
        stubber.add_response("get_records", {"Records": [], "MillisBehindLatest": 0})
        page = reader.read("shardId-000000000000", "iterator")
    assert (page.events, page.next_iterator, page.at_tip) == ([], None, True)
