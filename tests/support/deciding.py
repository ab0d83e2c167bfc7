"""A case with records in quarantine, and the desk at which people decide about it, all in memory."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.case_records import records_digest
from stream_redrive.core.cases import Call, Case, CaseEvent, CaseStatus, Piece, Word
from stream_redrive.core.deciding import CaseDesk, Standing
from stream_redrive.core.handing_over import AnnouncingProposal, HandingOver
from stream_redrive.core.notices import format_time
from stream_redrive.core.planning import Plan
from stream_redrive.core.policy import PolicyBook, parse_policy
from stream_redrive.core.ports import CaseChange, CaseStore, HandOver, Vault
from stream_redrive.core.records import Lineage, Origin, Record, StreamRecord
from tests.support.build import ARRIVED, CONSUMER, SHARD_ID, STREAM_ARN
from tests.support.memory import START, MemoryApproverTopic, MemoryClock, MemoryTaskTokens, MemoryVault
from tests.support.memory_cases import MemoryCaseStore

FINGERPRINT = "0123456789abcdef"
CASE = f"{FINGERPRINT}-1"
DAY = "quarantine/orders/2026/01/05"
ALICE = "arn:aws:sts::123456789012:assumed-role/operator/alice"
BOB = "arn:aws:iam::123456789012:user/bob"
STRANGER = "arn:aws:sts::123456789012:assumed-role/stranger/eve"
VERDICT = {"class": "poison", "rule": "payload-schema", "reason": "breaks", "policy_version": "1", "evidence": {}}


def new_case(**changes: Any) -> Case:
    """A case that waits for a decision."""
    fields: dict[str, Any] = {
        "id": CASE,
        "fingerprint": FINGERPRINT,
        "generation": 1,
        "consumer": CONSUMER,
        "stream_arn": STREAM_ARN,
        "verdict": "poison",
        "rule": "payload-schema",
        "reason": "breaks",
        "error_type": "",
        "message": "",
        "status": CaseStatus.OPEN,
        "revision": 1,
        "records": 0,
        "opened_at": format_time(START),
        "last_joined_at": format_time(START),
        "expires_at": format_time(START + timedelta(days=14)),
        "remind_at": format_time(START + timedelta(hours=24)),
    }
    return Case(**{**fields, **changes})


def quarantined(
    vault: Vault, incident: str, payloads: Sequence[bytes], *, first: int = 1, shard: str = SHARD_ID
) -> Piece:
    """Put records of these payloads into one chunk of the quarantine; their sequence numbers count from first."""
    key = f"{DAY}/{incident}/00000.ndjson.gz"
    lines = []
    for number, data in enumerate(payloads, first):
        stream = StreamRecord(shard, str(number), "k", ARRIVED, data)
        record = Record(STREAM_ARN, stream, Lineage(Origin(shard, str(number)), 0))
        lines.append({**record.to_line(), "verdict": VERDICT, "case_id": CASE})
    vault.put(key, chunks.encode(lines))
    numbers = tuple(range(len(lines)))
    return Piece(incident, 0, vault.bucket, key, shard, numbers, records_digest(lines), ARRIVED, ARRIVED)


def join(store: CaseStore, piece: Piece) -> None:
    """Let a piece join the case."""
    case = store.case(CASE)
    if case is None:
        event = CaseEvent(piece.incident_id, format_time(START), "opened", "test", "test", after=CaseStatus.OPEN)
        assert store.commit(CaseChange(new_case(records=len(piece.lines)), pieces=[piece], events=[event]))
    else:
        assert store.join(case, [piece], [], format_time(START))


class Desk:
    """The desk, and what it works on. policy: the default policy's fields."""

    def __init__(self, *payloads: bytes, **policy: Any) -> None:
        self.clock = MemoryClock()
        self.vault = MemoryVault()
        self.store = MemoryCaseStore()
        self.tokens = MemoryTaskTokens("token-of-the-task")
        self.topic = MemoryApproverTopic()
        self.reported: list[tuple[str, Exception]] = []
        self.policy = policy
        self.desk = CaseDesk(
            self.store,
            self.vault,
            self.book,
            {
                HandOver.DECIDED: HandingOver(self.store, self.tokens, self.vault.bucket),
                HandOver.PROPOSED: AnnouncingProposal(self.store, self.topic, self.clock),
            },
            self.clock,
            lambda case_id, problem: self.reported.append((case_id, problem)),
        )
        self._calls = 0
        if payloads:
            self.join("incident-1", *payloads)

    def book(self) -> PolicyBook:
        return parse_policy(json.dumps({"default": self.policy}), "7")

    def join(self, incident: str, *payloads: bytes, first: int = 1, shard: str = SHARD_ID) -> Piece:
        """Quarantine records, and let them join the case."""
        piece = quarantined(self.vault, incident, payloads, first=first, shard=shard)
        join(self.store, piece)
        return piece

    def call(self, arn: str | None = ALICE) -> Call:
        self._calls += 1
        return Call(arn, f"request-{self._calls:04}")

    def plan(self, action: str = "redrive", arn: str | None = ALICE, **fields: Any) -> Plan:
        return self.desk.plan(self.call(arn), CASE, {"action": action, **fields})

    def decide(
        self, action: str, digest: str, arn: str | None = ALICE, reason: str = "seen", name: str = CASE, **fields: Any
    ) -> Case:
        return self.standing(action, digest, arn, reason, name, **fields).case

    def standing(
        self, action: str, digest: str, arn: str | None = ALICE, reason: str = "seen", name: str = CASE, **fields: Any
    ) -> Standing:
        return self.desk.decide(self.call(arn), name, {"action": action, **fields}, Word(digest, reason))

    def planned_and_decided(self, action: str, arn: str = ALICE, **fields: Any) -> Case:
        return self.decide(action, self.plan(action, arn, **fields).digest, arn, **fields)

    def case(self, name: str = CASE) -> Case:
        case = self.store.case(name)
        assert case is not None
        return case

    def events(self, kind: str, name: str = CASE) -> list[CaseEvent]:
        return [event for event in self.store.events(name) if event.kind == kind]

    def work(self, case: Case) -> list[dict[str, Any]]:
        """The work list of what is decided or proposed."""
        decision = case.decision or case.proposal
        assert decision is not None
        entries: list[dict[str, Any]] = json.loads(self.vault.get(decision.work))
        return entries

    def lines(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(text) for text in gzip.decompress(self.vault.get(key)).splitlines()]

    def everything(self) -> Mapping[str, str]:
        """All that is stored, but for the history: to be compared."""
        parts = {"cases": self.store.all, "pieces": self.store.pieces(CASE), "left": self.store.hand_overs()}
        found = {name: repr(part) for name, part in parts.items()}
        objects = {key: hashlib.sha256(body).hexdigest() for key, body in self.vault.objects.items()}
        return {
            **found,
            "notes": repr(self.store.notes(CASE)),
            "vault": repr(objects),
            "told": repr(self.tokens.answers),
        }


def record(number: int, shard: str = SHARD_ID) -> str:
    """A record's id."""
    return f"{shard}:{number}"
