"""The table of the ledger: reads that are consistent, and writes that go on where the service stopped."""

import itertools
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from stream_redrive.adapters.faults import faults_of
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_TRANSACTION = 100
MAX_BATCH_GET = 100
MAX_BATCH_WRITE = 25
MAX_ROUNDS = 10
# Longer than any message may wait (SNS 23 days, queue and DLQ 14 days each) and any parked incident be redriven.
KEEP = timedelta(days=400)

T = TypeVar("T")
Item = dict[str, Any]


class LedgerTable:
    """A table with the keys pk and sk and the TTL attribute expires_at."""

    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def _get(self, key: Item) -> Item | None:
        """Consistent GetItem."""
        with faults_of("dynamodb:GetItem"):
            reply: Any = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        item: Item | None = reply.get("Item")
        return item

    def _get_all(self, keys: list[Item]) -> Iterator[Item]:
        for attempt in range(MAX_ROUNDS):
            with faults_of("dynamodb:BatchGetItem"):
                reply = self._client.batch_get_item(RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}})
            yield from reply["Responses"].get(self._table, [])
            unprocessed: Any = reply.get("UnprocessedKeys", {}).get(self._table, {})
            keys = unprocessed.get("Keys", [])
            if not keys:
                return
            self._clock.sleep(min(0.05 * 2**attempt, 2))
        raise ServiceBusy("dynamodb:BatchGetItem leaves keys unprocessed")

    def _query(
        self, condition: str, values: Item, *, backwards: bool = False, limit: int | None = None
    ) -> Iterator[Item]:
        """All items of a consistent Query, or as many as the limit says."""
        with faults_of("dynamodb:Query"):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                ConsistentRead=True,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ScanIndexForward=not backwards,
                PaginationConfig={} if limit is None else {"MaxItems": limit, "PageSize": limit},
            )
            for page in pages:
                yield from page["Items"]

    def _write_all(self, items: Iterable[Item]) -> None:
        for batch in batches(items, MAX_BATCH_WRITE):
            requests: Any = [{"PutRequest": {"Item": item}} for item in batch]
            for attempt in range(MAX_ROUNDS):
                with faults_of("dynamodb:BatchWriteItem"):
                    reply = self._client.batch_write_item(RequestItems={self._table: requests})
                requests = reply.get("UnprocessedItems", {}).get(self._table, [])
                if not requests:
                    break
                self._clock.sleep(min(0.05 * 2**attempt, 2))
            else:
                raise ServiceBusy("dynamodb:BatchWriteItem leaves items unprocessed")

    def _expiry(self, keep: timedelta = KEEP) -> Item:
        return {"N": str(int((self._clock.now() + keep).timestamp()))}


def item_key(pk: str, sk: str) -> Item:
    """The key of an item."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of at most that size."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
