"""DynamoDB: the ledger.

Items (pk, sk):
    CLAIM#<shard of a consumer>, <end>#<start>     which incident works on a notice
    RECORD#<stream>#<shard id>#<number>, LINEAGE     origin, attempt and last error of a redriven record
    RECORD#<stream>#<shard id>#<number>, QUARANTINE  where the record lies in quarantine, and what was decided
    RECORD#<stream>#<shard id>#<number>, RETURNED    of an origin: which copy came into quarantine last
    REPORT#<function>#<stream>#<shard id>, <number>  what the consumer reported of a record
    OPEN#<stream>, <incident id>                     an incident whose redrive is under way
    INCIDENT#<id>, REDRIVE                           how far its redrive has come
    INCIDENT#<id>, DONE#<step>                       a part of a step that must not be done again
    INCIDENT#<id>, PROBE#<n>                         an invocation of the consumer by the probe

The cases have a module of their own (cases.py).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.adapters.table import (
    MAX_BATCH_GET,
    MAX_ROUNDS,
    MAX_TRANSACTION,
    Item,
    LedgerTable,
    batches,
    item_key,
)
from stream_redrive.core.errors import ServiceBusy, WriteConflict
from stream_redrive.core.notices import format_time, parse_time
from stream_redrive.core.ports import ProbeCall, ProbeFinding, QuarantinedRecord, RedriveCursor, RedrivenCopy
from stream_redrive.core.records import Lineage, Origin, to_json
from stream_redrive.core.reports import FailureReport


class DynamoLedger(LedgerTable):
    """The ledger in a table with the keys pk and sk and the TTL attribute expires_at."""

    def claim(self, incident_id: str, shard: str, ranges: Sequence[tuple[str, str]]) -> Sequence[bool]:
        """Conditional puts, 100 a transaction; a cancelled transaction names the claims that others hold."""
        keys = [(int(start), int(end)) for start, end in ranges]
        ours: dict[tuple[int, int], bool] = {}
        for batch in batches(dict.fromkeys(keys), MAX_TRANSACTION):  # a transaction takes no item twice
            ours |= zip(batch, self._claim_batch(incident_id, shard, batch), strict=True)
        return [ours[key] for key in keys]

    def _claim_batch(self, incident_id: str, shard: str, ranges: Sequence[tuple[int, int]]) -> list[bool]:
        ours = [True] * len(ranges)
        for attempt in range(MAX_ROUNDS):
            open_claims = [index for index, mine in enumerate(ours) if mine]
            if not open_claims:
                return ours
            try:
                with faults_of("dynamodb:TransactWriteItems"):
                    self._client.transact_write_items(
                        TransactItems=[{"Put": self._claim_item(incident_id, shard, *ranges[i])} for i in open_claims]
                    )
            except ClientError as exc:
                if error_code(exc) != "TransactionCanceledException":
                    raise
                for index, reason in zip(open_claims, exc.response["CancellationReasons"], strict=True):
                    ours[index] = reason.get("Code") != "ConditionalCheckFailed"
                if all(ours[index] for index in open_claims):
                    self._clock.sleep(min(0.05 * 2**attempt, 2))  # a conflict with another claim's transaction
            else:
                return ours
        raise ServiceBusy(f"claims of {shard} are contended")

    def _claim_item(self, incident_id: str, shard: str, start: int, end: int) -> Any:
        return {
            "TableName": self._table,
            "Item": {
                **item_key(f"CLAIM#{shard}", f"{end:0128}#{start:0128}"),
                "incident": {"S": incident_id},
                "expires_at": self._expiry(),
            },
            "ConditionExpression": "attribute_not_exists(pk) OR incident = :incident",
            "ExpressionAttributeValues": {":incident": {"S": incident_id}},
        }

    def lineage_of(self, stream: str, places: Iterable[Origin]) -> Mapping[Origin, Lineage]:
        """Consistent BatchGetItem, 100 a call."""
        found: dict[Origin, Lineage] = {}
        for batch in batches(sorted(set(places), key=lambda p: (p.shard_id, p.sequence_number)), MAX_BATCH_GET):
            by_key = {_record_pk(stream, place): place for place in batch}
            for item in self._get_all([item_key(pk, "LINEAGE") for pk in by_key]):
                origin = Origin(item["origin_shard"]["S"], item["origin_sequence"]["S"])
                last_error = item["last_error"]["S"] if "last_error" in item else None
                found[by_key[item["pk"]["S"]]] = Lineage(origin, int(item["attempt"]["N"]), last_error)
        return found

    def record_redriven(self, stream: str, incident_id: str, copies: Sequence[RedrivenCopy]) -> None:
        """BatchWriteItem; the same again when a step runs again."""
        self._write_all(
            {
                **item_key(_record_pk(stream, copy.place), "LINEAGE"),
                "origin_shard": {"S": copy.lineage.origin.shard_id},
                "origin_sequence": {"S": copy.lineage.origin.sequence_number},
                "attempt": {"N": str(copy.lineage.attempt)},
                **({"last_error": {"S": copy.lineage.last_error}} if copy.lineage.last_error else {}),
                "copy_of_shard": {"S": copy.copy_of.shard_id},
                "copy_of_sequence": {"S": copy.copy_of.sequence_number},
                "incident": {"S": incident_id},
                "expires_at": self._expiry(),
            }
            for copy in copies
        )

    def redrive_cursor(self, incident_id: str) -> RedriveCursor | None:
        """Consistent GetItem."""
        item = self._get(item_key(f"INCIDENT#{incident_id}", "REDRIVE"))
        if item is None:
            return None
        return RedriveCursor(
            next_chunk=int(item["next_chunk"]["N"]),
            next_line=int(item["next_line"]["N"]),
            carried=decode_positions(item["carried"]["S"]),
            sent=int(item["sent"]["N"]),
            open_since=parse_time(item["open_since"]["S"]) if "open_since" in item else None,
            open_records=decode_positions(item["open_records"]["S"]),
            version=int(item["version"]["N"]),
        )

    def save_redrive_cursor(self, incident_id: str, cursor: RedriveCursor) -> RedriveCursor:
        """Conditional PutItem over the version that was read."""
        saved = replace(cursor, version=cursor.version + 1)
        item: Any = {
            **item_key(f"INCIDENT#{incident_id}", "REDRIVE"),
            "next_chunk": {"N": str(saved.next_chunk)},
            "next_line": {"N": str(saved.next_line)},
            "carried": {"S": encode_positions(saved.carried)},
            "sent": {"N": str(saved.sent)},
            "open_records": {"S": encode_positions(saved.open_records)},
            "version": {"N": str(saved.version)},
            "expires_at": self._expiry(),
        }
        if saved.open_since is not None:
            item["open_since"] = {"S": format_time(saved.open_since)}
        with faults_of("dynamodb:PutItem"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(pk) OR version = :version",
                    ExpressionAttributeValues={":version": {"N": str(cursor.version)}},
                )
            except ClientError as exc:
                if error_code(exc) != "ConditionalCheckFailedException":
                    raise
                # Our own write may have got through although its answer did not, and botocore have repeated it.
                if self.redrive_cursor(incident_id) != _as_stored(saved):
                    raise WriteConflict(f"another run redrives incident {incident_id}") from exc
        return saved

    def open_redrive(self, stream: str, incident_id: str) -> None:
        """PutItem; the same again when a step runs again."""
        with faults_of("dynamodb:PutItem"):
            self._client.put_item(
                TableName=self._table,
                Item={**item_key(f"OPEN#{stream}", incident_id), "expires_at": self._expiry()},
            )

    def close_redrive(self, stream: str, incident_id: str) -> None:
        """DeleteItem."""
        with faults_of("dynamodb:DeleteItem"):
            self._client.delete_item(TableName=self._table, Key=item_key(f"OPEN#{stream}", incident_id))

    def open_redrives(self, stream: str) -> Sequence[str]:
        """Consistent Query."""
        return [item["sk"]["S"] for item in self._query("pk = :pk", {":pk": {"S": f"OPEN#{stream}"}})]

    def record_quarantined(self, stream: str, incident_id: str, records: Sequence[QuarantinedRecord]) -> None:
        """BatchWriteItem; the same again when a step runs again."""
        self._write_all(
            {
                **item_key(_record_pk(stream, record.place), "QUARANTINE"),
                "origin_shard": {"S": record.origin.shard_id},
                "origin_sequence": {"S": record.origin.sequence_number},
                "rule": {"S": record.rule},
                "verdict": {"S": record.verdict},
                "chunk_key": {"S": record.chunk_key},
                "line": {"N": str(record.line)},
                "case": {"S": record.case},
                "state": {"S": "QUARANTINED"},
                "incident": {"S": incident_id},
                "expires_at": self._expiry(),
            }
            for record in records
        )
        self._write_all(
            {
                **item_key(_record_pk(stream, record.origin), "RETURNED"),
                "copy_shard": {"S": record.place.shard_id},
                "copy_sequence": {"S": record.place.sequence_number},
                "expires_at": self._expiry(),
            }
            for record in records
            if record.place != record.origin
        )

    def last_quarantined(self, stream: str, origins: Iterable[Origin]) -> Mapping[Origin, Origin]:
        """Consistent BatchGetItem, 100 a call."""
        found: dict[Origin, Origin] = {}
        for batch in batches(dict.fromkeys(origins), MAX_BATCH_GET):
            by_key = {_record_pk(stream, origin): origin for origin in batch}
            for item in self._get_all([item_key(pk, "RETURNED") for pk in by_key]):
                found[by_key[item["pk"]["S"]]] = Origin(item["copy_shard"]["S"], item["copy_sequence"]["S"])
        return found

    def mark_settled(self, stream: str, places: Sequence[Origin], state: str) -> None:
        """Updates, 100 a transaction; the same again when a step runs again."""
        for batch in batches(dict.fromkeys(places), MAX_TRANSACTION):
            updates: Any = [
                {
                    "Update": {
                        "TableName": self._table,
                        "Key": item_key(_record_pk(stream, place), "QUARANTINE"),
                        "UpdateExpression": "SET #state = :state",
                        "ExpressionAttributeNames": {"#state": "state"},
                        "ExpressionAttributeValues": {":state": {"S": state}},
                    }
                }
                for place in batch
            ]
            for attempt in range(MAX_ROUNDS):
                try:
                    with faults_of("dynamodb:TransactWriteItems"):
                        self._client.transact_write_items(TransactItems=updates)
                    break
                except ClientError as exc:
                    if error_code(exc) != "TransactionCanceledException":
                        raise
                    self._clock.sleep(min(0.05 * 2**attempt, 2))  # another transaction is at one of the items
            else:
                raise ServiceBusy("marks of settled records are contended")

    def steps_done(self, incident_id: str) -> set[str]:
        """Consistent Query of the incident's marks."""
        marks = self._query(
            "pk = :pk AND begins_with(sk, :done)",
            {":pk": {"S": f"INCIDENT#{incident_id}"}, ":done": {"S": "DONE#"}},
        )
        return {item["sk"]["S"].removeprefix("DONE#") for item in marks}

    def reports_of(
        self, function: str, stream: str, shard_id: str, first: str, last: str
    ) -> Mapping[int, FailureReport]:
        """Consistent Query over the range."""
        reported = self._query(
            "pk = :pk AND sk BETWEEN :first AND :last",
            {
                ":pk": {"S": report_pk(function, stream, shard_id)},
                ":first": {"S": report_sk(first)},
                ":last": {"S": report_sk(last)},
            },
        )
        names = ("error_type", "message", "fingerprint", "reported_at")
        return {int(item["sk"]["S"]): FailureReport(*(item[name]["S"] for name in names)) for item in reported}

    def mark_done(self, incident_id: str, step: str) -> None:
        """A mark that steps_done finds."""
        self._write_all([{**item_key(f"INCIDENT#{incident_id}", f"DONE#{step}"), "expires_at": self._expiry()}])

    def probe_calls(self, incident_id: str) -> Sequence[ProbeCall]:
        """Consistent Query."""
        calls = self._query(
            "pk = :pk AND begins_with(sk, :probe)",
            {":pk": {"S": f"INCIDENT#{incident_id}"}, ":probe": {"S": "PROBE#"}},
        )
        return [_probe_call(item) for item in calls]

    def announce_probe(self, incident_id: str, number: int, call: ProbeCall) -> None:
        """Conditional PutItem."""
        with faults_of("dynamodb:PutItem"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=self._probe_item(incident_id, number, call),
                    ConditionExpression="attribute_not_exists(pk)",
                )
            except ClientError as exc:
                if error_code(exc) != "ConditionalCheckFailedException":
                    raise
                # Our own write may have got through although its answer did not, and botocore have repeated it.
                if self.probe_calls(incident_id)[number] != _probe_call(self._probe_item(incident_id, number, call)):
                    raise WriteConflict(f"another run probes the consumer for incident {incident_id}") from exc

    def record_probe(self, incident_id: str, number: int, call: ProbeCall) -> None:
        """PutItem over the announcement."""
        with faults_of("dynamodb:PutItem"):
            self._client.put_item(TableName=self._table, Item=self._probe_item(incident_id, number, call))

    def _probe_item(self, incident_id: str, number: int, call: ProbeCall) -> Item:
        item = {
            **item_key(f"INCIDENT#{incident_id}", f"PROBE#{number:04}"),
            "announced_at": {"S": format_time(call.announced_at)},
            "records": {"S": " ".join(map(str, call.sequence_numbers))},
            "expires_at": self._expiry(),
        }
        if call.findings is not None:
            found = {n: (f.processed, f.error_type, f.message) for n, f in call.findings.items()}
            item["findings"] = {"S": to_json(found)}
        return item


def encode_positions(positions: Sequence[tuple[int, int]]) -> str:
    """Positions (chunk, line) as text: "0:0-499 1:3" for 501 of them, in their order."""
    runs: list[list[int]] = []
    for chunk, line in positions:
        if runs and runs[-1][0] == chunk and runs[-1][2] == line - 1:
            runs[-1][2] = line
        else:
            runs.append([chunk, line, line])
    return " ".join(f"{chunk}:{first}-{last}" if last > first else f"{chunk}:{first}" for chunk, first, last in runs)


def decode_positions(text: str) -> tuple[tuple[int, int], ...]:
    """Read encode_positions' text back."""
    positions: list[tuple[int, int]] = []
    for chunk, first, last in re.findall(r"(\d+):(\d+)(?:-(\d+))?", text):
        positions += ((int(chunk), line) for line in range(int(first), int(last or first) + 1))
    return tuple(positions)


def report_pk(function: str, stream: str, shard_id: str) -> str:
    """The partition key of what a consumer reports of a shard's records. function: its name."""
    return f"REPORT#{function}#{stream}#{shard_id}"


def report_sk(sequence_number: str) -> str:
    """The sort key of a report: its order as text is that of the numbers."""
    return f"{int(sequence_number):0128}"


def _probe_call(item: Item) -> ProbeCall:
    call = ProbeCall(parse_time(item["announced_at"]["S"]), tuple(map(int, item["records"]["S"].split())))
    if "findings" not in item:
        return call
    found = {int(number): ProbeFinding(*fields) for number, fields in json.loads(item["findings"]["S"]).items()}
    return replace(call, findings=dict(sorted(found.items())))


def _as_stored(cursor: RedriveCursor) -> RedriveCursor:
    since: datetime | None = cursor.open_since
    return replace(cursor, open_since=parse_time(format_time(since)) if since else None)


def _record_pk(stream: str, place: Origin) -> str:
    return f"RECORD#{stream}#{place.shard_id}#{place.sequence_number}"
