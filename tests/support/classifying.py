"""Verdicts on single records."""

import json
from typing import Any

from stream_redrive.core.classifier import Classifier, Neighbourhood
from stream_redrive.core.manifest import Examined, Outcome
from stream_redrive.core.patience import Patience
from stream_redrive.core.policy import parse_policy
from stream_redrive.core.ports import TimeLimit
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from stream_redrive.core.verdicts import RecordVerdict
from tests.support.build import ARRIVED, CONSUMER, SHARD, SHARD_ID, STREAM_ARN
from tests.support.memory import MemoryTimeLimit

SCHEMA = {
    "type": "object",
    "required": ["tail"],
    "properties": {"tail": {"type": "string"}, "legs": {"type": "array", "items": {"type": "integer"}}},
}
SECRET = "4111-1111-1111-1111"


def record(data: bytes = b"{}", attempt: int = 0) -> Record:
    return Record(STREAM_ARN, StreamRecord(SHARD_ID, "7", "k", ARRIVED, data), Lineage(Origin(SHARD_ID, "5"), attempt))


def examined(outcome: Outcome = Outcome.COMPLETE, size: int = 1, **fields: Any) -> Examined:
    defaults: dict[str, Any] = {"start": "1", "end": "9", "found": size, "condition": "RetryAttemptsExhausted"}
    return Examined(size=size, outcome=outcome, **{**defaults, "function_error": "Unhandled", **fields})


def classifier(
    *,
    lanes_or_filters: bool = False,
    neighbourhood: Neighbourhood | None = None,
    limit: TimeLimit | None = None,
    **policy: Any,
) -> Classifier:
    book = parse_policy(json.dumps({"default": policy}), "v7")
    return Classifier(
        book.policy_for(CONSUMER),
        book.version,
        SHARD,
        neighbourhood or Neighbourhood(),
        Patience(limit or MemoryTimeLimit()),
        lanes_or_filters=lanes_or_filters,
    )


def verdict_of(
    data: bytes = b"{}", attempt: int = 0, notices: list[Examined] | None = None, **policy: Any
) -> RecordVerdict:
    verdict = classifier(**policy).classify(record(data, attempt), notices or [examined()])
    assert verdict is not None
    return verdict
