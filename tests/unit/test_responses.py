"""Which items a function's answer fails."""

import pytest

from stream_redrive.core.responses import WholeBatchFailed, failed_items

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
        object(),
    ],
)
def test_invalid_report_fails_the_whole_batch(answer: object) -> None:
    with pytest.raises(WholeBatchFailed):
        failed_items(answer, KNOWN)
