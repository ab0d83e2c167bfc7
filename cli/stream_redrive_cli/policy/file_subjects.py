"""Files of records: lines of a chunk, or payloads alone."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from stream_redrive.core.classifier import Neighbourhood
from stream_redrive.core.manifest import Examined, Outcome
from stream_redrive.core.notices import ShardRef, Source
from stream_redrive.core.payloads import GZIP_MAGIC
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from stream_redrive.core.sequence import is_sequence_number
from stream_redrive.core.verdicts import RecordVerdict
from stream_redrive_cli.errors import UsageError
from stream_redrive_cli.policy.subjects import Case, Remembered, Subject

# A file says nothing of a record's neighbours: with so many that went through, none of its records is in an outage.
_UNKNOWN_NEIGHBOURS = 10**9


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises UsageError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path} can't be read: {exc.strerror}") from exc


def file_subject(name: str, body: bytes, consumer: str | None, *, plain: bool) -> Subject:
    """Records of a file, each judged as if it had failed alone; quarantined ones with the evidence they carry.

    Args:
        body: lines of a chunk, or with plain one payload a line; gzip or not.
        consumer: the function's name or ARN.

    Raises:
        UsageError: naming the line that is no record.
    """
    lines = _unpacked(name, body).split(b"\n")
    if not lines[-1]:
        lines.pop()
    read: list[tuple[Record, RecordVerdict | None]]
    if plain:
        read = [(_plain_record(line, number), None) for number, line in enumerate(lines, 1)]
    else:
        read = [_record(line, f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    remembered = Remembered()
    for record, verdict in read:
        if verdict is not None:
            remembered.see(record, [_notice(record, verdict)], verdict)
    first = read[0][0] if read else None
    return Subject(
        name,
        consumer,
        ShardRef(
            Source.KINESIS,
            consumer or "",
            first.stream_arn if first else "",
            first.stream.shard_id if first else "",
        ),
        Neighbourhood(len(read), _UNKNOWN_NEIGHBOURS, remembered.reports, remembered.logged),
        False,
        lambda: (Case(record, [_notice(record, then)], then) for record, then in read),
        normalised=len(remembered.numbers),
    )


def _unpacked(name: str, body: bytes) -> bytes:
    if not body.startswith(GZIP_MAGIC):
        return body
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error) as exc:
        raise UsageError(f"{name} begins like gzip and is none: {exc}") from exc


def _plain_record(line: bytes, number: int) -> Record:
    place = StreamRecord("line", str(number), None, "", line)
    return Record("", place, Lineage(Origin(place.shard_id, place.sequence_number), 0))


def _record(line: bytes, where: str) -> tuple[Record, RecordVerdict | None]:
    try:
        fields = json.loads(line)
        base64.b64decode(fields["data"], validate=True)  # from_line passes over what is no base64
        record = Record.from_line(fields)
        verdict = RecordVerdict.from_dict(fields["verdict"]) if fields.get("verdict") else None
        _require_shapes(record, verdict)
    except KeyError as exc:
        raise UsageError(f"{where}: no line of a chunk: field {exc} is missing (payloads alone: --plain)") from exc
    except (AttributeError, TypeError, ValueError, RecursionError) as exc:
        raise UsageError(f"{where}: no line of a chunk: {exc} (payloads alone: --plain)") from exc
    return record, verdict


def _require_shapes(record: Record, verdict: RecordVerdict | None) -> None:
    stream, key = record.stream, record.stream.partition_key
    shapes: dict[str, Any] = {
        "sequence_number": is_sequence_number(stream.sequence_number),
        "partition_key": key is None or isinstance(key, str),
        "shard_id": isinstance(stream.shard_id, str),
        "stream_arn": isinstance(record.stream_arn, str),
        "lineage.attempt": type(record.lineage.attempt) is int,
        "verdict.rule": verdict is None or isinstance(verdict.rule, str),
        "verdict.reason": verdict is None or isinstance(verdict.reason, str),
        "verdict.evidence": verdict is None or isinstance(verdict.evidence, dict),
    }
    for name, right in shapes.items():
        if not right:
            raise ValueError(f"{name} is of the wrong shape")


def _notice(record: Record, then: RecordVerdict | None) -> Examined:
    """The batch of one that a record of a file is taken to be, unless its verdict tells of another."""
    evidence = then.evidence if then else {}
    size, number = evidence.get("batch_size", 1), record.stream.sequence_number
    return Examined(
        start=number,
        end=number,
        size=size if type(size) is int else 1,
        found=1,
        outcome=Outcome.AMBIGUOUS if then and then.rule == "ambiguous-range" else Outcome.COMPLETE,
        condition=str(evidence.get("condition", "RetryAttemptsExhausted")),
        function_error=None,
    )
