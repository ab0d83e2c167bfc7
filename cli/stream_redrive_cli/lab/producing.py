"""Puts a scenario's input into its stream and notes where each record landed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stream_redrive_cli.errors import ServiceRefusedError
from stream_redrive_cli.lab.accounting import Place
from stream_redrive_cli.lab.inputs import Input

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

_CALL_RECORDS = 250  # half of what PutRecords takes, so that progress can be seen
_ATTEMPTS = 10


def produce(client: KinesisClient, stream: str, records: Sequence[Input]) -> dict[Place, Input]:
    """Put one call's worth or less; PutRecords may fail in part, and only the failed records are put again.

    Raises ServiceRefusedError when the stream goes on refusing.
    """
    landed: dict[Place, Input] = {}
    left = list(records)
    for attempt in range(_ATTEMPTS):
        reply = client.put_records(
            StreamName=stream,
            Records=[{"Data": record.data, "PartitionKey": record.partition_key} for record in left],
        )
        refused = []
        for record, result in zip(left, reply["Records"], strict=True):
            if result.get("ErrorCode"):
                refused.append(record)
            else:
                landed[Place(result["ShardId"], int(result["SequenceNumber"]))] = record
        if not refused:
            return landed
        left = refused
        time.sleep(0.1 * 2**attempt)
    raise ServiceRefusedError(f"the stream {stream} refused {len(left)} records {_ATTEMPTS} times")


def calls(records: Sequence[Input]) -> list[Sequence[Input]]:
    """The records, split into calls."""
    return [records[start : start + _CALL_RECORDS] for start in range(0, len(records), _CALL_RECORDS)]
