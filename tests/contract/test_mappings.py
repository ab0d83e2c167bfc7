"""What every source of the consumers' mappings does."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.mappings import LambdaMappings
from stream_redrive.core.errors import AccessDenied
from stream_redrive.core.ports import EventSourceMappings, MappingSettings
from tests.support.build import CONSUMER, STREAM_ARN
from tests.support.memory import MemoryMappings
from tests.support.wire import Answer, Wire, refusal, reply

FILTER = '{"data": {"type": ["buy"]}}'
OTHER_STREAM_ARN = STREAM_ARN.replace("orders-stream", "refunds-stream")
QUALIFIED = f"{CONSUMER}:1"

# A mapping: consumer, stream, filters, parallelization factor.
Made = tuple[str, str, tuple[str, ...], int]
Make = Callable[..., EventSourceMappings]


@pytest.fixture
def make(implementation: str) -> Make:
    """Make mappings."""
    if implementation == "memory":

        def remember(*made: Made) -> EventSourceMappings:
            mappings = MemoryMappings()
            for consumer, stream, filters, factor in made:
                known = mappings.mappings.get((consumer, stream), ())
                settings = MappingSettings(filters, factor, datetime.now(UTC))
                mappings.mappings[consumer, stream] = (*known, settings)
            return mappings

        return remember
    return deploy


def deploy(*made: Made) -> EventSourceMappings:
    function, kinesis, iam = boto3.client("lambda"), boto3.client("kinesis"), boto3.client("iam")
    for arn in (STREAM_ARN, OTHER_STREAM_ARN):
        kinesis.create_stream(StreamName=arn.partition("/")[2], ShardCount=1)
    role = iam.create_role(RoleName="orders", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("index.py", "")
    for name in ("orders", "refunds"):
        function.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="index.handler",
            Role=role,
            Code={"ZipFile": code.getvalue()},
            Publish=True,
        )
    for consumer, stream, filters, factor in made:
        more: Any = {"FilterCriteria": {"Filters": [{"Pattern": text} for text in filters]}} if filters else {}
        function.create_event_source_mapping(
            FunctionName=consumer, EventSourceArn=stream, ParallelizationFactor=factor, Enabled=False, **more
        )
    return LambdaMappings(clients.lambda_())


def found(mappings: EventSourceMappings, consumer: str = CONSUMER) -> list[tuple[tuple[str, ...], int]]:
    return [(m.filters, m.parallelization_factor) for m in mappings.of(consumer, STREAM_ARN)]


def test_a_mapping_says_its_filters_its_lanes_and_when_it_was_changed(make: Make) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    mappings = make((CONSUMER, STREAM_ARN, (FILTER, "{}"), 4))
    [settings] = mappings.of(CONSUMER, STREAM_ARN)
    assert (settings.filters, settings.parallelization_factor) == ((FILTER, "{}"), 4)
    assert settings.changed_at.tzinfo is UTC
    assert before < settings.changed_at < datetime.now(UTC) + timedelta(seconds=2)


def test_a_mapping_without_filters_has_none(make: Make) -> None:
    assert found(make((CONSUMER, STREAM_ARN, (), 1))) == [((), 1)]


def test_only_the_consumers_own_mappings_on_the_stream_count(make: Make) -> None:
    mappings = make(
        (CONSUMER, STREAM_ARN, (FILTER,), 1),
        (CONSUMER, OTHER_STREAM_ARN, (), 2),
        (CONSUMER.replace("orders", "refunds"), STREAM_ARN, (), 3),
        (QUALIFIED, STREAM_ARN, (), 4),
    )
    assert found(mappings) == found(mappings, f"{CONSUMER}:$LATEST") == [((FILTER,), 1)]
    assert found(mappings, QUALIFIED) == [((), 4)]


def test_there_may_be_none(make: Make) -> None:
    assert found(make()) == []


def entry(arn: str = CONSUMER, **fields: Any) -> dict[str, Any]:
    return {"UUID": "u", "FunctionArn": arn, "EventSourceArn": STREAM_ARN, "LastModified": 1767614400.5, **fields}


def listed(*answers: Answer) -> tuple[LambdaMappings, Wire]:
    client = clients.lambda_()
    return LambdaMappings(client), Wire(client, *answers)


@pytest.mark.usefixtures("pauses")
def test_lambda_is_asked_for_all_pages_and_what_it_leaves_out_is_its_default() -> None:
    first = {"EventSourceMappings": [entry(), entry(QUALIFIED)], "NextMarker": "more"}
    mappings, wire = listed(reply(first), reply({"EventSourceMappings": [entry(ParallelizationFactor=2)]}))
    assert found(mappings) == [((), 1), ((), 2)]
    assert len(wire.requests) == 2


@pytest.mark.usefixtures("pauses")
def test_a_function_that_is_gone_has_no_mappings() -> None:
    assert found(listed(refusal("ResourceNotFoundException", status=404))[0]) == []


@pytest.mark.usefixtures("pauses")
def test_an_encrypted_filter_is_not_taken_for_none() -> None:
    mappings, _ = listed(reply({"EventSourceMappings": [entry(KMSKeyArn="arn:aws:kms:us-east-1:1:key/k")]}))
    with pytest.raises(AccessDenied, match="encrypted"):
        mappings.of(CONSUMER, STREAM_ARN)
