"""Lambda's event filtering language."""

import json
from typing import Any

import pytest

from stream_redrive.core.event_filter import FilterPatternError, RecordFilter
from stream_redrive.core.events import kinesis_entry
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support.build import ARRIVED, SHARD_ID, STREAM_ARN

LINEAGE = Lineage(Origin(SHARD_ID, "1"), 0)

ORDER = {
    "type": "buy",
    "stock": "ANYCO",
    "quantity": 1000,
    "price": 9.5,
    "note": "",
    "broker": None,
    "far": 6e9,
    "urgent": True,
    "street": "straße",
    "tags": ["new", "Europe"],
    "none": [],
    "legs": [{"side": "buy", "lots": 1}, {"side": "sell", "lots": 2}],
    "owner": {"name": {"first": "Ada"}},
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"type": ["buy"]}, True),
        ({"type": ["sell", "buy"]}, True),
        ({"type": ["sell"]}, False),
        ({"type": ["BUY"]}, False),
        ({"type": ["buy"], "stock": ["OTHER"]}, False),
        ({"missing": ["buy"]}, False),
        ({"quantity": [1000]}, True),
        ({"quantity": ["1000"]}, False),
        ({"urgent": [True]}, True),
        ({"urgent": [1]}, False),
        ({"note": [""]}, True),
        ({"type": [""]}, False),
        ({"broker": [None]}, True),
        ({"missing": [None]}, False),
        ({"stock": [{"prefix": "ANY"}]}, True),
        ({"stock": [{"prefix": "CO"}]}, False),
        ({"stock": [{"suffix": "CO"}]}, True),
        ({"stock": [{"suffix": "ANY"}]}, False),
        ({"quantity": [{"prefix": "1"}]}, False),
        ({"stock": [{"equals-ignore-case": "anyco"}]}, True),
        ({"stock": [{"equals-ignore-case": "any"}]}, False),
        ({"street": [{"equals-ignore-case": "STRASSE"}]}, None),
        ({"street": [{"equals-ignore-case": "Straße"}]}, True),
        ({"stock": [{"anything-but": "ANYCO"}]}, False),
        ({"stock": [{"anything-but": ["OTHER", "THIRD"]}]}, True),
        ({"stock": [{"anything-but": ["OTHER", "ANYCO"]}]}, False),
        ({"quantity": [{"anything-but": [1, 2]}]}, True),
        ({"quantity": [{"anything-but": [1000]}]}, False),
        ({"tags": [{"anything-but": ["new"]}]}, True),  # one element that is something else is enough
        ({"quantity": [1000.0]}, None),  # equal numbers, differently written: the documents contradict each other
        ({"quantity": [1000.0], "type": ["sell"]}, False),
        ({"quantity": [1000.0, 1000]}, True),
        ({"quantity": [{"anything-but": [1000.0]}]}, None),
        ({"missing": [{"anything-but": "x"}]}, False),
        ({"quantity": [{"numeric": ["=", 1000]}]}, True),
        ({"quantity": [{"numeric": [">", 1000]}]}, False),
        ({"quantity": [{"numeric": [">=", 1000, "<", 1001]}]}, True),
        ({"price": [{"numeric": [">", 0, "<=", 9.5]}]}, True),
        ({"type": [{"numeric": [">", 0]}]}, False),
        ({"quantity": [{"numeric": ["=", 1e3]}]}, True),
        ({"price": [{"numeric": ["<", 9.5000001]}]}, None),  # finer than the matcher's own precision
        ({"far": [{"numeric": [">", 0]}]}, None),  # beyond the matcher's range
        ({"urgent": [{"numeric": ["=", 1]}]}, False),
        ({"type": [{"exists": True}]}, True),
        ({"broker": [{"exists": True}]}, True),
        ({"missing": [{"exists": True}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"type": [{"exists": False}]}, False),
        ({"missing": {"deeper": [{"exists": False}]}}, True),
        ({"owner": [{"exists": True}]}, False),  # leaves only
        ({"none": [{"exists": True}]}, False),
        ({"owner": {"name": {"first": ["Ada"]}}}, True),
        ({"owner": {"name": {"first": ["Bob"]}}}, False),
        ({"type": {"deeper": ["buy"]}}, False),
        ({"tags": ["Europe"]}, True),
        ({"tags": [{"prefix": "Eu"}]}, True),
        ({"tags": ["Asia"]}, False),
        ({"legs": {"side": ["sell"], "lots": [2]}}, True),
        ({"legs": {"side": ["buy"], "lots": [2]}}, False),  # one element has to match whole
        ({"$or": [{"type": ["sell"]}, {"quantity": [{"numeric": [">", 10]}]}]}, True),
        ({"$or": [{"type": ["sell"]}, {"quantity": [1]}]}, False),
        ({"urgent": [False], "$or": [{"type": ["buy"]}, {"quantity": [1]}]}, False),
        ({"owner": {"$or": [{"name": {"first": ["Ada"]}}, {"nick": ["x"]}]}}, True),
    ],
)
def test_a_pattern_matches_what_the_documents_say(pattern: dict[str, Any], expected: bool | None) -> None:
    assert only(json.dumps({"data": pattern})).admits(kinesis(json.dumps(ORDER).encode())) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "not json",
        "[]",
        "{}",
        '{"a": "b"}',
        '{"a": []}',
        '{"a": {}}',
        '{"a": [["b"]]}',
        '{"a": [{"wildcard": "*"}]}',
        '{"a": [{"cidr": "10.0.0.0/24"}]}',
        '{"a": [{"prefix": {"equals-ignore-case": "x"}}]}',
        '{"a": [{"anything-but": {"prefix": "x"}}]}',
        '{"a": [{"anything-but": ["x", 1]}]}',
        '{"a": [NaN]}',
        '{"a": [1], "a": [2]}',
        '{"a": [{"numeric": [[], 1]}]}',
        '{"a": [{"numeric": ["=", 6e9]}]}',
        '{"$or": [{"prefix": ["a"]}, {"b": ["c"]}]}',
        '{"a": [{"prefix": "x", "suffix": "y"}]}',
        '{"a": [{"prefix": 1}]}',
        '{"a": [{"numeric": [">"]}]}',
        '{"a": [{"numeric": ["~", 1]}]}',
        '{"a": [{"numeric": [">", "1"]}]}',
        '{"a": [{"exists": "yes"}]}',
        '{"a": [{"anything-but": []}]}',
        '{"a": [{"anything-but": {"numeric": ["=", 1]}}]}',
        '{"a": [{"equals-ignore-case": null}]}',
        '{"$or": [{"a": ["b"]}]}',
        '{"$or": {"a": ["b"]}}',
    ],
)
def test_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(FilterPatternError):
        RecordFilter.parse([pattern])


def only(*patterns: str) -> RecordFilter:
    return RecordFilter.parse(patterns)


def kinesis(data: bytes) -> dict[str, Any]:
    return kinesis_entry(Record(STREAM_ARN, StreamRecord(SHARD_ID, "1", "k", ARRIVED, data), LINEAGE))


def test_kinesis_data_is_matched_as_json() -> None:
    only_buys = only('{"data": {"order": {"type": ["buy"]}}}')
    assert only_buys.admits(kinesis(b'{"order": {"type": "buy"}}\n')) is True
    assert only_buys.admits(kinesis(b'{"order": {"type": "sell"}}')) is False


@pytest.mark.parametrize("data", [b"", b"buy", b"\x1f\x8b\xff", b'{"order": NaN}', b'"buy"', b"[]", b'{"order": 01}'])
def test_kinesis_data_that_is_no_json_object_is_dropped(data: bytes) -> None:
    assert only('{"data": {"order": ["buy"]}}').admits(kinesis(data)) is False
    if data not in (b'"buy"', b"[]"):
        assert only('{"data": {"order": [{"exists": false}]}}').admits(kinesis(data)) is False


@pytest.mark.parametrize(
    "data",
    [
        b"\xf3\x89\x9a\xc2",  # an aggregate of the Kinesis Producer Library
        b'{"order": "buy"}{"order": "sell"}',
        b'{"order": "buy", "order": "sell"}',
        b'\xef\xbb\xbf{"order": "buy"}',
        '{"order": "buy"}'.encode("utf-16-le"),
        b"[" * 100_000,
    ],
)
def test_what_lambda_makes_of_odd_data_is_not_known(data: bytes) -> None:
    assert only('{"data": {"order": ["buy"]}}').admits(kinesis(data)) is None


def test_numbers_of_any_length_do_no_harm() -> None:
    assert only('{"data": {"order": [1]}}').admits(kinesis(b'{"order": ' + b"9" * 100_000 + b"}")) is False


def test_patterns_on_other_fields_than_the_data_prove_nothing() -> None:
    by_key = only('{"partitionKey": ["k"]}')
    assert by_key.admits(kinesis(b"{}")) is by_key.admits(kinesis(b"\xff")) is None
    both = only('{"partitionKey": ["k"], "data": {"a": [1]}}')
    assert both.admits(kinesis(b'{"a": 1}')) is None
    assert both.admits(kinesis(b'{"a": 2}')) is both.admits(kinesis(b"\xff")) is False


def test_one_of_several_filters_is_enough() -> None:
    either = only('{"data": {"a": [1]}}', '{"data": {"b": ["vip"]}}')
    assert either.admits(kinesis(b'{"a": 1}')) is True
    assert either.admits(kinesis(b'{"a": 2, "b": "vip"}')) is True
    assert either.admits(kinesis(b'{"a": 2}')) is False
    assert only('{"data": {"a": [1]}}', '{"partitionKey": ["k"]}').admits(kinesis(b'{"a": 1}')) is True


def test_no_filter_admits_everything() -> None:
    assert only().admits(kinesis(b"\xff")) is True


def test_dynamodb_record_is_matched_whole() -> None:
    inserts = only(
        '{"eventName": ["INSERT"], "dynamodb": {"NewImage": {"price": {"N": ["7"]}, "old": {"BOOL": [true]}}}}'
    )
    image = {"price": {"N": "7"}, "old": {"BOOL": True}}
    record = {"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"NewImage": image}}
    assert inserts.admits(record) is True
    assert inserts.admits(record | {"eventName": "REMOVE"}) is False
