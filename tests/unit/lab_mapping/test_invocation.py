"""What the reply to a mapping's invocation says about its batch."""

from __future__ import annotations

import pytest

from stream_redrive.core.responses import WholeBatchFailed
from stream_redrive_cli.lab.mapping.invocation import UNREADABLE, Invocation

KNOWN = {"1", "2", "3"}


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
    with pytest.raises(WholeBatchFailed):
        invocation.failed_items(KNOWN, partial_responses=partial_responses)


def test_an_answer_that_is_no_json_fails_the_whole_batch() -> None:
    with pytest.raises(WholeBatchFailed):
        Invocation("r", 200, "$LATEST", None, UNREADABLE).failed_items(KNOWN, partial_responses=True)
