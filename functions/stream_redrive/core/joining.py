"""Joining: each quarantined record gets its case, and is in exactly one of them whatever is cut.

The chunk's object says first which case a record shall join, the transaction then makes it so. The object is changed
only where that case takes no more records and the incident's mark doesn't say that ours are in it: a case that was
closed once never takes any again, so no run can join what another has renamed.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.case_records import records_digest
from stream_redrive.core.cases import Case, CaseEvent, CaseStatus, Piece, case_id
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.notices import format_time
from stream_redrive.core.policy import Approval
from stream_redrive.core.ports import MAX_PIECES, CaseChange, CaseStore, Clock, Ledger, QuarantinedRecord, Vault
from stream_redrive.core.records import Origin

ACTOR = "QuarantineRecords"
_MAX_ROUNDS = 20

Line = dict[str, Any]


@dataclass(slots=True)
class _Part:
    """The records of one kind in one chunk. verdict: of the first. case: what the object says; None in old objects."""

    kind: str
    piece: Piece
    verdict: Mapping[str, Any]
    case: str | None


class Joining:
    """Brings the records of one incident's run into their cases."""

    def __init__(
        self, cases: CaseStore, vault: Vault, ledger: Ledger, clock: Clock, incident: Incident, approval: Approval
    ) -> None:
        self._cases = cases
        self._vault = vault
        self._ledger = ledger
        self._clock = clock
        self._incident = incident
        self._approval = approval
        self._joined = dict(cases.joined(incident.id))
        self._expected: dict[str, str] = {}
        self._parts: list[_Part] = []

    @property
    def joined(self) -> Sequence[str]:
        """The cases that the incident's records are in."""
        return sorted(set(self._joined.values()))

    def case_of(self, index: int, kind: str) -> str:
        """The case that a chunk's records of a kind are in, or else may join when nothing comes between."""
        if (index, kind) in self._joined:
            return self._joined[index, kind]
        if kind not in self._expected:
            self._expected[kind] = _taking(kind, self._cases.latest(kind))
        return self._expected[kind]

    def add(self, index: int, key: str, lines: Sequence[Line]) -> None:
        """Take up a chunk whose object holds these lines.

        The records' marks in the ledger are written here, before they join: afterwards a decision changes them.
        """
        kinds: defaultdict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            kinds[line["verdict"]["fingerprint"]].append(number)
        parts = [self._part(index, key, kind, lines, numbers) for kind, numbers in kinds.items()]
        self._parts += parts
        self._mark(lines, [part for part in parts if part.case is not None and self._mark_of(part) is None])

    def _part(self, index: int, key: str, kind: str, lines: Sequence[Line], numbers: Sequence[int]) -> _Part:
        found = [lines[number] for number in numbers]
        piece = Piece(
            incident_id=self._incident.id,
            index=index,
            bucket=self._vault.bucket,
            key=key,
            shard_id=self._incident.shard.shard_id,
            lines=tuple(numbers),
            digest=records_digest(found),
            first_arrived=min(line["arrived_at"] for line in found),
            last_arrived=max(line["arrived_at"] for line in found),
        )
        return _Part(kind, piece, found[0]["verdict"], found[0]["case_id"])

    def settle(self) -> None:
        """Join, until every record is in a case and every object says in which.

        Raises:
            WriteConflict: cases are closed faster than they can be joined.
        """
        for _ in range(_MAX_ROUNDS):
            waiting: defaultdict[tuple[str, str | None], list[_Part]] = defaultdict(list)
            for part in self._parts:
                mark = self._mark_of(part)
                if mark is None:
                    waiting[part.kind, part.case].append(part)
                elif mark != part.case:
                    self._name(part, mark)
            if not waiting:
                return
            full = [part for (kind, case), parts in waiting.items() for part in self._join(kind, case, parts)]
            if any(self._mark_of(part) is None for part in self._parts):
                # Another run may have joined ours, even to the case that takes no more.
                self._joined = dict(self._cases.joined(self._incident.id))
            for part in full:
                if self._mark_of(part) is None:
                    self._name(part, _taking(part.kind, self._cases.latest(part.kind)))
        raise WriteConflict(f"the cases of incident {self._incident.id} are closed faster than they can be joined")

    def _join(self, kind: str, case: str | None, parts: Sequence[_Part]) -> Iterator[_Part]:
        """Join as far as it is possible now; the parts whose case takes no more records."""
        for start in range(0, len(parts), MAX_PIECES):
            batch = parts[start : start + MAX_PIECES]
            latest = self._cases.latest(kind)
            if case == _taking(kind, latest) and (latest is None or latest.id != case):
                done = self._open(kind, latest, batch)
            else:
                held = latest if latest is not None and latest.id == case else self._cases.case(case or "")
                if held is None or held.status is not CaseStatus.OPEN:
                    yield from batch
                    continue
                done = self._cases.join(held, _pieces(batch), [self._event("joined", batch, "open")], self._now())
            if done and case is not None:
                self._joined |= {(part.piece.index, kind): case for part in batch}

    def _open(self, kind: str, previous: Case | None, batch: Sequence[_Part]) -> bool:
        now, verdict = self._clock.now(), batch[0].verdict
        expires_at = now + timedelta(days=self._approval.expire_days)
        generation = 1 if previous is None else previous.generation + 1
        opened = Case(
            id=case_id(kind, generation),
            fingerprint=kind,
            generation=generation,
            consumer=self._incident.shard.consumer,
            stream_arn=self._incident.shard.stream_arn,
            verdict=verdict["class"],
            rule=verdict["rule"],
            reason=verdict["reason"],
            error_type=verdict["evidence"].get("error_type", ""),
            message=verdict["evidence"].get("message", ""),
            status=CaseStatus.OPEN,
            revision=1,
            records=_records(batch),
            opened_at=format_time(now),
            last_joined_at=format_time(now),
            expires_at=format_time(expires_at),
            remind_at=format_time(min(now + timedelta(hours=self._approval.reminder_hours), expires_at)),
            previous=None if previous is None else previous.id,
        )
        return self._cases.commit(CaseChange(opened, _pieces(batch), events=[self._event("opened", batch, None)]))

    def _event(self, kind: str, batch: Sequence[_Part], before: str | None) -> CaseEvent:
        return CaseEvent(
            operation=f"{self._incident.id}:{batch[0].piece.index:05}",
            at=self._now(),
            kind=kind,
            actor=ACTOR,
            channel="workflow",
            before=before,
            after=CaseStatus.OPEN,
            policy_version=batch[0].verdict["policy_version"],
            details={"incident_id": self._incident.id, "records": _records(batch)},
        )

    def _name(self, part: _Part, case: str) -> None:
        """Let the object say another case, unless another run was faster."""
        final = self._mark_of(part) is not None

        def renamed(body: bytes) -> bytes:
            lines = list(chunks.lines_of(body))
            if not final and lines[part.piece.lines[0]]["case_id"] != part.case:
                return body
            for number in part.piece.lines:
                lines[number]["case_id"] = case
            return chunks.encode(lines)

        lines = list(chunks.lines_of(self._vault.revise(part.piece.key, renamed)))
        part.case = lines[part.piece.lines[0]]["case_id"]
        self._mark(lines, [part])

    def _mark(self, lines: Sequence[Line], parts: Sequence[_Part]) -> None:
        self._ledger.record_quarantined(
            chunks.stream_name(self._incident.shard.stream_arn),
            self._incident.id,
            [_entry(lines[number], part.piece.key, number) for part in parts for number in part.piece.lines],
        )

    def _mark_of(self, part: _Part) -> str | None:
        return self._joined.get((part.piece.index, part.kind))

    def _now(self) -> str:
        return format_time(self._clock.now())


def _taking(kind: str, latest: Case | None) -> str:
    """The case that takes the next record of a kind: the newest while it is open, else the one after it."""
    if latest is None:
        return case_id(kind, 1)
    return latest.id if latest.status is CaseStatus.OPEN else case_id(kind, latest.generation + 1)


def _pieces(parts: Sequence[_Part]) -> list[Piece]:
    return [part.piece for part in parts]


def _records(parts: Sequence[_Part]) -> int:
    return sum(len(part.piece.lines) for part in parts)


def _entry(line: Line, key: str, number: int) -> QuarantinedRecord:
    verdict, origin = line["verdict"], line["lineage"]["origin"]
    return QuarantinedRecord(
        place=Origin(line["shard_id"], line["sequence_number"]),
        origin=Origin(origin["shard_id"], origin["sequence_number"]),
        rule=verdict["rule"],
        verdict=verdict["class"],
        chunk_key=key,
        line=number,
        case=line["case_id"],
    )
