"""The emulator names operations as botocore does."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest

from stream_redrive_cli.lab.emulator.requests import operation_name, service_name


class RequestSeenError(Exception):
    """Stops a call before it is sent."""


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("kinesis", "GetRecords", {"ShardIterator": "i"}),
    ("kinesis", "PutRecords", {"StreamName": "s", "Records": [{"Data": b"x", "PartitionKey": "p"}]}),
    ("dynamodb", "TransactWriteItems", {"TransactItems": [{}]}),
    ("sqs", "SendMessageBatch", {"QueueUrl": "http://localhost/0/q", "Entries": []}),
    ("sns", "Publish", {"TopicArn": "arn:aws:sns:us-east-1:0:t", "Message": "m"}),
    ("ssm", "GetParameter", {"Name": "p"}),
    ("stepfunctions", "StartExecution", {"stateMachineArn": "a"}),
    ("sts", "GetCallerIdentity", {}),
    ("lambda", "Invoke", {"FunctionName": "f"}),
    ("s3", "GetObject", {"Bucket": "b", "Key": "some/key"}),
    ("s3", "PutObject", {"Bucket": "b", "Key": "some/key", "Body": b"x"}),
    ("s3", "HeadObject", {"Bucket": "b", "Key": "k"}),
    ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "captured/"}),
    ("s3", "ListObjects", {"Bucket": "b"}),
    ("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}}),
    ("s3", "ListBuckets", {}),
]


@pytest.mark.parametrize(("service", "operation", "arguments"), CALLS, ids=[f"{s}.{o}" for s, o, _ in CALLS])
def test_a_request_is_named_as_botocore_names_it(service: str, operation: str, arguments: dict[str, Any]) -> None:
    seen: list[AWSPreparedRequest] = []

    def keep(request: AWSPreparedRequest, **_: object) -> None:
        seen.append(request)
        raise RequestSeenError

    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    client: Any = session.client(service, endpoint_url="http://127.0.0.1:1")  # type: ignore[call-overload]
    client.meta.events.register("before-send", keep)
    with pytest.raises(RequestSeenError):
        client._make_api_call(operation, arguments)
    (request,) = seen
    url = urlsplit(request.url)
    body = request.body or b""
    named = operation_name(
        service,
        request.method,
        url.path,
        {name.lower(): value if isinstance(value, str) else value.decode() for name, value in request.headers.items()},
        parse_qs(url.query, keep_blank_values=True),
        body.encode() if isinstance(body, str) else bytes(body) if isinstance(body, bytes | bytearray) else b"",
    )
    assert named == operation


def test_services_have_their_botocore_names() -> None:
    assert [service_name(name) for name in ("states", "monitoring", "kinesis")] == [
        "stepfunctions",
        "cloudwatch",
        "kinesis",
    ]
