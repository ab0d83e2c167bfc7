"""Every call of every adapter names what AWS answers in the service's own errors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from stream_redrive.adapters import clients
from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.adapters.faults import faults_of
from stream_redrive.adapters.kinesis import KinesisReader, KinesisWriter
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.adapters.sns import SnsApproverTopic
from stream_redrive.adapters.sqs import SqsPoisonQueue
from stream_redrive.adapters.ssm import SsmPolicySource
from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions, StepFunctionsTaskTokens
from stream_redrive.core.cases import CaseEvent, Note, Person
from stream_redrive.core.errors import AccessDenied, RedriveError, ServiceBusy, ServiceUnreachable
from stream_redrive.core.ports import HandOver, PoisonMessage, QuarantinedRecord, RedriveCursor, RedrivenCopy
from stream_redrive.core.records import Lineage, Origin
from tests.support.build import SHARD_ID, STREAM_ARN
from tests.support.cloud import ENVIRONMENT, PARAMETER, TABLE, VAULT
from tests.support.memory import START, MemoryClock
from tests.support.wire import Answer, Wire, broken, refusal, reply, stored

PLACE = Origin(SHARD_ID, "1")
COPY = RedrivenCopy(PLACE, Lineage(PLACE, 1), PLACE)
QUARANTINED = QuarantinedRecord(PLACE, PLACE, "rule", "poison", "quarantine/0", 0, "kind-1")
NOTE = Note("2026-01-05T12:00:00.000Z", Person("arn"), "text")
EVENT = CaseEvent("operation", NOTE.at, "noted", "arn", "api")
TOPIC = ENVIRONMENT["APPROVAL_TOPIC_ARN"]
RECEIVED = {"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "{}"}]}
MACHINE = ENVIRONMENT["REDRIVE_STATE_MACHINE_ARN"]


@dataclass(frozen=True)
class Call:
    """An adapter's AWS call. before: answers to what it asks first."""

    action: str
    client: Callable[[], Any]
    make: Callable[[Any], object]
    before: tuple[Answer, ...] = field(default=())


def reader(client: Any) -> KinesisReader:
    return KinesisReader(client)


def ledger(client: Any) -> DynamoLedger:
    return DynamoLedger(client, TABLE, MemoryClock())


def cases(client: Any) -> DynamoCaseStore:
    return DynamoCaseStore(client, TABLE, MemoryClock())


def read(client: Any) -> object:
    kinesis = reader(client)
    return kinesis.read(STREAM_ARN, kinesis.open_at(STREAM_ARN, SHARD_ID, "1"))


def search(client: Any, *, wanted: bool = True) -> object:
    queue = SqsPoisonQueue(client, ENVIRONMENT["POISON_QUEUE_URL"], MemoryClock())
    return queue.remove(lambda body, attributes: wanted, 10)


CALLS = [
    Call("kinesis:GetShardIterator", clients.kinesis, lambda c: reader(c).open_at(STREAM_ARN, SHARD_ID, "1")),
    Call("kinesis:GetShardIterator", clients.kinesis, lambda c: reader(c).open_after(STREAM_ARN, SHARD_ID, "1")),
    Call("kinesis:GetShardIterator", clients.kinesis, lambda c: reader(c).open_from(STREAM_ARN, SHARD_ID, START)),
    Call("kinesis:GetRecords", clients.kinesis, read, (reply({"ShardIterator": "iterator"}),)),
    Call("kinesis:ListShards", clients.kinesis, lambda c: reader(c).shards(STREAM_ARN)),
    Call("kinesis:PutRecords", clients.kinesis_once, lambda c: KinesisWriter(c).put(STREAM_ARN, [("k", b"x")])),
    Call("s3:PutObject", clients.s3, lambda c: S3Vault(c, VAULT).put_new("key", b"x")),
    Call("s3:PutObject", clients.s3, lambda c: S3Vault(c, VAULT).put("key", b"x")),
    Call("s3:GetObject", clients.s3, lambda c: S3Vault(c, VAULT).get("key")),
    Call("s3:GetObject", clients.s3, lambda c: S3Vault(c, VAULT).revise("key", bytes)),
    Call("s3:PutObject", clients.s3, lambda c: S3Vault(c, VAULT).revise("key", bytes.upper), (stored("body"),)),
    Call("s3:ListObjectsV2", clients.s3, lambda c: S3Vault(c, VAULT).list("captured/")),
    Call("dynamodb:TransactWriteItems", clients.dynamodb, lambda c: ledger(c).claim("id", SHARD_ID, [("1", "2")])),
    Call("dynamodb:BatchGetItem", clients.dynamodb, lambda c: ledger(c).lineage_of("s", [PLACE])),
    Call("dynamodb:BatchWriteItem", clients.dynamodb, lambda c: ledger(c).record_redriven("s", "id", [COPY])),
    Call("dynamodb:GetItem", clients.dynamodb, lambda c: ledger(c).redrive_cursor("id")),
    Call("dynamodb:PutItem", clients.dynamodb, lambda c: ledger(c).save_redrive_cursor("id", RedriveCursor())),
    Call("dynamodb:BatchWriteItem", clients.dynamodb, lambda c: ledger(c).record_quarantined("s", "id", [QUARANTINED])),
    Call("dynamodb:Query", clients.dynamodb, lambda c: ledger(c).steps_done("id")),
    Call("dynamodb:BatchWriteItem", clients.dynamodb, lambda c: ledger(c).mark_done("id", "step")),
    Call("dynamodb:Query", clients.dynamodb, lambda c: ledger(c).reports_of("f", "s", SHARD_ID, "1", "2")),
    Call("dynamodb:GetItem", clients.dynamodb, lambda c: cases(c).case("kind-1")),
    Call("dynamodb:Query", clients.dynamodb, lambda c: cases(c).hand_overs()),
    Call("dynamodb:TransactWriteItems", clients.dynamodb, lambda c: cases(c).add_note("kind-1", NOTE, EVENT)),
    Call("dynamodb:PutItem", clients.dynamodb, lambda c: cases(c).save_token("kind-1", "token")),
    Call("dynamodb:DeleteItem", clients.dynamodb, lambda c: cases(c).delivered("kind-1", HandOver.START)),
    Call(
        "sqs:SendMessageBatch",
        clients.sqs,
        lambda c: SqsPoisonQueue(c, ENVIRONMENT["POISON_QUEUE_URL"], MemoryClock()).send([PoisonMessage("k", "b")]),
    ),
    Call("ssm:GetParameter", clients.ssm, lambda c: list(SsmPolicySource(c, PARAMETER).versions())),
    Call(
        "ssm:GetParameterHistory",
        clients.ssm,
        lambda c: list(SsmPolicySource(c, PARAMETER).versions()),
        (reply({"Parameter": {"Version": 2, "Value": "{}"}}),),
    ),
    Call(
        "states:StartExecution", clients.stepfunctions, lambda c: StepFunctionsExecutions(c, MACHINE).start("n", "{}")
    ),
    Call("states:DescribeExecution", clients.stepfunctions, lambda c: StepFunctionsExecutions(c, MACHINE).status("n")),
    Call("dynamodb:BatchGetItem", clients.dynamodb, lambda c: ledger(c).last_quarantined("s", [PLACE])),
    Call("dynamodb:TransactWriteItems", clients.dynamodb, lambda c: ledger(c).mark_settled("s", [PLACE], "KEPT")),
    Call("sqs:ReceiveMessage", clients.sqs, search),
    Call("sqs:GetQueueAttributes", clients.sqs, search, (reply({}),)),
    Call("sqs:DeleteMessageBatch", clients.sqs, search, (reply(RECEIVED),)),
    Call(
        "sqs:ChangeMessageVisibilityBatch",
        clients.sqs,
        lambda c: search(c, wanted=False),
        (reply(RECEIVED), reply({}), reply({"Attributes": {"ApproximateNumberOfMessagesNotVisible": "1"}})),
    ),
    Call("sns:Publish", clients.sns, lambda c: SnsApproverTopic(c, TOPIC).publish("subject", "text")),
    Call("states:ListExecutions", clients.stepfunctions, lambda c: StepFunctionsExecutions(c, MACHINE).running()),
    Call("states:SendTaskSuccess", clients.stepfunctions, lambda c: StepFunctionsTaskTokens(c).succeed("t", "{}")),
    Call("states:SendTaskFailure", clients.stepfunctions, lambda c: StepFunctionsTaskTokens(c).fail("t", "Late")),
]
FAULTS: list[tuple[Answer, type[Exception]]] = [
    (refusal("ThrottlingException"), ServiceBusy),
    (refusal("SomethingOfTheirs", status=500), ServiceBusy),
    (refusal("SlowDown", status=503), ServiceBusy),
    (refusal("AccessDeniedException", status=400), AccessDenied),
    (refusal("AccessDenied", status=403), AccessDenied),
    (broken(ReadTimeoutError(endpoint_url="https://aws")), ServiceUnreachable),
    (broken(EndpointConnectionError(endpoint_url="https://aws")), ServiceUnreachable),
    (refusal("ValidationException"), ClientError),
]


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("number", range(len(CALLS)), ids=[f"{n} {call.action}" for n, call in enumerate(CALLS)])
def test_each_call_says_what_went_wrong_in_the_services_own_words(number: int) -> None:
    call = CALLS[number]
    for answer, expected in FAULTS:
        clients_anew()
        client = call.client()
        wire = Wire(client, *call.before, answer)
        with pytest.raises(expected) as raised:
            call.make(client)
        assert len(wire.requests) > len(call.before)
        if issubclass(expected, RedriveError):
            assert str(raised.value).startswith(f"{call.action}: ")
            assert raised.value.__cause__ is not None
        else:
            assert not isinstance(raised.value, RedriveError)


def clients_anew() -> None:
    for factory in {call.client for call in CALLS}:
        factory.cache_clear()  # type: ignore[attr-defined]  # each is a functools.cache


def test_every_kind_of_client_is_among_the_calls() -> None:
    names = {name for name in vars(clients) if callable(getattr(vars(clients)[name], "cache_clear", None))}
    assert {call.client.__name__ for call in CALLS} == names


BUSY = [
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "KMSThrottlingException",  # Kinesis
    "KMS.ThrottlingException",  # SQS
    "KmsThrottled",  # SQS
    "KmsThrottlingException",  # Step Functions
    "RequestThrottled",  # SQS, HTTP 403
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",  # DynamoDB
    "TransactionInProgressException",  # DynamoDB: botocore repeats a transaction that is still under way
    "TransactionConflictException",  # DynamoDB: a transaction holds the item at this moment
    "ExecutionLimitExceeded",  # Step Functions: a million executions are open
    "RequestTimeout",  # S3, HTTP 400: the body came too slowly
]
DENIED = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "KMSAccessDeniedException",  # Kinesis
    "KMS.AccessDeniedException",  # SQS
    "KmsAccessDenied",  # SQS
    "KmsAccessDeniedException",  # Step Functions
]


def raise_translated(error: Exception) -> None:
    with faults_of("service:Call"):
        raise error


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": _with(status)}, "Call")


def _with(status: int) -> Any:
    return {"HTTPStatusCode": status}


@pytest.mark.parametrize("code", BUSY)
def test_a_throttle_of_any_service_means_busy(code: str) -> None:
    with pytest.raises(ServiceBusy, match=f"service:Call: .*{code}"):
        raise_translated(client_error(code))


@pytest.mark.parametrize("code", DENIED)
def test_a_missing_permission_is_named_whatever_the_service_calls_it(code: str) -> None:
    with pytest.raises(AccessDenied, match=f"service:Call: .*{code}"):
        raise_translated(client_error(code))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_means_busy_whatever_its_code(status: int) -> None:
    with pytest.raises(ServiceBusy):
        raise_translated(client_error("Unheard.Of", status))


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://aws"),
        ConnectTimeoutError(endpoint_url="https://aws"),
        EndpointConnectionError(endpoint_url="https://aws"),
        ConnectionClosedError(endpoint_url="https://aws"),
        ResponseStreamingError(error="reset"),
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_answer_means_that_nobody_was_reached(error: Exception) -> None:
    with pytest.raises(ServiceUnreachable, match="service:Call"):
        raise_translated(error)


@pytest.mark.parametrize(
    "error", [client_error("ValidationException"), client_error("ExpiredTokenException", 403), KeyError("a bug")]
)
def test_what_is_not_known_passes_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        raise_translated(error)
    assert raised.value is error
