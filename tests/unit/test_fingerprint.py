"""Fingerprints: one name for one kind of failure, whatever changes from record to record."""

import pytest

from stream_redrive.core.fingerprint import fingerprint, normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("could not convert string to float: 'abc'", "could not convert string to float: 'x y'"),
        ("order 17 of 230 is late by 1.5 s", "order 4 of 9 is late by 12,345.25 s"),
        (
            "no item 3f2504e0-4f89-11d3-9a0c-0305e82c3301 in table",
            "no item 9b2e4c1a-0000-4fff-8abc-1234567890ab in table",
        ),
        ("<Order object at 0x7fbdb6df0180>", "<Order object at 0x7f0000000001>"),
        ("GET https://api.example.com/a/1 failed", "GET https://api.example.com/b failed"),
        ("arn:aws:sqs:eu-west-1:123456789012:a is gone", "arn:aws:sqs:us-east-1:210987654321:b is gone"),
        ('key "tail\\nnumber" missing', 'key "hull" missing'),
        ("digest deadbeef01 differs", "digest 0badcafe differs"),
        ("two\n  lines", "two lines"),
    ],
)
def test_what_changes_from_record_to_record_is_left_out(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("connection refused", "connection reset"),
        ("unsupported operand type(s) for /: NoneType and int", "unsupported operand type(s) for /: str and int"),
        ("the user's order", "the user's invoice"),
    ],
)
def test_what_tells_two_failures_apart_stays(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


PARTS = {
    "consumer": "arn:c",
    "stream": "arn:s",
    "rule": "logic-error",
    "error_type": "KeyError",
    "message": "'air_time'",
    "schema_path": "",
}


def test_each_part_counts() -> None:
    names = {fingerprint(**PARTS)} | {fingerprint(**{**PARTS, part: "something else"}) for part in PARTS}
    assert len(names) == 1 + len(PARTS)


def test_the_name_is_the_same_from_run_to_run() -> None:
    assert fingerprint(**PARTS) == "73da29f384c7fc51"
