"""Settings as they come from the Lambda API."""

from __future__ import annotations

from typing import Any

import pytest

from stream_redrive.core.event_filter import FilterPatternError, RecordFilter
from stream_redrive_cli.lab.mapping.settings import (
    QueueMapping,
    StreamMapping,
    UnsupportedMappingError,
    mapping_from_reply,
)
from tests.unit.lab_mapping.support import FUNCTION_ARN, STREAM_ARN

QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:intake"
TOPIC_ARN = "arn:aws:sns:us-east-1:123456789012:on-failure"
STREAM = {"UUID": "u-1", "FunctionArn": FUNCTION_ARN, "EventSourceArn": STREAM_ARN}
QUEUE = {"UUID": "u-2", "FunctionArn": FUNCTION_ARN, "EventSourceArn": QUEUE_ARN}


def test_full_stream_mapping() -> None:
    reply = {
        **STREAM,
        "BatchSize": 50,
        "MaximumBatchingWindowInSeconds": 2,
        "MaximumRetryAttempts": 0,
        "MaximumRecordAgeInSeconds": 3600,
        "BisectBatchOnFunctionError": True,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ParallelizationFactor": 4,
        "FilterCriteria": {"Filters": [{"Pattern": '{"data": {"a": [1]}}'}]},
        "StartingPosition": "TRIM_HORIZON",
        "DestinationConfig": {"OnFailure": {"Destination": TOPIC_ARN}},
    }
    settings = mapping_from_reply(reply)
    assert isinstance(settings, StreamMapping)
    assert (settings.batch_size, settings.window_seconds, settings.parallelization_factor) == (50, 2, 4)
    assert (settings.maximum_retry_attempts, settings.maximum_record_age_seconds) == (0, 3600)
    assert (settings.bisect, settings.partial_responses) == (True, True)
    assert settings.filters == RecordFilter.parse(['{"data": {"a": [1]}}'])
    assert (settings.starting_position, settings.on_failure_arn) == ("TRIM_HORIZON", TOPIC_ARN)


def test_absent_fields_get_the_defaults_of_aws() -> None:
    assert mapping_from_reply(STREAM) == StreamMapping("u-1", FUNCTION_ARN, STREAM_ARN, "kinesis")
    settings = mapping_from_reply({**STREAM, "DestinationConfig": {"OnFailure": {}}})
    assert isinstance(settings, StreamMapping)
    assert (settings.maximum_retry_attempts, settings.maximum_record_age_seconds) == (-1, -1)
    assert settings.on_failure_arn is None


def test_queue_mapping() -> None:
    reply = {
        **QUEUE,
        "BatchSize": 10_000,
        "MaximumBatchingWindowInSeconds": 20,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 2},
    }
    assert mapping_from_reply(reply) == QueueMapping("u-2", FUNCTION_ARN, QUEUE_ARN, 10_000, 20, True, 2)


def test_equal_replies_make_equal_mappings() -> None:
    reply = {**STREAM, "FilterCriteria": {"Filters": [{"Pattern": '{"partitionKey": ["a"]}'}]}}
    assert mapping_from_reply(reply) == mapping_from_reply(dict(reply))
    assert mapping_from_reply(reply) != mapping_from_reply({**reply, "BatchSize": 7})


@pytest.mark.parametrize(
    "reply",
    [
        {**STREAM, "EventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/c"},
        {**STREAM, "BatchSize": 0},
        {**STREAM, "BatchSize": 10_001},
        {**STREAM, "MaximumRetryAttempts": -2},
        {**STREAM, "MaximumRetryAttempts": 10_001},
        {**STREAM, "MaximumRecordAgeInSeconds": 59},
        {**STREAM, "MaximumRecordAgeInSeconds": 604_801},
        {**STREAM, "ParallelizationFactor": 11},
        {**STREAM, "TumblingWindowInSeconds": 30},
        {**STREAM, "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::bucket"}}},
        {**QUEUE, "EventSourceArn": QUEUE_ARN + ".fifo"},
        {**QUEUE, "BatchSize": 11},
        {**QUEUE, "FilterCriteria": {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]}},
    ],
)
def test_what_aws_or_the_stand_in_lacks_is_refused(reply: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedMappingError):
        mapping_from_reply(reply)


def test_invalid_filter_is_refused() -> None:
    with pytest.raises(FilterPatternError):
        mapping_from_reply({**STREAM, "FilterCriteria": {"Filters": [{"Pattern": '{"data": "x"}'}]}})
