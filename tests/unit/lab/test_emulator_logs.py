"""The emulator searches logs as CloudWatch does."""

from __future__ import annotations

from typing import Any

import pytest
from ministack.core import iam_actions
from ministack.services import cloudwatch_logs

from stream_redrive_cli.lab.emulator import launcher


@pytest.fixture(autouse=True)
def searching(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator as the launcher makes it, for one test."""
    monkeypatch.setattr(cloudwatch_logs, "_compile_filter_pattern", cloudwatch_logs._compile_filter_pattern)
    monkeypatch.setattr(iam_actions, "extract_resource_arn", iam_actions.extract_resource_arn)
    launcher.search_logs_as_cloudwatch_does()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [('?"a-1" ?"b 2"', ["x a-1", "b 2"]), ('?"b 2"', ["b 2"]), ('"a-1"', ["x a-1"]), ("", ["x a-1", "b 2", "c"])],
)
def test_any_of_several_terms_is_enough(pattern: str, expected: list[str]) -> None:
    matches: Any = cloudwatch_logs._compile_filter_pattern(pattern)
    assert [message for message in ("x a-1", "b 2", "c") if matches(message)] == expected


@pytest.mark.parametrize(("operation", "expected"), [("FilterLogEvents", "g:log-stream:"), ("DescribeLogStreams", "g")])
def test_a_search_is_checked_against_the_streams_of_its_group(operation: str, expected: str) -> None:
    request = ("POST", "/", {"x-amz-target": f"Logs_20140328.{operation}"}, b'{"logGroupName": "g"}', {})
    arn = iam_actions.extract_resource_arn("logs", *request, "us-east-1", "000000000000")
    assert arn == f"arn:aws:logs:us-east-1:000000000000:log-group:{expected}"
