"""Failure notices, in every shape that the service sends, and what is no notice."""

import json
from typing import Any

import pytest

from stream_redrive.core.errors import MalformedNotice
from stream_redrive.core.notices import Notice, Source, format_time, parse_notice, parse_time
from tests.support.build import CONSUMER, SHARD, STREAM_ARN, TABLE_STREAM_ARN, invocation_record, message


def dynamodb_record() -> dict[str, Any]:
    body = invocation_record()
    batch = body.pop("KinesisBatchInfo")
    body["DDBStreamBatchInfo"] = {
        **batch,
        "streamArn": TABLE_STREAM_ARN,
        "approximateArrivalOfFirstRecord": "2023-12-10T22:05:59Z",
        "approximateArrivalOfLastRecord": "2023-12-10T22:06:00Z",
    }
    return body


def test_a_notice_of_a_kinesis_batch_says_where_and_what_failed() -> None:
    shard, notice = parse_notice(message())
    assert shard == SHARD
    assert notice == Notice(
        start="49646809892315476128906837425834764297423455321132531714",
        end="49646809892315476128906837425837182149062699208482160642",
        size=3,
        condition="RetryAttemptsExhausted",
        function_error="Unhandled",
        invoke_count=4,
        first_arrival="2023-12-10T22:05:59.280Z",
        last_arrival="2023-12-10T22:05:59.352Z",
        failed_at="2023-12-10T22:06:23.446Z",
        request_id="c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5",
    )


def test_a_notice_of_a_table_stream_has_arrival_times_of_whole_seconds() -> None:
    shard, notice = parse_notice(json.dumps(dynamodb_record()))
    assert (shard.source, shard.stream_arn) == (Source.DYNAMODB, TABLE_STREAM_ARN)
    assert (notice.first_arrival, notice.size) == ("2023-12-10T22:05:59Z", 3)


def test_a_record_that_grew_too_old_comes_without_a_response() -> None:
    text = message(
        responseContext=None,
        requestContext__condition="RecordAgeExceeded",
        requestContext__approximateInvokeCount=1,
    )
    _, notice = parse_notice(text)
    assert (notice.condition, notice.function_error, notice.invoke_count) == ("RecordAgeExceeded", None, 1)


def test_a_batch_that_failed_through_batch_item_failures_has_no_function_error() -> None:
    body = invocation_record()
    body["responseContext"]["functionError"] = None
    assert parse_notice(json.dumps(body))[1].function_error is None


@pytest.mark.parametrize("qualifier", ["live", "42", "$LATEST"])
def test_a_qualified_consumer_keeps_its_qualifier(qualifier: str) -> None:
    shard, _ = parse_notice(message(requestContext__functionArn=f"{CONSUMER}:{qualifier}"))
    assert shard.consumer == f"{CONSUMER}:{qualifier}"


def test_a_condition_that_nobody_has_seen_yet_is_accepted() -> None:
    assert parse_notice(message(requestContext__condition="Sunspots"))[1].condition == "Sunspots"


def test_a_notice_inside_an_sns_envelope_is_unwrapped() -> None:
    envelope = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:…", "Message": message()}
    assert parse_notice(json.dumps(envelope)) == parse_notice(message())


def test_a_notice_with_the_payload_of_an_s3_destination_is_read_like_any_other() -> None:
    assert parse_notice(message(payload=json.dumps({"Records": []}))) == parse_notice(message())


def test_fields_that_aws_may_add_are_ignored() -> None:
    assert parse_notice(message(weather="fine", KinesisBatchInfo__mood="good")) == parse_notice(message())


def test_numbers_are_compared_as_integers_so_nine_may_start_a_range_that_ten_ends() -> None:
    _, notice = parse_notice(
        message(KinesisBatchInfo__startSequenceNumber="9", KinesisBatchInfo__endSequenceNumber="10")
    )
    assert (notice.start, notice.end) == ("9", "10")


def test_leading_zeros_are_kept() -> None:
    _, notice = parse_notice(
        message(KinesisBatchInfo__startSequenceNumber="0009", KinesisBatchInfo__endSequenceNumber="0010")
    )
    assert (notice.start, notice.end) == ("0009", "0010")


def test_notices_of_other_partitions_are_accepted() -> None:
    shard, _ = parse_notice(message(KinesisBatchInfo__streamArn=STREAM_ARN.replace("aws:kinesis", "aws-cn:kinesis")))
    assert shard.stream_arn.startswith("arn:aws-cn:kinesis:")


def test_a_notice_survives_the_way_through_the_incidents_input() -> None:
    _, notice = parse_notice(message())
    assert Notice.from_dict(json.loads(json.dumps(notice.to_dict()))) == notice


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"requestContext": None}, "requestContext"),
        ({"requestContext": "text"}, "requestContext"),
        ({"requestContext__functionArn": None}, "requestContext.functionArn"),
        ({"requestContext__functionArn": "orders"}, "requestContext.functionArn"),
        ({"requestContext__functionArn": STREAM_ARN}, "requestContext.functionArn"),
        ({"requestContext__functionArn": CONSUMER.replace("function:orders", "")}, "requestContext.functionArn"),
        ({"requestContext__functionArn": CONSUMER.replace("function:", "")}, "requestContext.functionArn"),
        ({"requestContext__condition": ""}, "requestContext.condition"),
        ({"requestContext__condition": 7}, "requestContext.condition"),
        ({"requestContext__requestId": None}, "requestContext.requestId"),
        ({"requestContext__approximateInvokeCount": None}, "requestContext.approximateInvokeCount"),
        ({"requestContext__approximateInvokeCount": "4"}, "requestContext.approximateInvokeCount"),
        ({"responseContext": "text"}, "responseContext"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 1702245983}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"KinesisBatchInfo": []}, "KinesisBatchInfo"),
        ({"KinesisBatchInfo__shardId": None}, "KinesisBatchInfo.shardId"),
        ({"KinesisBatchInfo__streamArn": None}, "KinesisBatchInfo.streamArn"),
        ({"KinesisBatchInfo__streamArn": TABLE_STREAM_ARN}, "KinesisBatchInfo.streamArn"),
        ({"KinesisBatchInfo__streamArn": STREAM_ARN.replace("stream/", "")}, "KinesisBatchInfo.streamArn"),
        ({"KinesisBatchInfo__batchSize": 0}, "KinesisBatchInfo.batchSize"),
        ({"KinesisBatchInfo__batchSize": -1}, "KinesisBatchInfo.batchSize"),
        ({"KinesisBatchInfo__batchSize": True}, "KinesisBatchInfo.batchSize"),
        ({"KinesisBatchInfo__batchSize": 1.5}, "KinesisBatchInfo.batchSize"),
        ({"KinesisBatchInfo__startSequenceNumber": None}, "KinesisBatchInfo.startSequenceNumber"),
        ({"KinesisBatchInfo__startSequenceNumber": "12x"}, "KinesisBatchInfo.startSequenceNumber"),
        ({"KinesisBatchInfo__endSequenceNumber": 12}, "KinesisBatchInfo.endSequenceNumber"),
        ({"KinesisBatchInfo__endSequenceNumber": "1" * 200}, "KinesisBatchInfo.endSequenceNumber"),
        ({"KinesisBatchInfo__endSequenceNumber": "1"}, "endSequenceNumber 1"),
        ({"KinesisBatchInfo__approximateArrivalOfFirstRecord": "soon"}, "approximateArrivalOfFirstRecord"),
        ({"KinesisBatchInfo__approximateArrivalOfLastRecord": None}, "approximateArrivalOfLastRecord"),
        ({"KinesisBatchInfo": None}, "KinesisBatchInfo"),
        ({"DDBStreamBatchInfo": {}}, "DDBStreamBatchInfo"),
    ],
    ids=str,
)
def test_a_malformed_notice_is_refused_with_the_field_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedNotice) as caught:
        parse_notice(message(**changes))
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "list"),
        ("null", "NoneType"),
        ("{}", "found fields: none"),
        ('{"b": 1, "a": 2}', "found fields: a, b"),
        ('{"Type": "Notification", "Message": "hello"}', "not JSON"),
        ('{"Type": "SubscriptionConfirmation", "Message": "{}"}', "found fields: Message, Type"),
    ],
)
def test_a_message_that_is_no_notice_at_all_is_refused_with_what_it_is(text: str, what: str) -> None:
    with pytest.raises(MalformedNotice) as caught:
        parse_notice(text)
    assert what in str(caught.value)


def test_the_failure_record_of_an_asynchronous_invocation_is_refused_by_name() -> None:
    body = invocation_record()
    del body["KinesisBatchInfo"]
    body |= {"requestPayload": {"order": 1}, "responsePayload": {"errorType": "KeyError", "errorMessage": "x"}}
    with pytest.raises(MalformedNotice, match="asynchronous invocation"):
        parse_notice(json.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "aws/lambda/…"}}}]},
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"},
    ],
)
def test_an_s3_event_is_refused_with_what_to_do_instead(body: dict[str, Any]) -> None:
    with pytest.raises(MalformedNotice, match=r"S3 event notification.*OnFailure topic"):
        parse_notice(json.dumps(body))


def test_a_refusal_never_repeats_more_than_a_little_of_the_message() -> None:
    with pytest.raises(MalformedNotice) as caught:
        parse_notice(message(KinesisBatchInfo__startSequenceNumber="x" * 100_000))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2023-12-10T22:06:23.446Z", "2023-12-10T22:06:23.446Z"),
        ("2023-12-10T22:06:23Z", "2023-12-10T22:06:23.000Z"),
        ("2023-12-10T23:06:23+01:00", "2023-12-10T22:06:23.000Z"),
        ("2023-12-10T22:06:23", "2023-12-10T22:06:23.000Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(text: str, written: str) -> None:
    assert format_time(parse_time(text)) == written
