"""What a function's answer says about its batch (ReportBatchItemFailures)."""

from collections.abc import Collection


class WholeBatchFailed(Exception):
    """The answer names no valid set of failed items, so Lambda fails all of them."""


def failed_items(answer: object, known: Collection[str]) -> frozenset[str]:
    """The reported item identifiers; empty when all went well (`null`, `{}` or an empty list, too).

    Source: https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html

    Raises:
        WholeBatchFailed: an empty, null or unknown identifier, a wrong key, or an answer that isn't an object.
    """
    if answer is None:
        return frozenset()
    if not isinstance(answer, dict):
        raise WholeBatchFailed("the answer is not an object")
    failures = answer.get("batchItemFailures")
    if failures is None:
        return frozenset()
    if not isinstance(failures, list):
        raise WholeBatchFailed("batchItemFailures is not a list")
    reported = set()
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or identifier not in known:
            raise WholeBatchFailed("an itemIdentifier is empty, null or not of this batch")
        reported.add(identifier)
    return frozenset(reported)
