"""How cases, their records and plans are shown."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from stream_redrive.core.notices import parse_time
from stream_redrive.core.payloads import GZIP_MAGIC, MAX_DECODED_BYTES
from stream_redrive_cli.visible import visible

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_WAITING = ("open", "proposed")

Case = Mapping[str, Any]
Write = Callable[[str], None]


def case_table(cases: Sequence[Case], now: datetime) -> Table:
    """A line a case. Fits 80 columns."""
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("case", "age", "records", "failure", "status", "expires in"):
        right = name in ("age", "records", "expires in")
        # What failed takes the width that is left.
        ratio = 1 if name == "failure" else None
        table.add_column(name, no_wrap=True, justify="right" if right else "left", overflow="ellipsis", ratio=ratio)
    for case in cases:
        left = span(parse_time(case["expires_at"]) - now) if case["status"] in _WAITING else "-"
        table.add_row(
            Text(visible(case["id"])),
            span(now - parse_time(case["opened_at"])),
            str(case["records"]),
            Text(visible(failure(case))),
            visible(case["status"]),
            left,
        )
    return table


def failure(case: Case) -> str:
    """What failed, in one line: where, why."""
    what = f"{case['error_type']}: {case['message']}" if case["error_type"] else case["reason"]
    return f"{case['consumer'].rpartition(':function:')[2]} {case['rule']}: {what}"


def span(time: timedelta) -> str:
    """A time span in its largest unit, as "3 h"."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if time >= unit:
            return f"{time // unit} {name}"
    return "0 min"


def describe(details: Mapping[str, Any], write: Write) -> None:
    """A case, its history and its notes."""
    case, now = details["case"], datetime.now(UTC)
    for name, value in _header(case, now):
        write(visible(f"{name + ':':<12}{value}"))
    write("")
    write("history")
    for event in details["history"]:
        write(visible(f"  {event_line(event)}"))
    if details["notes"]:
        write("")
        write("notes")
    for note in details["notes"]:
        write(visible(f"  {note['at']} {note['by']['arn']}: {note['text']}"))


def _header(case: Case, now: datetime) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [
        ("case", case["id"]),
        ("status", case["status"]),
        ("records", case["records"]),
        ("consumer", case["consumer"]),
        ("stream", case["stream_arn"]),
        ("rule", f"{case['rule']}: {case['reason']}"),
        ("error", f"{case['error_type']}: {case['message']}" if case["error_type"] else "none known"),
        ("seen", f"first {case['opened_at']}, last {case['last_joined_at']}"),
    ]
    if case["status"] in _WAITING:
        found.append(("decide by", f"{case['expires_at']} (in {span(parse_time(case['expires_at']) - now)})"))
    if case["previous"]:
        found.append(("before", f"{case['previous']} was the last case of this kind"))
    if case["left_over_of"]:
        found.append(("takes over", f"what the decision about {case['left_over_of']} left over"))
    if proposal := case["proposal"]:
        found.append(("proposed", _decided(proposal)))
        found.append(("", f"a second person must approve it; digest {proposal['digest']}"))
    if decision := case["decision"]:
        found.append(("decided", _decided(decision)))
        if decision["approved_by"]:
            found.append(("approved", f"by {decision['approved_by']['arn']} at {decision['approved_at']}"))
    if case["outcome"]:
        found.append(("outcome", outcome(case)))
    return found


def _decided(decision: Mapping[str, Any]) -> str:
    ticket = f", {decision['ticket']}" if decision["ticket"] else ""
    who = f"by {decision['by']['arn']} at {decision['at']}"
    return f"{decision['action']} {counted(decision['records'])} {who}: {decision['reason']}{ticket}"


def outcome(case: Case) -> str:
    """What came of a decision, in counts."""
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in (case["outcome"] or {}).items())


def event_line(event: Mapping[str, Any]) -> str:
    """What was done, when and by whom."""
    details = " ".join(f"{name}={_short(value)}" for name, value in event["details"].items())
    return f"{event['at']} {event['kind']} {event['actor']} {details}".rstrip()


def _short(value: object) -> str:
    return value if isinstance(value, str) and " " not in value else json.dumps(value, ensure_ascii=False)


def show_record(view: Mapping[str, Any], line: Mapping[str, Any] | None, write: Write) -> None:
    """A record. line: with its payload; without one the values are masked."""
    write("")
    write(
        visible(
            f"record {view['id']}, {view['bytes']} bytes of {view['format']}, arrived {view['arrived_at']}, "
            f"attempt {view['attempt']}"
        )
    )
    text = payload_text(base64.b64decode(line["data"])) if line else _pretty(view["document"])
    for shown in text.splitlines():
        write(visible(f"  {shown}"))


def payload_text(data: bytes) -> str:
    """A payload as a person reads it: unpacked, as JSON, as text, else as base64."""
    unpacked = data
    if data.startswith(GZIP_MAGIC):
        with suppress(zlib.error):  # it may only begin like gzip
            unpacked = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(data, MAX_DECODED_BYTES)
    try:
        return _pretty(json.loads(unpacked))
    except (ValueError, RecursionError):
        pass  # no JSON
    try:
        return unpacked.decode()
    except UnicodeDecodeError:
        return f"base64: {base64.b64encode(data).decode()}"


def _pretty(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def show_plan(plan: Mapping[str, Any], write: Write) -> None:
    """What a decision would do."""
    records = plan["records"]
    write(
        visible(
            f"{plan['action']} {counted(records['eligible'])} of case {plan['case_id']}, which has {records['total']}"
        )
    )
    if records["left_over"]:
        write(f"left over: {records['left_over']}, for the next case of this kind")
    for reason, number in records["ineligible"].items():
        write(visible(f"ineligible: {number}, for {reason}; they go to the next case"))
    if plan["target"]:
        seconds = plan["estimate_seconds"]
        write(visible(f"target: {plan['target']}, at {plan['pace']:.0%} of a shard's capacity: {seconds} s at least"))
    write(f"people needed: {plan['people']}")
    for sample in plan["samples"]:
        write(visible(f"record {sample['record']}: {sample['bytes_before']} bytes become {sample['bytes_after']}"))
        write(visible(f"- {json.dumps(sample['before'], ensure_ascii=False)}"))
        write(visible(f"+ {json.dumps(sample['after'], ensure_ascii=False)}"))
    if plan["incomplete"]:
        write(visible(f"INCOMPLETE, not to be decided yet: {plan['incomplete']}"))
    write(f"digest: {plan['digest']}")


def counted(number: int) -> str:
    """So many records."""
    return f"{number} record{'' if number == 1 else 's'}"
