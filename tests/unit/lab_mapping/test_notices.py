"""The failure notice, field by field as AWS sends it."""

from __future__ import annotations

from dataclasses import replace

from stream_redrive_cli.lab.mapping.batch import Discard
from stream_redrive_cli.lab.mapping.notices import FailedInvocation, failure_notice
from tests.unit.lab_mapping.support import FUNCTION_ARN, STREAM_ARN, mapping, record

BATCH = (record(41, arrived_at=1702245959.28), record(57, arrived_at=1702245961.0))
EXHAUSTED = Discard(BATCH, "RetryAttemptsExhausted", 4)
RAISED = FailedInvocation("11111111-aaaa", 200, "$LATEST", "Unhandled")
NOW = 1702245983.446


def test_exhausted_kinesis_batch() -> None:
    assert failure_notice(mapping(), "shardId-000000000000", EXHAUSTED, RAISED, now=NOW) == {
        "requestContext": {
            "requestId": "11111111-aaaa",
            "functionArn": FUNCTION_ARN,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 4,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2023-12-10T22:06:23.446Z",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": "41",
            "endSequenceNumber": "57",
            "approximateArrivalOfFirstRecord": "2023-12-10T22:05:59.280Z",
            "approximateArrivalOfLastRecord": "2023-12-10T22:06:01.000Z",
            "batchSize": 2,
            "streamArn": STREAM_ARN,
        },
    }


def test_dynamodb_batch_has_its_own_key_and_whole_seconds() -> None:
    table_stream = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/2023-12-10T00:00:00.000"
    settings = replace(mapping(), source="dynamodb", source_arn=table_stream)
    notice = failure_notice(settings, "shardId-1", EXHAUSTED, RAISED, now=NOW)
    assert "KinesisBatchInfo" not in notice
    info = notice["DDBStreamBatchInfo"]
    assert info["streamArn"] == table_stream
    assert info["approximateArrivalOfFirstRecord"] == "2023-12-10T22:05:59Z"


def test_partial_response_has_a_null_function_error() -> None:
    by_response = replace(RAISED, function_error=None)
    notice = failure_notice(mapping(), "s", EXHAUSTED, by_response, now=NOW)
    assert notice["responseContext"]["functionError"] is None


def test_age_notice_has_no_response_even_after_invocations() -> None:
    expired = Discard(BATCH, "RecordAgeExceeded", 2)
    notice = failure_notice(mapping(), "s", expired, RAISED, now=NOW)
    assert "responseContext" not in notice
    assert notice["requestContext"]["approximateInvokeCount"] == 2


def test_age_notice_without_any_invocation_still_has_a_request_id() -> None:
    expired = Discard(BATCH, "RecordAgeExceeded", 1)
    assert failure_notice(mapping(), "s", expired, None, now=NOW)["requestContext"]["requestId"]


def test_qualified_function_is_named_with_its_qualifier() -> None:
    settings = replace(mapping(), function_arn=FUNCTION_ARN + ":live")
    version = replace(RAISED, executed_version="7")
    notice = failure_notice(settings, "s", EXHAUSTED, version, now=NOW)
    assert notice["requestContext"]["functionArn"] == FUNCTION_ARN + ":live"
    assert notice["responseContext"]["executedVersion"] == "7"
