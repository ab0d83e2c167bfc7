"""What the service does with notices it cannot use, and that its permissions are enforced and needed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from stream_redrive_cli.lab.directory import ACCOUNT, REGION
from stream_redrive_cli.lab.emulator.faults import Fault
from stream_redrive_cli.lab.parity import INTAKE_VISIBILITY_SECONDS
from tests.e2e.conftest import Lab, eventually

pytestmark = pytest.mark.lab

NAME = "lab-no-poison-pill"
STREAM_ARN = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{NAME}"


def notice(lab: Lab, message: str) -> dict[str, Any]:
    """Produce a good record and make up the notice of its failure."""
    put = lab.clients.kinesis.put_record(
        StreamName=NAME, PartitionKey=message, Data=json.dumps({"id": message, "quantity": 1}).encode()
    )
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "requestContext": {
            "requestId": message,
            "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": now,
        "KinesisBatchInfo": {
            "shardId": put["ShardId"],
            "startSequenceNumber": put["SequenceNumber"],
            "endSequenceNumber": put["SequenceNumber"],
            "approximateArrivalOfFirstRecord": now,
            "approximateArrivalOfLastRecord": now,
            "batchSize": 1,
            "streamArn": STREAM_ARN,
        },
    }


def publish(lab: Lab, body: str) -> None:
    lab.clients.sns.publish(TopicArn=lab.state.outputs["OnFailureTopicArn"], Message=body)


def finished(lab: Lab, sequence_number: str) -> dict[str, Any] | None:
    """The finished execution whose incident starts at this record."""
    machine = lab.state.outputs["RedriveStateMachineArn"]
    for execution in lab.clients.stepfunctions.list_executions(stateMachineArn=machine)["executions"]:
        described = lab.clients.stepfunctions.describe_execution(executionArn=execution["executionArn"])
        if sequence_number in described["input"] and described["status"] != "RUNNING":
            return dict(described)
    return None


@contextmanager
def quick_intake(lab: Lab) -> Iterator[str]:
    """The intake queue's DLQ, reached within seconds as long as the block runs."""
    queue = lab.state.outputs["IntakeQueueUrl"]
    sqs = lab.clients.sqs
    policy = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    dead_letters = json.loads(policy)["deadLetterTargetArn"].rsplit(":", 1)[-1]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "3"})
    try:
        yield f"{queue.rsplit('/', 1)[0]}/{dead_letters}"
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(INTAKE_VISIBILITY_SECONDS)})


def test_a_malformed_notice_goes_to_the_intake_dlq_and_the_good_one_beside_it_is_handled(lab: Lab) -> None:
    good = notice(lab, f"beside-malformed-{time.time_ns()}")
    malformed = {**good, "KinesisBatchInfo": {"shardId": f"no range {time.time_ns()}"}}
    with quick_intake(lab) as dead_letter_queue:
        publish(lab, json.dumps(malformed))
        publish(lab, json.dumps(good))
        done = eventually(lambda: finished(lab, good["KinesisBatchInfo"]["startSequenceNumber"]))
        assert done["status"] == "SUCCEEDED"
        eventually(lambda: malformed in lab.messages(dead_letter_queue))
        assert good not in lab.messages(dead_letter_queue)


def test_a_permission_taken_away_is_noticed_and_the_incident_parked(lab: Lab) -> None:
    since = time.time()
    failed = notice(lab, f"parked-{time.time_ns()}")
    start = failed["KinesisBatchInfo"]["startSequenceNumber"]
    with without_permission(lab, "CaptureRecords", "kinesis:GetRecords"):
        publish(lab, json.dumps(failed))
        done = eventually(lambda: finished(lab, start))
    assert (done["status"], done["error"]) == ("FAILED", "IncidentParked")
    parked = [
        message
        for message in lab.messages(lab.state.outputs["PoisonQueueUrl"], since)
        if message["schema"] == "stream-redrive.parked/1" and start in json.dumps(message)
    ]
    assert len(parked) == 1
    assert "AccessDenied" in parked[0]["error"]
    assert "kinesis:GetRecords" in parked[0]["cause"]


def test_with_the_permission_the_same_incident_is_handled(lab: Lab) -> None:
    failed = notice(lab, f"handled-{time.time_ns()}")
    publish(lab, json.dumps(failed))
    done = eventually(lambda: finished(lab, failed["KinesisBatchInfo"]["startSequenceNumber"]))
    assert done["status"] == "SUCCEEDED"
    assert json.loads(done["output"])["capture"]["outcome"] == "COMPLETE"


@contextmanager
def without_permission(lab: Lab, construct: str, action: str) -> Iterator[None]:
    role = lab.function(construct)["Role"].rsplit("/", 1)[-1]
    iam = lab.clients.iam
    policies = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    reduced = {name: _without(document, action) for name, document in policies.items()}
    assert reduced != policies, f"{role} was never allowed {action}"
    try:
        for name, document in reduced.items():
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        yield
    finally:
        for name, original in policies.items():
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(original))


def _without(document: Any, action: str) -> Any:
    statements = []
    for statement in document["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        if left := [name for name in actions if name != action]:
            statements.append({**statement, "Action": left})
    return {**document, "Statement": statements}


def test_a_redrive_cut_after_its_put_sends_nothing_again(lab: Lab) -> None:
    message = f"cut-{time.time_ns()}"
    failed = notice(lab, message)
    cut = Fault(
        service="kinesis",
        operations=("PutRecords",),
        principal=lab.function("RedriveRecords")["FunctionName"],
        code="ServiceUnavailable",
        status=503,
        times=1,
        moment="after",
    )
    with lab.control.fault(cut):
        publish(lab, json.dumps(failed))
        done = eventually(lambda: finished(lab, failed["KinesisBatchInfo"]["startSequenceNumber"]))
    assert lab.control.struck()[cut.id] == 1
    assert done["status"] == "SUCCEEDED"
    assert json.loads(done["output"])["redrive"]["sent"] == 1
    iterator = lab.clients.kinesis.get_shard_iterator(
        StreamName=NAME, ShardId=failed["KinesisBatchInfo"]["shardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = lab.clients.kinesis.get_records(ShardIterator=iterator)["Records"]
    assert [record["PartitionKey"] for record in records].count(message) == 2  # the original and one copy


@pytest.fixture
def user(lab: Lab) -> Iterator[tuple[str, str]]:
    """The key of a user with no permissions."""
    lab.clients.iam.create_user(UserName="nobody")
    key = lab.clients.iam.create_access_key(UserName="nobody")["AccessKey"]
    yield key["AccessKeyId"], key["SecretAccessKey"]
    lab.clients.iam.delete_access_key(UserName="nobody", AccessKeyId=key["AccessKeyId"])
    lab.clients.iam.delete_user(UserName="nobody")


def refusal(lab: Lab, key: str, secret: str) -> str:
    """The code with which the cloud refuses this key."""
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION)
    client = session.client("kinesis", endpoint_url=lab.state.endpoint, verify=lab.state.ca_bundle)
    with pytest.raises(ClientError) as refused:
        client.list_streams()
    return str(refused.value.response["Error"]["Code"])


def test_an_unknown_key_is_refused(lab: Lab) -> None:
    assert refusal(lab, "AKIAUNKNOWN", "test") == "UnrecognizedClientException"


def test_a_wrong_secret_is_refused(lab: Lab, user: tuple[str, str]) -> None:
    assert refusal(lab, user[0], "wrong") == "InvalidSignatureException"


def test_a_user_without_permission_is_refused(lab: Lab, user: tuple[str, str]) -> None:
    assert refusal(lab, *user) == "AccessDeniedException"
