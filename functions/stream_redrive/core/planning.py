"""Planning: what a decision about a case would do, down to the bytes, without doing any of it."""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stream_redrive.core import chunks
from stream_redrive.core.case_records import Held, part_of, read_lines, record_id, records_digest
from stream_redrive.core.cases import Action, Case, Person, Piece
from stream_redrive.core.editing import Editor, Ineligible
from stream_redrive.core.errors import VaultObjectMissing
from stream_redrive.core.json_patch import Operation, parse_patch
from stream_redrive.core.masking import masked_payload
from stream_redrive.core.policy import Decoder, Policy
from stream_redrive.core.ports import Clock, Vault
from stream_redrive.core.records import digest, to_json
from stream_redrive.core.refusals import MalformedRequest, NotEditable, NothingEligible, UnknownRecord

MAX_SAMPLES = 3
# A shard takes so many records a second; the pace is a share of it.
SHARD_RECORDS_A_SECOND = 1000
# What is left of a request's time for everything but reading chunks.
RESERVE_SECONDS = 5
PAYLOAD_EXPIRED = "the payload has expired"
_LEFT_OVER = "left_over.json"
NO_TARGET = "this version can't send to the policy's target"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for.

    only: the records meant, by id, None for all. left_out: all but these. patch, replacement: of an edit, one of them;
    replacement is the new payload of the one record that `only` names.
    """

    action: Action
    only: frozenset[str] | None = None
    left_out: frozenset[str] = frozenset()
    patch: tuple[Operation, ...] = ()
    replacement: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            MalformedRequest: saying how.
        """
        edits = bool(self.patch) + (self.replacement is not None)
        if edits != (self.action is Action.EDIT):
            raise MalformedRequest("an edit has either a patch or a replacement, and nothing else has one")
        if self.only is not None and self.left_out:
            raise MalformedRequest("name the records that are meant (only) or those that are not (except), not both")
        if self.only is not None and not self.only:
            raise MalformedRequest("only names no record")
        if self.replacement is not None and (self.only is None or len(self.only) != 1):
            raise MalformedRequest("a replacement is for exactly one record, which only names")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Request":
        """Read a request: action, only, except, patch and replacement (base64), as the API takes them.

        Raises:
            MalformedRequest, InvalidPatch.
        """
        try:
            replacement = base64.b64decode(fields["replacement"], validate=True) if "replacement" in fields else None
        except ValueError as exc:
            raise MalformedRequest("the replacement is no base64") from exc
        return cls(
            action=Action(fields["action"]),
            only=frozenset(fields["only"]) if "only" in fields else None,
            left_out=frozenset(fields.get("except", ())),
            patch=parse_patch(fields["patch"]) if "patch" in fields else (),
            replacement=replacement,
        )

    def means(self, record: str) -> bool:
        """Whether a record is meant."""
        return record in self.only if self.only is not None else record not in self.left_out

    @property
    def named(self) -> frozenset[str]:
        """The records that it names, one way or the other."""
        return self.left_out if self.only is None else self.only


@dataclass(frozen=True, slots=True)
class Counts:
    """Records of a case. eligible: what the decision is about. left_over: those the request leaves out.
    ineligible: those it can't be done to, by reason. All but the eligible ones go to the next case.
    """

    total: int
    eligible: int
    left_over: int
    ineligible: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """A record before and after an edit: bytes, and the document masked."""

    record: str
    bytes_before: int
    bytes_after: int
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Plan:
    """What a decision would do.

    revision: of the case when it was looked at. digest: of exactly these records and bytes, the action and the target.
    people: how many it takes. incomplete: why the records aren't certain yet, None where they are. estimate_seconds:
    how long sending takes at least, at the policy's pace (records a second of one shard).
    """

    case_id: str
    action: Action
    target: str
    pace: float
    policy_version: str
    revision: int
    records: Counts
    digest: str
    people: int
    incomplete: str | None
    estimate_seconds: int
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a piece that fits into memory.

    chosen: the lines that the decision is about. rest: the piece of those that it is not about, with the last part.
    digest: of the chosen records, their new bytes included. edited: new payloads, by line.
    """

    piece: Piece
    chosen: tuple[int, ...]
    rest: Piece | None
    digest: str
    ineligible: Counter[str] = field(default_factory=Counter)
    lines: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    edited: Mapping[int, bytes] = field(default_factory=dict)


class OutOfTime(Exception):
    """The request's time doesn't suffice for all records; the message says how far it came."""


class Survey:
    """Goes through a case's records, chunk by chunk, and says of each what the request means for it.

    Where the request means whole chunks as they are, they are not read: their pieces carry the digest already.
    """

    def __init__(
        self, case: Case, pieces: Sequence[Piece], request: Request, policy: Policy, vault: Vault, clock: Clock
    ) -> None:
        self._case = case
        self._pieces = pieces
        self._request = request
        self._vault = vault
        self._clock = clock
        self._sends = request.action in (Action.REDRIVE, Action.EDIT)
        self._reachable = policy.target == "stream" and policy.ordering == "none"
        self._editor = Editor(policy, request.patch, request.replacement) if request.action is Action.EDIT else None
        self._shards = {record.rpartition(":")[0] for record in request.named}
        self._missing = set(request.named)

    def __iter__(self) -> Iterator[Portion]:
        """The portions, in the order of the pieces.

        Raises:
            UnknownRecord: the request names a record that the case doesn't have.
            OutOfTime, and what an edit raises.
        """
        self._missing = set(self._request.named)
        held = Held(self._vault, self._pieces) if self._sends and self._reachable else None
        for index, piece in enumerate(self._pieces):
            if self._clock.remaining_seconds() < RESERVE_SECONDS:
                raise OutOfTime(f"{index} of {len(self._pieces)} chunks could be looked at in the time of one request")
            yield from self._portions(piece, held)
        if self._missing:
            examples = ", ".join(sorted(self._missing)[:3])
            raise UnknownRecord(f"case {self._case.id} has {len(self._missing)} of the named records not: {examples}")

    def _portions(self, piece: Piece, held: Held | None) -> Iterator[Portion]:
        selective = piece.shard_id in self._shards
        if self._request.only is not None and not selective:
            yield Portion(piece, (), piece, "")
        elif self._sends and held is None:
            yield self._out_of_reach(piece, NO_TARGET, selective)
        elif held is not None and piece not in held:
            yield self._out_of_reach(piece, PAYLOAD_EXPIRED, selective)
        elif self._editor is None and not selective:
            yield Portion(piece, piece.lines, None, piece.digest)
        else:
            yield from self._read(piece)

    def _out_of_reach(self, piece: Piece, reason: str, selective: bool) -> Portion:
        meant = len(piece.lines)
        if selective:
            # Which of its records are named can't be told any more: none is acted on.
            try:
                lines = read_lines(self._vault, piece)
            except VaultObjectMissing:
                self._missing -= {record for record in self._missing if record.rpartition(":")[0] == piece.shard_id}
            else:
                ids = [record_id(line) for line in lines.values()]
                self._missing -= set(ids)
                meant = sum(map(self._request.means, ids))
        return Portion(piece, (), piece, "", Counter({reason: meant} if meant else {}))

    def _read(self, piece: Piece) -> Iterator[Portion]:
        try:
            lines = read_lines(self._vault, piece)
        except VaultObjectMissing:
            yield self._out_of_reach(piece, PAYLOAD_EXPIRED, selective=True)
            return
        left: set[int] = set()
        ineligible: Counter[str] = Counter()
        edited: dict[int, bytes] = {}
        chosen: list[int] = []
        size = 0
        for number, line in lines.items():
            record = record_id(line)
            self._missing.discard(record)
            if not self._request.means(record):
                left.add(number)
                continue
            if self._editor is not None:
                try:
                    data = self._editor(line)
                except Ineligible as exc:
                    if self._request.only is not None:
                        raise NotEditable(f"record {record} can't be edited: {exc}") from exc
                    ineligible[str(exc)] += 1
                    left.add(number)
                    continue
                if chosen and size + len(data) > chunks.MAX_BYTES // 2:
                    yield _portion(piece, chosen, None, lines, edited)
                    chosen, edited, size = [], {}, 0
                edited[number] = data
                size += len(data)
            chosen.append(number)
        yield _portion(piece, chosen, part_of(piece, lines, sorted(left)), lines, edited, ineligible)


def _portion(
    piece: Piece,
    chosen: Sequence[int],
    rest: Piece | None,
    lines: Mapping[int, Mapping[str, Any]],
    edited: Mapping[int, bytes],
    ineligible: Counter[str] | None = None,
) -> Portion:
    found = piece.digest if tuple(chosen) == piece.lines else records_digest(lines[number] for number in chosen)
    if edited:
        found += "".join(digest(data) for data in edited.values())
    kept = {number: lines[number] for number in chosen}
    return Portion(piece, tuple(chosen), rest, found, ineligible or Counter(), kept, edited)


def plan(
    case: Case,
    pieces: Sequence[Piece],
    request: Request,
    policy: Policy,
    version: str,
    vault: Vault,
    clock: Clock,
) -> Plan:
    """What the decision would do, as the case stands.

    Args:
        version: of the policy.

    Raises:
        UnknownRecord, NothingEligible, PatchFails, NotEditable, EmptyPayload, PayloadTooLarge, SchemaStillBroken.
    """
    target = policy.target if request.action in (Action.REDRIVE, Action.EDIT) else ""
    found = hashlib.sha256(to_json([case.id, request.action, target]).encode())
    ineligible: Counter[str] = Counter()
    samples: list[Sample] = []
    eligible = rest = 0
    incomplete = None
    try:
        for portion in Survey(case, pieces, request, policy, vault, clock):
            eligible += len(portion.chosen)
            rest += len(portion.rest.lines) if portion.rest else 0
            ineligible += portion.ineligible
            if portion.chosen:
                place = [portion.piece.incident_id, portion.piece.index, portion.digest]
                found.update(to_json(place).encode())
            samples += _samples(portion, policy.decoder, MAX_SAMPLES - len(samples))
    except OutOfTime as exc:
        incomplete = f"{exc}: leave it to a request for fewer records, or decide without an edit"
    if case.left_over_of is not None:
        incomplete = f"the case is still taking over records of case {case.left_over_of}"
    if not eligible and incomplete is None:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in ineligible.items())
        raise NothingEligible(f"none of the {eligible + rest} records of case {case.id} is eligible ({reasons})")
    return Plan(
        case_id=case.id,
        action=request.action,
        target=target,
        pace=policy.pace,
        policy_version=version,
        revision=case.revision,
        records=Counts(eligible + rest, eligible, rest - ineligible.total(), dict(ineligible)),
        digest=found.hexdigest(),
        people=people_needed(request.action, policy),
        incomplete=incomplete,
        estimate_seconds=math.ceil(eligible / (SHARD_RECORDS_A_SECOND * policy.pace)) if target else 0,
        samples=tuple(samples),
    )


def people_needed(action: Action, policy: Policy) -> int:
    """How many people a decision takes."""
    return 2 if action in policy.approval.two_person else 1


def write_work(survey: Survey, vault: Vault, prefix: str, by: Person) -> str:
    """Write what the workflow works through: the list of chunks, the edited chunks, and beside them what is left over.

    Returns the list's key. Written again, with the same digest, it is the same. Format: docs/architecture.md.

    Args:
        prefix: "cases/<case id>/<digest>/".
        by: who edits.
    """
    entries: list[dict[str, Any]] = []
    left_over: list[Piece] = []
    for portion in survey:
        if portion.rest is not None:
            left_over.append(portion.rest)
        if not portion.chosen:
            continue
        piece, index = portion.piece, len(entries)
        entry = {"index": index, "bucket": piece.bucket, "key": piece.key, "lines": list(portion.chosen)}
        if portion.edited:
            edited = f"{prefix}{index:05}.ndjson.gz"
            entry |= {"key": edited, "lines": None}
            vault.put(edited, chunks.encode(_edited_lines(portion, by)))
        entries.append({**entry, "records": len(portion.chosen)})
    vault.put(f"{prefix}{_LEFT_OVER}", to_json([asdict(piece) for piece in left_over]).encode())
    vault.put(f"{prefix}chunks.json", to_json(entries).encode())
    return f"{prefix}chunks.json"


def _edited_lines(portion: Portion, by: Person) -> Iterator[dict[str, Any]]:
    for number, data in portion.edited.items():
        line = portion.lines[number]
        yield {
            **line,
            "data": base64.b64encode(data).decode("ascii"),
            "sha256": digest(data),
            "edited": {"from_sha256": line["sha256"], "by": by.arn},
        }


def _samples(portion: Portion, decoder: Decoder, most: int) -> Iterator[Sample]:
    for number, data in list(portion.edited.items())[:most]:
        line = portion.lines[number]
        before = base64.b64decode(line["data"])
        yield Sample(
            record_id(line), len(before), len(data), masked_payload(before, decoder), masked_payload(data, decoder)
        )
