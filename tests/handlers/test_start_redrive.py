"""StartRedrive: a batch of the intake queue in, executions and the partial batch response out."""

import json
from typing import Any

import pytest

from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions
from stream_redrive.core.errors import AccessDenied, ServiceBusy
from tests.support import build
from tests.support.cloud import ENVIRONMENT, VAULT, Cloud

MACHINE = ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"]
OTHER_SHARD = "shardId-000000000001"
NO_NOTICES = {
    "empty": "",
    "no JSON": "<xml/>",
    "a list": "[]",
    "null": "null",
    "an empty object": "{}",
    "an S3 event": '{"Records": [{"eventSource": "aws:s3"}]}',
    "an asynchronous invocation": '{"requestPayload": {}, "responsePayload": {}}',
    "a number that is none": build.message(KinesisBatchInfo__startSequenceNumber="49x"),
    "a range turned round": build.message(KinesisBatchInfo__endSequenceNumber="1"),
    "no shard": build.message(KinesisBatchInfo__shardId=None),
    "a truncated notice": build.message()[:-40],
}


def event(*bodies: str) -> dict[str, Any]:
    return {"Records": [sqs_message(f"m-{number}", body) for number, body in enumerate(bodies)]}


def sqs_message(message_id: str, body: str) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:intake",
    }


def notice(start: str, end: str | None = None, *, shard_id: str = build.SHARD_ID, size: int = 1) -> str:
    return build.message(
        KinesisBatchInfo__startSequenceNumber=start,
        KinesisBatchInfo__endSequenceNumber=end or start,
        KinesisBatchInfo__batchSize=size,
        KinesisBatchInfo__shardId=shard_id,
    )


def failed(response: dict[str, Any]) -> list[str]:
    assert set(response) == {"batchItemFailures"}
    return [entry["itemIdentifier"] for entry in response["batchItemFailures"]]


def incidents(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """The inputs of what was started, by execution name."""
    client = cloud.client("stepfunctions")
    executions = client.list_executions(stateMachineArn=MACHINE)["executions"]
    finished = [cloud.finished(execution["executionArn"]) for execution in executions]
    return {execution["name"]: json.loads(execution["input"])["incident"] for execution in finished}


def ranges(incident: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["start"], entry["end"]) for entry in incident["notices"]]


def test_the_notices_of_a_shard_become_one_execution_named_as_its_incident(cloud: Cloud) -> None:
    assert failed(cloud.call("StartRedrive", event(notice("9"), notice("1", "5", size=5)))) == []
    [(name, incident)] = incidents(cloud).items()
    assert name == incident["id"]
    assert ranges(incident) == [("1", "5"), ("9", "9")]
    fields = ("source", "consumer", "stream_arn", "shard_id", "failed_at")
    assert {field: incident[field] for field in fields} == {
        "source": "kinesis",
        "consumer": build.CONSUMER,
        "stream_arn": build.STREAM_ARN,
        "shard_id": build.SHARD_ID,
        "failed_at": "2023-12-10T22:06:23.446Z",
    }


def test_messages_that_are_no_notices_fail_alone_and_the_others_start(cloud: Cloud) -> None:
    bodies = [*NO_NOTICES.values(), notice("1"), notice("2", shard_id=OTHER_SHARD)]
    response = cloud.call("StartRedrive", event(*bodies))
    assert failed(response) == [f"m-{number}" for number in range(len(NO_NOTICES))]
    assert {incident["shard_id"] for incident in incidents(cloud).values()} == {build.SHARD_ID, OTHER_SHARD}


def test_a_batch_of_nothing_but_a_malformed_notice_returns_it(cloud: Cloud) -> None:
    for body in NO_NOTICES.values():
        assert failed(cloud.call("StartRedrive", event(body))) == ["m-0"], body
    assert incidents(cloud) == {}


def test_a_message_without_a_body_is_returned(cloud: Cloud) -> None:
    batch = event(notice("1"), "")
    del batch["Records"][1]["body"]
    assert failed(cloud.call("StartRedrive", batch)) == ["m-1"]
    assert len(incidents(cloud)) == 1


def test_an_empty_batch_starts_nothing(cloud: Cloud) -> None:
    assert failed(cloud.call("StartRedrive", {"Records": []})) == []
    assert incidents(cloud) == {}


def test_a_notice_inside_an_sns_envelope_is_a_notice(cloud: Cloud) -> None:
    envelope = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": notice("1", "5", size=5)}
    assert failed(cloud.call("StartRedrive", event(json.dumps(envelope)))) == []
    [incident] = incidents(cloud).values()
    assert ranges(incident) == [("1", "5")]


def test_a_dynamodb_notice_starts_an_incident_of_its_own(cloud: Cloud) -> None:
    batch = {**build.invocation_record()["KinesisBatchInfo"], "streamArn": build.TABLE_STREAM_ARN}
    body = build.invocation_record(KinesisBatchInfo=None, DDBStreamBatchInfo=batch)
    assert failed(cloud.call("StartRedrive", event(json.dumps(body), notice("1")))) == []
    by_source = {incident["source"]: incident for incident in incidents(cloud).values()}
    assert set(by_source) == {"kinesis", "dynamodb"}
    assert by_source["dynamodb"]["stream_arn"] == build.TABLE_STREAM_ARN


def test_a_batch_that_comes_twice_starts_once(cloud: Cloud) -> None:
    batch = cloud.produce([("key", b"1"), ("key", b"2")])
    bodies = [notice(record.sequence_number) for record in batch]
    assert failed(cloud.call("StartRedrive", event(*bodies))) == []
    first = incidents(cloud)  # it has succeeded by then
    assert failed(cloud.call("StartRedrive", event(*reversed(bodies), bodies[0]))) == []
    assert incidents(cloud) == first
    assert len(first) == 1


def test_a_hundred_notices_ride_in_the_input_and_more_in_the_vault(cloud: Cloud) -> None:
    few = [notice(str(n)) for n in range(1, 101)]
    many = [notice(str(n), shard_id=OTHER_SHARD) for n in range(1, 102)]
    assert failed(cloud.call("StartRedrive", event(*few, *many))) == []
    by_shard = {incident["shard_id"]: incident for incident in incidents(cloud).values()}
    assert len(by_shard[build.SHARD_ID]["notices"]) == 100
    assert "notices" not in by_shard[OTHER_SHARD]
    reference = by_shard[OTHER_SHARD]["notices_ref"]
    assert (reference["bucket"], reference["count"]) == (VAULT, 101)
    assert [line["start"] for line in cloud.lines(reference["key"])] == [str(n) for n in range(1, 102)]


@pytest.mark.parametrize("error", [ServiceBusy("states:StartExecution"), AccessDenied("states:StartExecution")])
def test_an_incident_that_cannot_start_returns_its_messages_and_no_others(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    start = StepFunctionsExecutions.start

    def refuse_one_shard(self: StepFunctionsExecutions, name: str, body: str) -> None:
        if OTHER_SHARD in body:
            raise error
        start(self, name, body)

    monkeypatch.setattr(StepFunctionsExecutions, "start", refuse_one_shard)
    other = notice("7", shard_id=OTHER_SHARD)
    bodies = [notice("1"), other, "no notice", notice("2"), notice("8", shard_id=OTHER_SHARD), other]
    assert sorted(failed(cloud.call("StartRedrive", event(*bodies)))) == ["m-1", "m-2", "m-4", "m-5"]
    [incident] = incidents(cloud).values()
    assert ranges(incident) == [("1", "1"), ("2", "2")]
