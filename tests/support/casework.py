"""Cases as quarantine and decisions leave them, over any adapters: in memory or of the small AWS."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any

from stream_redrive.adapters import clients
from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.adapters.sqs import SqsPoisonQueue
from stream_redrive.core import chunks
from stream_redrive.core.cases import Action, Case, CaseEvent, CaseStatus, Decision, Person, Piece, case_id
from stream_redrive.core.notices import format_time
from stream_redrive.core.ports import (
    CaseChange,
    CaseStore,
    Clock,
    HandOver,
    Ledger,
    PoisonMessage,
    PoisonQueue,
    QuarantinedRecord,
    Vault,
)
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord, digest, to_json
from tests.support import build
from tests.support.cloud import ENVIRONMENT, TABLE, VAULT
from tests.support.memory import MemoryClock, MemoryLedger, MemoryPoisonQueue, MemoryVault
from tests.support.memory_cases import MemoryCaseStore

FINGERPRINT = "0123456789abcdef"
ALICE, BOB = Person("arn:aws:sts::123456789012:assumed-role/ops/alice"), Person("arn:aws:iam::123456789012:user/bob")
STREAM_NAME = "orders-stream"


@dataclass
class Casework:
    """The adapters that cases live in. chunk_size: records of a quarantine chunk."""

    vault: Vault
    cases: CaseStore
    ledger: Ledger
    queue: PoisonQueue
    clock: Clock
    chunk_size: int = 3
    incidents: int = field(default=0)

    def open(
        self, records: Sequence[StreamRecord], *, fingerprint: str = FINGERPRINT, attempt: int = 0, **fields: Any
    ) -> Case:
        """Quarantine records of one kind and open their case. fields: of the case."""
        before = self.cases.latest(fingerprint)
        generation = before.generation + 1 if before else 1
        name = case_id(fingerprint, generation)
        pieces = self.quarantine(records, name, attempt)
        now = self.clock.now()
        times: dict[str, str] = {
            "opened_at": format_time(now),
            "last_joined_at": format_time(now),
            "remind_at": format_time(now + timedelta(hours=24)),
            "expires_at": format_time(now + timedelta(days=14)),
        }
        defaults: dict[str, Any] = {
            "consumer": build.CONSUMER,
            "stream_arn": build.STREAM_ARN,
            "verdict": "poison",
            "rule": "consumer-error",
            "reason": "the consumer says that the record is at fault",
            "error_type": "ValueError",
            "message": "could not convert <value>",
            "previous": before.id if before else None,
        }
        case = Case(
            id=name,
            fingerprint=fingerprint,
            generation=generation,
            status=CaseStatus.OPEN,
            revision=1,
            records=sum(len(piece.lines) for piece in pieces[:40]),
            **{**defaults, **times, **fields},
        )
        assert self.cases.commit(CaseChange(case, pieces=pieces[:40]))
        for start in range(40, len(pieces), 40):
            assert self.cases.join(case, pieces[start : start + 40], [], case.opened_at)
        return case

    def quarantine(self, records: Sequence[StreamRecord], name: str, attempt: int = 0) -> list[Piece]:
        """Put records into quarantine as those of a case: chunks, messages, marks."""
        self.incidents += 1
        incident = f"{self.incidents:032x}"
        pieces = []
        for index in range(0, len(records), self.chunk_size):
            held = [
                Record(build.STREAM_ARN, r, Lineage(Origin(r.shard_id, r.sequence_number), attempt))
                for r in records[index : index + self.chunk_size]
            ]
            key = f"quarantine/orders/2026/01/05/{incident}/{index:05}.ndjson.gz"
            self.vault.put(key, chunks.encode({**r.to_line(), "verdict": {}, "case_id": name} for r in held))
            self.queue.send([self._message(record, name) for record in held])
            self.ledger.record_quarantined(
                STREAM_NAME,
                incident,
                [
                    QuarantinedRecord(place_of(r.stream), r.lineage.origin, "consumer-error", "poison", key, line, name)
                    for line, r in enumerate(held)
                ],
            )
            lines = tuple(range(len(held)))
            arrived = held[0].stream.arrived_at, held[-1].stream.arrived_at
            pieces.append(
                Piece(incident, index, self.vault.bucket, key, held[0].stream.shard_id, lines, "digest", *arrived)
            )
        return pieces

    def _message(self, record: Record, name: str) -> PoisonMessage:
        body = {"schema": "stream-redrive.poison/1", "record": record.without_data(), "case_id": name}
        key = f"{name}:{record.stream.shard_id}:{record.stream.sequence_number}"
        return PoisonMessage(key, to_json(body), {"consumer": build.CONSUMER, "case_id": name})

    def decide(
        self,
        case: Case,
        action: Action,
        *,
        left_out: Collection[str] = (),
        edit: Callable[[bytes], bytes] | None = None,
        pace: float = 1,
        seen: Case | None = None,
    ) -> bool:
        """Write the work list and commit the decision, as the API does.

        left_out: sequence numbers. seen: the case as it was when the decision was made up; as it is now by default.
        """
        prefix = f"cases/{case.id}/{'d' * 64}/"
        work: list[dict[str, Any]] = []
        rest: list[Piece] = []
        for piece in self.cases.pieces(case.id):
            records = list(chunks.decode(self.vault.get(piece.key)))
            chosen = [n for n in piece.lines if records[n].stream.sequence_number not in left_out]
            if left := tuple(n for n in piece.lines if n not in chosen):
                rest.append(replace(piece, lines=left))
            entry = {"index": len(work), "bucket": piece.bucket, "key": piece.key, "lines": chosen}
            if edit is not None:
                entry |= {"key": f"{prefix}{len(work):05}.ndjson.gz", "lines": None}
                self.vault.put(str(entry["key"]), chunks.encode(_edited(records[n], edit) for n in chosen))
            if chosen:
                work.append({**entry, "records": len(chosen)})
        count = sum(entry["records"] for entry in work)
        self.vault.put(f"{prefix}left_over.json", to_json([asdict(piece) for piece in rest]).encode())
        self.vault.put(f"{prefix}chunks.json", json.dumps(work).encode())
        at = format_time(self.clock.now())
        decision = Decision(
            action, "d" * 64, "because", "", count, f"{prefix}chunks.json", "stream", pace, "1", ALICE, at
        )
        standing = seen or self.standing(case)
        decided = replace(
            standing,
            status=CaseStatus.DECIDED,
            revision=standing.revision + 1,
            records=count,
            decision=decision,
            proposal=None,
        )
        successor = None
        if rest:
            successor = replace(
                case,
                id=case_id(case.fingerprint, case.generation + 1),
                generation=case.generation + 1,
                revision=1,
                records=0,
                previous=case.id,
                left_over_of=case.id,
            )
        event = CaseEvent("decide", at, "decided", ALICE.arn, "api", standing.status, decided.status, "d" * 64)
        return self.cases.commit(
            CaseChange(decided, successor=successor, events=[event], hand_overs=[HandOver.DECIDED])
        )

    def standing(self, case: Case | str) -> Case:
        """A case as it is now."""
        found = self.cases.case(case if isinstance(case, str) else case.id)
        assert found is not None
        return found

    def history(self, case: Case) -> list[str]:
        """The kinds of a case's events."""
        return [event.kind for event in self.cases.events(case.id)]


def place_of(record: StreamRecord) -> Origin:
    return Origin(record.shard_id, record.sequence_number)


def _edited(record: Record, edit: Callable[[bytes], bytes]) -> dict[str, Any]:
    data = edit(record.stream.data)
    changed = replace(record, stream=replace(record.stream, data=data))
    return {**changed.to_line(), "sha256": digest(data), "edited": {"from_sha256": record.digest(), "by": ALICE.arn}}


def in_memory(clock: MemoryClock | None = None) -> Casework:
    return Casework(MemoryVault(), MemoryCaseStore(), MemoryLedger(), MemoryPoisonQueue(), clock or MemoryClock())


def on_aws() -> Casework:
    """Over the small AWS, which must be there."""
    clock = LambdaClock(lambda: 900_000)
    return Casework(
        S3Vault(clients.s3(), VAULT),
        DynamoCaseStore(clients.dynamodb(), TABLE, clock),
        DynamoLedger(clients.dynamodb(), TABLE, clock),
        SqsPoisonQueue(clients.sqs(), ENVIRONMENT["POISON_QUEUE_URL"], clock),
        clock,
    )
