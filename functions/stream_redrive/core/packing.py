"""Packing: fill PutRecords calls to the limits of the service, to the byte."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from stream_redrive.core.records import Record

MAX_RECORDS = 500
# The service takes 10 MiB today; older regions and emulators 5 MiB, partition keys counted in.
MAX_BYTES = 5 * 1024 * 1024

T = TypeVar("T")


def put_bytes(record: Record) -> int:
    """What a record counts against the limit of a call: payload and partition key, in bytes."""
    return len(record.stream.data) + len(record.put_key.encode())


def pack(
    items: Iterable[tuple[T, Record]], max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES
) -> Iterator[list[tuple[T, Record]]]:
    """Cut records, in their order, into calls.

    Args:
        items: records, each with whatever identifies it to the caller.
        max_records, max_bytes: the limits of a call. One record larger than max_bytes makes a call of its own.

    Yields:
        non-empty lists; together they are the input, in its order.
    """
    call: list[tuple[T, Record]] = []
    size = 0
    for item in items:
        weight = put_bytes(item[1])
        if call and (len(call) >= max_records or size + weight > max_bytes):
            yield call
            call, size = [], 0
        call.append(item)
        size += weight
    if call:
        yield call
