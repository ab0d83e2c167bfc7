"""The cases in memory."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stream_redrive.core.cases import Case, CaseEvent, CaseStatus, Note, Piece
from stream_redrive.core.ports import MAX_PIECES, CaseChange, HandOver

_ENDED = (CaseStatus.CLOSED, CaseStatus.EXPIRED)


class MemoryCaseStore:
    """Cases in dicts; a lock makes a transaction. writes: to a case's own item, by its id. audit: events of no case."""

    def __init__(self) -> None:
        self.all: dict[str, Case] = {}
        self.writes: Counter[str] = Counter()
        self.audit: list[CaseEvent] = []
        self._generations: dict[str, int] = {}
        self._pieces: dict[tuple[str, str, int], Piece] = {}
        self._joined: dict[str, dict[tuple[int, str], str]] = {}
        self._events: dict[tuple[str, str, str, str], CaseEvent] = {}
        self._notes: dict[tuple[str, str, str], Note] = {}
        self._hand_overs: dict[tuple[str, HandOver], int] = {}
        self._tokens: dict[str, str] = {}
        self._lock = threading.RLock()

    def case(self, case_id: str) -> Case | None:
        return self.all.get(case_id)

    def latest(self, fingerprint: str) -> Case | None:
        with self._lock:
            return self.all.get(f"{fingerprint}-{self._generations.get(fingerprint, 0)}")

    def cases(self, *, every: bool, limit: int, after: str | None) -> tuple[Sequence[Case], str | None]:
        with self._lock:
            held = {_pointer(case): case for case in self.all.values() if every or case.status not in _ENDED}
        names = sorted(held, reverse=every)
        if after is not None:
            names = [name for name in names if (name < after if every else name > after)]
        page = names[:limit]
        return [held[name] for name in page], page[-1] if len(names) > limit else None

    def pieces(self, case_id: str) -> Sequence[Piece]:
        with self._lock:
            return [self._pieces[key] for key in sorted(self._pieces) if key[0] == case_id]

    def joined(self, incident_id: str) -> Mapping[tuple[int, str], str]:
        with self._lock:
            return dict(self._joined.get(incident_id, {}))

    def join(self, case: Case, pieces: Sequence[Piece], events: Sequence[CaseEvent], at: str) -> bool:
        assert len(pieces) <= MAX_PIECES
        with self._lock:
            held, marks = self.all.get(case.id), [self._mark(piece, case.fingerprint) for piece in pieces]
            if all(mark == case.id for mark in marks):
                return True
            if held is None or held.status is not CaseStatus.OPEN or any(marks):
                return False
            records = held.records + sum(len(piece.lines) for piece in pieces)
            self._put(replace(held, revision=held.revision + 1, records=records, last_joined_at=at))
            self._join(held, pieces)
            self._add_events(case.id, events)
            return True

    def commit(self, change: CaseChange) -> bool:
        assert len(change.pieces) + len(change.taken_over) <= MAX_PIECES
        with self._lock:
            case, held, successor = change.case, self.all.get(change.case.id), change.successor
            if case.revision == 1:
                fits = held is None and self._is_next(case)
            else:
                fits = held is not None and held.revision == case.revision - 1
            if not fits or (successor is not None and not self._is_next(successor)):
                return False
            if any(self._mark(piece, case.fingerprint) for piece in change.pieces):
                return False
            self._put(case)
            self._join(case, change.pieces)
            for piece in change.taken_over:
                self._pieces[case.id, piece.incident_id, piece.index] = piece
            self._add_events(case.id, change.events)
            self._hand_overs |= {(case.id, what): case.revision for what in change.hand_overs}
            if successor is not None:
                self._put(successor)
                self._add_events(successor.id, change.successor_events)
            return True

    def _is_next(self, case: Case) -> bool:
        return case.revision == 1 and case.generation == self._generations.get(case.fingerprint, 0) + 1

    def _put(self, case: Case) -> None:
        self.all[case.id] = case
        self.writes[case.id] += 1
        if case.revision == 1:
            self._generations[case.fingerprint] = case.generation
            self._hand_overs[case.id, HandOver.START] = case.revision

    def _mark(self, piece: Piece, fingerprint: str) -> str | None:
        return self._joined.get(piece.incident_id, {}).get((piece.index, fingerprint))

    def _join(self, case: Case, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._pieces[case.id, piece.incident_id, piece.index] = piece
            self._joined.setdefault(piece.incident_id, {})[piece.index, case.fingerprint] = case.id

    def events(self, case_id: str) -> Sequence[CaseEvent]:
        with self._lock:
            return [self._events[key] for key in sorted(self._events) if key[0] == case_id]

    def record_event(self, case_id: str | None, event: CaseEvent) -> None:
        with self._lock:
            if case_id is None:
                self.audit.append(event)
            else:
                self._add_events(case_id, [event])

    def _add_events(self, case_id: str, events: Sequence[CaseEvent]) -> None:
        self._events |= {(case_id, event.at, event.operation, event.kind): event for event in events}

    def notes(self, case_id: str) -> Sequence[Note]:
        with self._lock:
            return [self._notes[key] for key in sorted(self._notes) if key[0] == case_id]

    def add_note(self, case_id: str, note: Note, event: CaseEvent) -> None:
        with self._lock:
            self._notes[case_id, note.at, event.operation] = note
            self._add_events(case_id, [event])

    def hand_overs(self) -> Sequence[tuple[str, HandOver]]:
        with self._lock:
            return sorted(self._hand_overs)

    def delivered(self, case_id: str, what: HandOver, revision: int | None = None) -> None:
        with self._lock:
            if revision is None or self._hand_overs.get((case_id, what), 0) <= revision:
                self._hand_overs.pop((case_id, what), None)

    def save_token(self, case_id: str, token: str) -> None:
        self._tokens[case_id] = token

    def token(self, case_id: str) -> str | None:
        return self._tokens.get(case_id)


def _pointer(case: Case) -> str:
    return f"{case.opened_at}#{case.id}"
