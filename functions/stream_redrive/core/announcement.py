"""The message to those who decide about a case: what failed, how much of it, until when, and what to do."""

import json
from collections.abc import Sequence

from stream_redrive.core import chunks
from stream_redrive.core.cases import Case, CaseStatus, Decision, Piece
from stream_redrive.core.errors import VaultObjectMissing
from stream_redrive.core.masking import masked_payload, printable
from stream_redrive.core.policy import Decoder
from stream_redrive.core.ports import Vault

MAX_SUBJECT = 100
MAX_SAMPLE = 4_000


def sample(vault: Vault, pieces: Sequence[Piece], decoder: Decoder) -> str:
    """A record of the case, masked, as text; "" where none is left."""
    for piece in pieces[:1]:
        try:
            records = list(chunks.decode(vault.get(piece.key)))
        except VaultObjectMissing:
            return ""
        masked = masked_payload(records[piece.lines[0]].stream.data, decoder)
        return json.dumps(masked, indent=2, ensure_ascii=False)[:MAX_SAMPLE]
    return ""


def of(case: Case, sample_text: str, *, reminder: bool) -> tuple[str, str]:
    """Subject and text. Neither holds a payload's values, a link or a token."""
    function = chunks.consumer_name(case.consumer)
    what = f"{case.records} {case.verdict} {'record' if case.records == 1 else 'records'} of {function}"
    subject = f"{'Reminder: ' if reminder else ''}{what} wait for a decision"
    lines = [
        f"{subject}.",
        "",
        *_facts(case),
    ]
    proposal = case.proposal if case.status is CaseStatus.PROPOSED else None
    if proposal is not None:
        lines += [f"Proposed:  {proposal.action} by {proposal.by.arn} at {proposal.at}; a second person must agree"]
    if case.previous is not None:
        lines += [f"Before:    {case.previous} was the last case of this kind"]
    text = [printable(line) for line in lines]
    if sample_text:
        text += ["", "A record, each value replaced by its type:", *map(printable, sample_text.splitlines())]
    text += ["", _look(case)]
    if proposal is not None:
        text += [_approve(case, proposal)]
    text += [
        "Decide:    " + f"redrive cases plan {case.id} --action redrive|edit|discard|keep",
        "           the plan says how to carry it out.",
    ]
    return _subject(subject), "\n".join(text)


def of_proposal(case: Case, proposal: Decision) -> tuple[str, str]:
    """Subject and text for the second person. The reason is in the first one's words; neither holds a token."""
    what = f"{proposal.records} {'record' if proposal.records == 1 else 'records'}"
    subject = f"A second person is needed: {proposal.action} {what} of {chunks.consumer_name(case.consumer)}"
    lines = [
        f"{proposal.by.arn} proposes to {proposal.action} {what}; somebody else must approve it.",
        "",
        *_facts(case),
        f"Proposed:  {proposal.action} {proposal.records} of {case.records}, at {proposal.at}",
        f"By:        {proposal.by.arn}",
        f"Reason:    {proposal.reason}",
        *([f"Ticket:    {proposal.ticket}"] if proposal.ticket else []),
    ]
    text = [*map(printable, lines), "", _look(case), _approve(case, proposal)]
    return _subject(subject), "\n".join(text)


def _facts(case: Case) -> list[str]:
    return [
        f"Case:      {case.id}",
        f"Consumer:  {case.consumer}",
        f"Stream:    {case.stream_arn}",
        f"Rule:      {case.rule}: {case.reason}",
        f"Error:     {case.error_type or 'none known'}{': ' + case.message if case.message else ''}",
        f"Seen:      first {case.opened_at}, last {case.last_joined_at}",
        f"Decide by: {case.expires_at}; after that the case expires and the records stay in quarantine",
    ]


def _look(case: Case) -> str:
    return f"Look:      redrive cases show {case.id}"


def _approve(case: Case, proposal: Decision) -> str:
    return f'Approve:   redrive cases decide {case.id} --approve --digest {proposal.digest} --reason "say why"'


def _subject(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:MAX_SUBJECT]
