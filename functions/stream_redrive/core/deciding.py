"""Deciding: what people ask about cases and do with them. Each request changes everything it should, or nothing."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from stream_redrive.core import case_records
from stream_redrive.core.approvers import Approvers
from stream_redrive.core.case_records import RecordView
from stream_redrive.core.cases import Action, Call, Case, CaseEvent, CaseStatus, Decision, Note, Person, Word, case_id
from stream_redrive.core.errors import WriteConflict
from stream_redrive.core.handing_over import HandOvers
from stream_redrive.core.notices import format_time, parse_time
from stream_redrive.core.planning import OutOfTime, Plan, Request, Survey, people_needed, plan, write_work
from stream_redrive.core.policy import Policy, PolicyBook
from stream_redrive.core.ports import CaseChange, CaseStore, Clock, HandOver, Vault
from stream_redrive.core.refusals import (
    AlreadyDecided,
    CaseExpired,
    MalformedRequest,
    NotAnApprover,
    NotSigned,
    PlanIncomplete,
    ReasonMissing,
    Refusal,
    SelfApproval,
    StaleDigest,
    UnknownCase,
    UnknownRecord,
)

CHANNEL = "api"
MAX_TEXT = 4000
MAX_HISTORY = 100
# Records that join move a case on; so often a decision is tried on the case as it then is.
_MAX_ATTEMPTS = 20
_CASE_ID = re.compile(r"[0-9a-f]{16}-[1-9][0-9]{0,8}")
# Characters that change how a line reads: controls but line breaks and tabs, and marks of direction.
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class CaseDetails:
    """A case with its notes and the latest of its history, joins left out."""

    case: Case
    notes: Sequence[Note]
    history: Sequence[CaseEvent]


@dataclass(frozen=True, slots=True)
class Standing:
    """A case as somebody's word has left it.

    told: whether its workflow was told of the decision, or the approvers of the proposal; else the sweep tells them.
    """

    case: Case
    told: bool


class CaseDesk:
    """What people can ask about cases, and do. What is refused is kept in the case's history, but for mere looks."""

    def __init__(
        self,
        store: CaseStore,
        vault: Vault,
        policies: Callable[[], PolicyBook],
        hand_overs: HandOvers,
        clock: Clock,
        report: Callable[[str, Exception], None],
    ) -> None:
        """report: is told of a case whose decision, or proposal, could not be told to whom it concerns."""
        self._store = store
        self._vault = vault
        self._policies = policies
        self._hand_overs = hand_overs
        self._clock = clock
        self._report = report

    # Looks change nothing.

    def cases(self, call: Call, *, every: bool, limit: int, after: str | None) -> tuple[Sequence[Case], str | None]:
        """A page of cases, and where the next one begins."""
        _signed(call)
        return self._store.cases(every=every, limit=limit, after=after)

    def show(self, call: Call, name: str) -> CaseDetails:
        """A case."""
        _signed(call)
        case = self._case(name)
        history = [event for event in self._store.events(name) if event.kind != "joined"]
        return CaseDetails(case, self._store.notes(name), history[-MAX_HISTORY:])

    def records(self, call: Call, name: str, *, limit: int, after: int) -> Sequence[RecordView]:
        """Some of a case's records, masked. after: how many to leave out before."""
        _signed(call)
        case = self._case(name)
        policy, _ = self._policy(case)
        return case_records.views(self._vault, self._store.pieces(name), policy.decoder, limit=limit, after=after)

    # What follows leaves an event, of a refusal too.

    def view(self, call: Call, name: str, record: str) -> Mapping[str, Any]:
        """A record's whole line, payload and all (docs/architecture.md, contracts)."""
        with self._refusals(call, name, "view"):
            _signed(call)
            case = self._case(name)
            line = case_records.find(self._vault, self._store.pieces(name), record)
            if line is None:
                raise UnknownRecord(f"case {name} has no record {record[:200]}, or its payload has expired")
            self._record(case, call, "viewed", {"record": record, "sha256": line["sha256"]})
            return line

    def note(self, call: Call, name: str, text: str) -> Note:
        """Add a note."""
        with self._refusals(call, name, "note"):
            person, case = _signed(call), self._case(name)
            _check_text("a note", text)
            if not text.strip():
                raise MalformedRequest("a note says something")
            note = Note(self._now(), person, text)
            event = CaseEvent(call.operation, note.at, "noted", person.arn, person.channel, case.status, case.status)
            self._store.add_note(name, note, event)
            return note

    def plan(self, call: Call, name: str, fields: Mapping[str, Any]) -> Plan:
        """What a decision would do. A case that is decided or expired has no plan. fields: those of a Request."""
        with self._refusals(call, name, "plan"):
            _signed(call)
            case, request = self._case(name), Request.of(fields)
            self._refuse_late(case)
            found = self._plan(case, request)
            shown = {"action": request.action.value, "eligible": found.records.eligible, "total": found.records.total}
            self._record(case, call, "planned", shown, found)
            return found

    def decide(self, call: Call, name: str, fields: Mapping[str, Any], word: Word) -> Standing:
        """Decide, or be the second person to say so.

        The work list is in the vault before the decision is in the ledger. The workflow is told at once if it waits,
        and of a proposal the approvers; else the sweep tells them.

        Args:
            fields: those of a Request; of an approval, its action is enough.

        Raises:
            Refusal: nothing was changed.
            WriteConflict: the case changes faster than it can be decided.
        """
        with self._refusals(call, name, "decide"):
            person = _signed(call)
            for _ in range(_MAX_ATTEMPTS):
                case = self._case(name)
                policy, version = self._policy(case)
                approvers = Approvers(policy.approval.approvers)
                if approvers.person(person.arn) is None:
                    raise NotAnApprover(f"{person.arn} is none of the approvers that the policy names")
                if not word.reason.strip():
                    raise ReasonMissing("a decision needs a reason: whoever reads the audit wants to know why")
                _check_text("a reason", word.reason)
                _check_text("a ticket", word.ticket)
                self._refuse_late(case)
                action = Action(fields["action"])
                decision = self._approved(case, action, word, person, approvers)
                people = 1 if decision else people_needed(action, policy)
                decision = decision or self._proposed(case, Request.of(fields), word, person, policy, version)
                change = self._change(case, decision, people, _Author(call, person, word), policy)
                if self._store.commit(change):
                    return Standing(change.case, self._tell(change))
            raise WriteConflict(f"case {name} changes faster than it can be decided: try again")

    def _approved(
        self, case: Case, action: Action, word: Word, person: Person, approvers: Approvers
    ) -> Decision | None:
        """The proposal with the second person's word; None where it is none, or its author no approver any more."""
        proposal = case.proposal
        if case.status is not CaseStatus.PROPOSED or proposal is None or proposal.digest != word.digest:
            return None
        first = approvers.person(proposal.by.arn)
        if proposal.by.arn == person.arn or first == approvers.person(person.arn):
            raise SelfApproval(
                f"{proposal.by.arn} has proposed this at {proposal.at} and counts as the same person: "
                f"a second one must approve it"
            )
        if action is not proposal.action:
            raise StaleDigest(f"the digest is of the proposal to {proposal.action}, not to {action}")
        return replace(proposal, approved_by=person, approved_at=self._now()) if first else None

    def _proposed(
        self, case: Case, request: Request, word: Word, person: Person, policy: Policy, version: str
    ) -> Decision:
        pieces = self._store.pieces(case.id)
        found = plan(case, pieces, request, policy, version, self._vault, self._clock)
        if found.incomplete is not None:
            raise PlanIncomplete(found.incomplete)
        if found.digest != word.digest:
            raise StaleDigest(self._what_changed(case, found, word.digest))
        survey = Survey(case, pieces, request, policy, self._vault, self._clock)
        try:
            work = write_work(survey, self._vault, f"cases/{case.id}/{found.digest}/", person)
        except OutOfTime as exc:
            raise PlanIncomplete(f"{exc}: decide about fewer records") from exc
        return Decision(
            action=request.action,
            digest=found.digest,
            reason=word.reason,
            ticket=word.ticket,
            records=found.records.eligible,
            work=work,
            target=found.target,
            pace=found.pace,
            policy_version=version,
            by=person,
            at=self._now(),
        )

    def _what_changed(self, case: Case, found: Plan, digest: str) -> str:
        shown = next((e.details for e in reversed(self._store.events(case.id)) if e.digest == digest), None)
        now = f"{found.records.eligible} of {found.records.total}"
        if shown is None:
            return f"no plan of case {case.id} has this digest; it would be about {now} records: plan again"
        then = f"{shown['eligible']} of {shown['total']}"
        if shown["action"] != found.action:
            return f"the digest is of a plan to {shown['action']}, not to {found.action}"
        if now == then:
            return (
                f"the plan was about {then} records as this one is, but not the same, or edited otherwise: plan again"
            )
        return f"the plan was about {then} records of the case, now it would be about {now}: plan again"

    def _change(self, case: Case, decision: Decision, people: int, author: "_Author", policy: Policy) -> CaseChange:
        status = CaseStatus.PROPOSED if people > 1 else CaseStatus.DECIDED
        final = status is CaseStatus.DECIDED
        moved = replace(
            case,
            revision=case.revision + 1,
            status=status,
            proposal=None if final else decision,
            decision=decision if final else None,
        )
        left = case.records - decision.records
        details = {
            "action": decision.action.value,
            "eligible": decision.records,
            "total": case.records,
            "reason": author.word.reason,
            "ticket": author.word.ticket,
        }
        event = CaseEvent(
            author.call.operation,
            self._now(),
            "decided" if final else "proposed",
            author.person.arn,
            author.person.channel,
            case.status,
            status,
            decision.digest,
            decision.policy_version,
            details,
        )
        if not final or not left:
            return CaseChange(moved, events=[event], hand_overs=[HandOver.DECIDED if final else HandOver.PROPOSED])
        successor = self._successor(case, policy)
        opened = CaseEvent(
            author.call.operation,
            event.at,
            "opened",
            author.person.arn,
            author.person.channel,
            after=CaseStatus.OPEN,
            details={"left_over_of": case.id, "records": left},
        )
        return CaseChange(
            moved, successor=successor, successor_events=[opened], events=[event], hand_overs=[HandOver.DECIDED]
        )

    def _successor(self, case: Case, policy: Policy) -> Case:
        """The case for what a decision leaves over. It counts its records as it takes them over."""
        newest = self._store.latest(case.fingerprint) or case
        now = self._clock.now()
        return replace(
            case,
            id=case_id(case.fingerprint, newest.generation + 1),
            generation=newest.generation + 1,
            status=CaseStatus.OPEN,
            revision=1,
            records=0,
            opened_at=format_time(now),
            last_joined_at=format_time(now),
            expires_at=format_time(now + timedelta(days=policy.approval.expire_days)),
            remind_at=format_time(now + timedelta(hours=policy.approval.reminder_hours)),
            previous=case.id,
            left_over_of=case.id,
            proposal=None,
        )

    def _tell(self, change: CaseChange) -> bool:
        [what] = change.hand_overs
        try:
            return self._hand_overs[what](change.case.id)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the change is made, and the sweep tells of it
            self._report(change.case.id, exc)
            return False

    def _case(self, name: str) -> Case:
        case = self._store.case(name) if _CASE_ID.fullmatch(name) else None
        if case is None:
            raise UnknownCase(f"there is no case {name[:200]!r}")
        return case

    def _policy(self, case: Case) -> tuple[Policy, str]:
        book = self._policies()
        return book.policy_for(case.consumer), book.version

    def _plan(self, case: Case, request: Request) -> Plan:
        policy, version = self._policy(case)
        return plan(case, self._store.pieces(case.id), request, policy, version, self._vault, self._clock)

    def _refuse_late(self, case: Case) -> None:
        if (decision := case.decision) is not None:
            approved = f", approved by {decision.approved_by.arn}" if decision.approved_by else ""
            raise AlreadyDecided(
                f"{decision.by.arn} has decided to {decision.action} {decision.records} records at "
                f"{decision.approved_at or decision.at}{approved}"
            )
        if case.status is CaseStatus.EXPIRED or self._clock.now() >= parse_time(case.expires_at):
            raise CaseExpired(f"case {case.id} expired at {case.expires_at}; its records are still in quarantine")

    def _record(
        self,
        case: Case | None,
        call: Call,
        kind: str,
        details: Mapping[str, Any],
        found: Plan | None = None,
    ) -> None:
        status = case.status if case else None
        event = CaseEvent(
            call.operation,
            self._now(),
            kind,
            call.arn or "unsigned",
            CHANNEL,
            status,
            status,
            found.digest if found else None,
            found.policy_version if found else None,
            details,
        )
        self._store.record_event(case.id if case else None, event)

    @contextmanager
    def _refusals(self, call: Call, name: str, wanted: str) -> Iterator[None]:
        try:
            yield
        except Refusal as exc:
            known = self._store.case(name) if _CASE_ID.fullmatch(name) else None
            details = {"request": wanted, "case": name[:200], "refusal": type(exc).__name__, "why": str(exc)[:1000]}
            self._record(known, call, "denied", details)
            raise

    def _now(self) -> str:
        return format_time(self._clock.now())


@dataclass(frozen=True, slots=True)
class _Author:
    call: Call
    person: Person
    word: Word


def _signed(call: Call) -> Person:
    if call.arn is None:
        raise NotSigned("the request is not signed by anybody whom AWS knows")
    return Person(call.arn, CHANNEL)


def _check_text(what: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise MalformedRequest(f"{what} has at most {MAX_TEXT} characters, and this one {len(text)}")
    if found := _HIDDEN.search(text):
        raise MalformedRequest(f"{what} holds the control character U+{ord(found[0]):04X}")
