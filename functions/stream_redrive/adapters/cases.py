"""DynamoDB: the cases in the ledger.

Items (pk, sk):
    CASE#<id>, CASE                                  the case
    CASE#<id>, PIECE#<incident id>#<chunk>           records of a quarantine chunk that belong to it
    CASE#<id>, EVENT#<time>#<operation>#<kind>       its history
    CASE#<id>, NOTE#<time>#<operation>               what a person wrote about it
    CASE#<id>, TOKEN                                 the task token of the execution that waits for its decision
    KIND#<fingerprint>, LATEST                       the newest generation of a kind of failure
    CASES#LIVE, <opened at>#<id>                     a case that waits or is under way
    CASES#ALL, <opened at>#<id>                      any case
    INCIDENT#<id>, JOINED#<chunk>#<fingerprint>      which case an incident's records have joined
    HANDOVER, <id>#<what>                            what must still be told about a case
    AUDIT#<day>, <time>#<operation>#<kind>           something that was done with no case
"""

import json
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from botocore.exceptions import ClientError

from stream_redrive.adapters.dynamodb import decode_positions, encode_positions
from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.adapters.table import KEEP, MAX_BATCH_GET, MAX_ROUNDS, Item, LedgerTable, batches, item_key
from stream_redrive.core.cases import Action, Case, CaseEvent, CaseStatus, Decision, Note, Person, Piece
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import CaseChange, HandOver
from stream_redrive.core.records import to_json

_ENDED = (CaseStatus.CLOSED, CaseStatus.EXPIRED)
# A transaction that was cancelled for one of these may well succeed when it comes again.
_FOR_NOW = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
# Outlives every case of its kind: a generation must not begin anew beside what is left of an old one.
_KEEP_GENERATION = 3 * KEEP


class DynamoCaseStore(LedgerTable):
    """The cases in the ledger's table."""

    def case(self, case_id: str) -> Case | None:
        """Consistent GetItem."""
        item = self._get(item_key(f"CASE#{case_id}", "CASE"))
        return None if item is None else _case_of(item)

    def latest(self, fingerprint: str) -> Case | None:
        """Consistent GetItem of the generation, then of its case."""
        item = self._get(item_key(f"KIND#{fingerprint}", "LATEST"))
        return None if item is None else self.case(item["case"]["S"])

    def cases(self, *, every: bool, limit: int, after: str | None) -> tuple[Sequence[Case], str | None]:
        """Query of the pointers, then BatchGetItem, both consistent."""
        condition, values = "pk = :pk", {":pk": {"S": "CASES#ALL" if every else "CASES#LIVE"}}
        if after is not None:
            condition += " AND sk < :after" if every else " AND sk > :after"
            values[":after"] = {"S": after}
        pointers = [item["sk"]["S"] for item in self._query(condition, values, backwards=every, limit=limit + 1)]
        page = pointers[:limit]
        ids = [pointer.rpartition("#")[2] for pointer in page]
        found: dict[str, Case] = {}
        for batch in batches(ids, MAX_BATCH_GET):
            for item in self._get_all([item_key(f"CASE#{case_id}", "CASE") for case_id in batch]):
                case = _case_of(item)
                found[case.id] = case
        return [found[case_id] for case_id in ids if case_id in found], page[-1] if len(pointers) > limit else None

    def pieces(self, case_id: str) -> Sequence[Piece]:
        """Consistent Query."""
        return [_piece_of(item) for item in self._below(f"CASE#{case_id}", "PIECE#")]

    def joined(self, incident_id: str) -> Mapping[tuple[int, str], str]:
        """Consistent Query of the incident's marks."""
        found: dict[tuple[int, str], str] = {}
        for item in self._below(f"INCIDENT#{incident_id}", "JOINED#"):
            _, index, fingerprint = item["sk"]["S"].split("#")
            found[int(index), fingerprint] = item["case"]["S"]
        return found

    def join(self, case: Case, pieces: Sequence[Piece], events: Sequence[CaseEvent], at: str) -> bool:
        """One transaction: the case is updated where it stands, whatever its revision."""
        update = {
            "TableName": self._table,
            "Key": item_key(f"CASE#{case.id}", "CASE"),
            "UpdateExpression": (
                "SET revision = revision + :one, records = records + :records, "
                "last_joined_at = :at, expires_at = :expires_at"
            ),
            "ConditionExpression": "#status = :open",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {
                ":one": {"N": "1"},
                ":records": {"N": str(sum(len(piece.lines) for piece in pieces))},
                ":at": {"S": at},
                ":open": {"S": CaseStatus.OPEN},
                ":expires_at": self._expiry(),
            },
        }
        return self._transact(
            [{"Update": update}, *self._joining(case, pieces), *self._history(case.id, events)]
        ) or self._all_in(case, pieces)

    def _all_in(self, case: Case, pieces: Sequence[Piece]) -> bool:
        # Also where our own transaction got through although its answer did not.
        keys = [item_key(*_mark(piece, case.fingerprint)) for piece in pieces]
        return [item["case"]["S"] for item in self._get_all(keys)] == [case.id] * len(keys)

    def commit(self, change: CaseChange) -> bool:
        """One transaction, with the case's revision, or the kind's generation, as its condition."""
        case, item = change.case, self._case_item(change.case)
        if case.revision == 1:
            actions = self._opening(case, item)
        else:
            actions = [self._put(item, "revision = :read", {":read": {"N": str(case.revision - 1)}})]
        if case.status in _ENDED:
            key = item_key("CASES#LIVE", f"{case.opened_at}#{case.id}")
            actions.append({"Delete": {"TableName": self._table, "Key": key}})
        actions += self._joining(case, change.pieces)
        actions += [self._put(self._piece_item(case, piece)) for piece in change.taken_over]
        actions += self._history(case.id, change.events)
        actions += [self._put(self._hand_over_item(case, what)) for what in change.hand_overs if what != HandOver.START]
        if change.successor is not None:
            actions += self._opening(change.successor, self._case_item(change.successor))
            actions += self._history(change.successor.id, change.successor_events)
        return self._transact(actions) or self._is_ours(item)

    def _is_ours(self, item: Item) -> bool:
        # Our own transaction may have got through although its answer did not, and the client have repeated it.
        held = self._get({name: item[name] for name in ("pk", "sk")})
        return held is not None and held.get("write") == item["write"]

    def _opening(self, case: Case, item: Item) -> list[Item]:
        pointer = f"{case.opened_at}#{case.id}"
        latest = {
            **item_key(f"KIND#{case.fingerprint}", "LATEST"),
            "generation": {"N": str(case.generation)},
            "case": {"S": case.id},
            "expires_at": self._expiry(_KEEP_GENERATION),
        }
        if case.generation == 1:
            next_one = self._put(latest, "attribute_not_exists(pk)")
        else:
            next_one = self._put(latest, "generation = :before", {":before": {"N": str(case.generation - 1)}})
        return [
            next_one,
            self._put(item, "attribute_not_exists(pk)"),
            *(self._put(self._expiring(pk, pointer)) for pk in ("CASES#LIVE", "CASES#ALL")),
            self._put(self._hand_over_item(case, HandOver.START)),
        ]

    def _joining(self, case: Case, pieces: Sequence[Piece]) -> list[Item]:
        actions: list[Item] = []
        for piece in pieces:
            mark = {**self._expiring(*_mark(piece, case.fingerprint)), "case": {"S": case.id}}
            actions += [self._put(self._piece_item(case, piece)), self._put(mark, "attribute_not_exists(pk)")]
        return actions

    def _transact(self, actions: Sequence[Item]) -> bool:
        """Whether the transaction took effect; False when one of its conditions doesn't hold.

        The client gives each call a token of its own, so that it may repeat a call whose answer was lost.
        """
        written: Any = actions
        for attempt in range(MAX_ROUNDS):
            try:
                with faults_of("dynamodb:TransactWriteItems"):
                    self._client.transact_write_items(TransactItems=written)
            except ClientError as exc:
                if error_code(exc) != "TransactionCanceledException":
                    raise
                reasons = {reason.get("Code", "None") for reason in exc.response["CancellationReasons"]}
                if "ConditionalCheckFailed" in reasons:
                    return False
                if not reasons <= _FOR_NOW:
                    raise
                # A conflict says nothing about the condition. Many shards may be joining one case: don't meet again.
                pause = min(0.05 * 2**attempt, 2)
                self._clock.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load, guards no secret
            else:
                return True
        raise ServiceBusy("dynamodb:TransactWriteItems is contended")

    def events(self, case_id: str) -> Sequence[CaseEvent]:
        """Consistent Query."""
        return [CaseEvent(**_body(item)) for item in self._below(f"CASE#{case_id}", "EVENT#")]

    def record_event(self, case_id: str | None, event: CaseEvent) -> None:
        """PutItem; the same again when it is repeated."""
        if case_id is not None:
            self._write(self._event_item(case_id, event))
        else:
            pk, sk = f"AUDIT#{event.at[:10]}", _moment(event)
            self._write({**self._expiring(pk, sk), "body": {"S": to_json(asdict(event))}})

    def notes(self, case_id: str) -> Sequence[Note]:
        """Consistent Query."""
        bodies = [_body(item) for item in self._below(f"CASE#{case_id}", "NOTE#")]
        return [Note(body["at"], Person(**body["by"]), body["text"]) for body in bodies]

    def add_note(self, case_id: str, note: Note, event: CaseEvent) -> None:
        """One transaction."""
        item = self._expiring(f"CASE#{case_id}", f"NOTE#{note.at}#{event.operation}")
        self._transact([self._put({**item, "body": {"S": to_json(asdict(note))}}), *self._history(case_id, [event])])

    def hand_overs(self) -> Sequence[tuple[str, HandOver]]:
        """Consistent Query."""
        found = [item["sk"]["S"].split("#") for item in self._query("pk = :pk", {":pk": {"S": "HANDOVER"}})]
        return [(case_id, HandOver(what)) for case_id, what in found]

    def delivered(self, case_id: str, what: HandOver, revision: int | None = None) -> None:
        """DeleteItem."""
        action: Item = {"TableName": self._table, "Key": item_key("HANDOVER", f"{case_id}#{what}")}
        if revision is not None:
            action["ConditionExpression"] = "revision <= :told"
            action["ExpressionAttributeValues"] = {":told": {"N": str(revision)}}
        with faults_of("dynamodb:DeleteItem"):
            try:
                self._client.delete_item(**action)
            except ClientError as exc:
                if error_code(exc) != "ConditionalCheckFailedException":
                    raise

    def save_token(self, case_id: str, token: str) -> None:
        """PutItem."""
        self._write({**self._expiring(f"CASE#{case_id}", "TOKEN"), "token": {"S": token}})

    def token(self, case_id: str) -> str | None:
        """Consistent GetItem."""
        item = self._get(item_key(f"CASE#{case_id}", "TOKEN"))
        return None if item is None else item["token"]["S"]

    def _below(self, pk: str, prefix: str) -> Iterator[Item]:
        return self._query("pk = :pk AND begins_with(sk, :prefix)", {":pk": {"S": pk}, ":prefix": {"S": prefix}})

    def _write(self, item: Item) -> None:
        with faults_of("dynamodb:PutItem"):
            self._client.put_item(TableName=self._table, Item=item)

    def _put(self, item: Item, condition: str | None = None, values: Item | None = None) -> Item:
        action: Item = {"TableName": self._table, "Item": item}
        if condition is not None:
            action["ConditionExpression"] = condition
        if values is not None:
            action["ExpressionAttributeValues"] = values
        return {"Put": action}

    def _history(self, case_id: str, events: Sequence[CaseEvent]) -> list[Item]:
        return [self._put(self._event_item(case_id, event)) for event in events]

    def _expiring(self, pk: str, sk: str) -> Item:
        return {**item_key(pk, sk), "expires_at": self._expiry()}

    def _event_item(self, case_id: str, event: CaseEvent) -> Item:
        return {
            **self._expiring(f"CASE#{case_id}", f"EVENT#{_moment(event)}"),
            "body": {"S": to_json(asdict(event))},
        }

    def _hand_over_item(self, case: Case, what: HandOver) -> Item:
        return {**self._expiring("HANDOVER", f"{case.id}#{what}"), "revision": {"N": str(case.revision)}}

    def _case_item(self, case: Case) -> Item:
        fields = asdict(case)
        counted = {name: {"N": str(fields.pop(name))} for name in ("revision", "records")}
        named = {name: {"S": fields.pop(name)} for name in ("status", "last_joined_at")}
        # A name for this very write: equal cases may be written by two runs.
        named["write"] = {"S": uuid.uuid4().hex}
        return {**self._expiring(f"CASE#{case.id}", "CASE"), **counted, **named, "body": {"S": to_json(fields)}}

    def _piece_item(self, case: Case, piece: Piece) -> Item:
        named = ("bucket", "key", "shard_id", "digest", "first_arrived", "last_arrived")
        return {
            **self._expiring(f"CASE#{case.id}", f"PIECE#{piece.incident_id}#{piece.index:05}"),
            **{name: {"S": getattr(piece, name)} for name in named},
            "lines": {"S": encode_positions([(piece.index, line) for line in piece.lines])},
        }


def _mark(piece: Piece, fingerprint: str) -> tuple[str, str]:
    return f"INCIDENT#{piece.incident_id}", f"JOINED#{piece.index:05}#{fingerprint}"


def _moment(event: CaseEvent) -> str:
    return f"{event.at}#{event.operation}#{event.kind}"


def _body(item: Item) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(item["body"]["S"])
    return body


def _case_of(item: Item) -> Case:
    fields = _body(item)
    return Case(
        **{
            **fields,
            "status": CaseStatus(item["status"]["S"]),
            "last_joined_at": item["last_joined_at"]["S"],
            "revision": int(item["revision"]["N"]),
            "records": int(item["records"]["N"]),
            "proposal": _decision_of(fields["proposal"]),
            "decision": _decision_of(fields["decision"]),
        }
    )


def _decision_of(fields: Mapping[str, Any] | None) -> Decision | None:
    if fields is None:
        return None
    approved_by = fields["approved_by"]
    people = {"by": Person(**fields["by"]), "approved_by": None if approved_by is None else Person(**approved_by)}
    return Decision(**{**fields, **people, "action": Action(fields["action"])})


def _piece_of(item: Item) -> Piece:
    _, incident_id, index = item["sk"]["S"].split("#")
    named = ("bucket", "key", "shard_id", "digest", "first_arrived", "last_arrived")
    lines = tuple(line for _, line in decode_positions(item["lines"]["S"]))
    return Piece(incident_id, int(index), lines=lines, **{name: item[name]["S"] for name in named})
