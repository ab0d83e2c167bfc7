"""Lambda's event filtering language."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stream_redrive_cli.lab.mapping.filters import FilterPatternError, RecordFilter, matches
from tests.unit.lab_mapping.support import event

ORDER = {
    "type": "buy",
    "stock": "ANYCO",
    "quantity": 1000,
    "price": 9.5,
    "note": "",
    "broker": None,
    "urgent": True,
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
        ({"stock": [{"prefix": {"equals-ignore-case": "any"}}]}, True),
        ({"stock": [{"suffix": "CO"}]}, True),
        ({"stock": [{"suffix": "ANY"}]}, False),
        ({"quantity": [{"prefix": "1"}]}, False),
        ({"stock": [{"equals-ignore-case": "anyco"}]}, True),
        ({"stock": [{"equals-ignore-case": "any"}]}, False),
        ({"stock": [{"anything-but": "ANYCO"}]}, False),
        ({"stock": [{"anything-but": ["OTHER", "THIRD"]}]}, True),
        ({"stock": [{"anything-but": ["OTHER", "ANYCO"]}]}, False),
        ({"stock": [{"anything-but": {"prefix": "ANY"}}]}, False),
        ({"stock": [{"anything-but": {"prefix": ["X", "Y"]}}]}, True),
        ({"stock": [{"anything-but": {"suffix": "CO"}}]}, False),
        ({"stock": [{"anything-but": {"equals-ignore-case": "anyco"}}]}, False),
        ({"quantity": [{"anything-but": [1, 2]}]}, True),
        ({"missing": [{"anything-but": "x"}]}, False),
        ({"quantity": [{"numeric": ["=", 1000]}]}, True),
        ({"quantity": [{"numeric": [">", 1000]}]}, False),
        ({"quantity": [{"numeric": [">=", 1000, "<", 1001]}]}, True),
        ({"price": [{"numeric": [">", 0, "<=", 9.5]}]}, True),
        ({"type": [{"numeric": [">", 0]}]}, False),
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
def test_pattern(pattern: dict[str, Any], expected: bool) -> None:
    RecordFilter.parse([json.dumps(pattern)])
    assert matches(pattern, ORDER) is expected


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


def kinesis(data: bytes, key: str = "k") -> dict[str, Any]:
    return event(1, key=key, data=base64.b64encode(data).decode())


def test_kinesis_data_is_matched_as_json() -> None:
    only_buys = RecordFilter.parse(['{"data": {"order": {"type": ["buy"]}}}'])
    assert only_buys.admits(kinesis(b'{"order": {"type": "buy"}}'))
    assert not only_buys.admits(kinesis(b'{"order": {"type": "sell"}}'))


@pytest.mark.parametrize("data", [b"", b"buy", b"\x1f\x8b\xff", b'{"order": NaN}', b'"buy"', b"[]"])
def test_kinesis_data_that_is_no_json_object_is_dropped(data: bytes) -> None:
    assert not RecordFilter.parse(['{"data": {"order": ["buy"]}}']).admits(kinesis(data))


def test_pattern_on_metadata_admits_data_that_is_not_json() -> None:
    by_key = RecordFilter.parse(['{"partitionKey": [{"prefix": "vip-"}]}'])
    assert by_key.admits(kinesis(b"\xff\x00", key="vip-1"))
    assert not by_key.admits(kinesis(b"\xff\x00", key="1"))


def test_one_of_several_filters_is_enough() -> None:
    either = RecordFilter.parse(['{"data": {"a": [1]}}', '{"partitionKey": ["vip"]}'])
    assert either.admits(kinesis(b'{"a": 1}'))
    assert either.admits(kinesis(b"no json", key="vip"))
    assert not either.admits(kinesis(b'{"a": 2}'))


def test_no_filter_admits_everything() -> None:
    assert RecordFilter.parse([]).admits(kinesis(b"\xff"))


def test_dynamodb_record_is_matched_whole() -> None:
    inserts = RecordFilter.parse(
        ['{"eventName": ["INSERT"], "dynamodb": {"NewImage": {"price": {"N": ["7"]}, "old": {"BOOL": [true]}}}}']
    )
    image = {"price": {"N": "7"}, "old": {"BOOL": True}}
    record = {"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"NewImage": image}}
    assert inserts.admits(record)
    assert not inserts.admits(record | {"eventName": "REMOVE"})
