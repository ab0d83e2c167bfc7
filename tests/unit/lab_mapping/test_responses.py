"""Which items a function's answer fails."""

from __future__ import annotations

import pytest

from stream_redrive_cli.lab.mapping.invocation import Invocation
from stream_redrive_cli.lab.mapping.responses import UNREADABLE, WholeBatchFailedError, failed_items

KNOWN = {"1", "2", "3"}


@pytest.mark.parametrize(
    "answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, {"statusCode": 200}]
)
def test_nothing_reported_is_success(answer: object) -> None:
    assert failed_items(answer, KNOWN) == frozenset()


def test_reported_items_fail() -> None:
    answer = {"batchItemFailures": [{"itemIdentifier": "3"}, {"itemIdentifier": "1"}, {"itemIdentifier": "3"}]}
    assert failed_items(answer, KNOWN) == {"1", "3"}


@pytest.mark.parametrize(
    "answer",
    [
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"itemIdentifier": "4"}]},
        {"batchItemFailures": [{"itemIdentifier": 1}]},
        {"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "4"}]},
        {"batchItemFailures": [{"identifier": "1"}]},
        {"batchItemFailures": ["1"]},
        {"batchItemFailures": "1"},
        ["1"],
        "done",
        UNREADABLE,
    ],
)
def test_invalid_report_fails_the_whole_batch(answer: object) -> None:
    with pytest.raises(WholeBatchFailedError):
        failed_items(answer, KNOWN)


def test_answer_counts_only_where_partial_responses_are_on() -> None:
    invocation = Invocation("r", 200, "$LATEST", None, {"batchItemFailures": [{"itemIdentifier": "2"}]})
    assert invocation.failed_items(KNOWN, partial_responses=False) == frozenset()
    assert invocation.failed_items(KNOWN, partial_responses=True) == {"2"}


@pytest.mark.parametrize("partial_responses", [True, False])
@pytest.mark.parametrize(("status_code", "function_error"), [(200, "Unhandled"), (413, None)])
def test_function_error_fails_the_whole_batch(
    partial_responses: bool, status_code: int, function_error: str | None
) -> None:
    invocation = Invocation("r", status_code, "$LATEST", function_error, {"batchItemFailures": []})
    with pytest.raises(WholeBatchFailedError):
        invocation.failed_items(KNOWN, partial_responses=partial_responses)
