"""How stored versions and effective policies are shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rich.table import Table
from rich.text import Text

from stream_redrive_cli.policy.effective import EffectivePolicy
from stream_redrive_cli.policy.parameter import StoredVersion
from stream_redrive_cli.visible import visible


def describe(name: str, chosen: StoredVersion, forced: StoredVersion | None, write: Callable[[str], None]) -> None:
    """What is known about a version, line by line."""
    when = chosen.written_at.isoformat(timespec="seconds") if chosen.written_at else "at an unknown time"
    write(visible(f"{name}, version {chosen.number}, written {when} by {chosen.written_by or 'an unknown writer'}"))
    write(visible(f"reason: {chosen.reason or 'none was given (not written by `redrive policy set`)'}"))
    fault = chosen.fault
    write(visible(f"INVALID: {fault}") if fault else "valid")
    if forced is None:
        write("in force: the built-in defaults, for no version is valid")
    elif forced.number == chosen.number:
        write("in force: this version")
    else:
        write(f"in force: version {forced.number}")


def described(name: str, chosen: StoredVersion, forced: StoredVersion | None) -> dict[str, Any]:
    """The same as JSON, with the text as stored and, where it is JSON, the document."""
    fault = chosen.fault
    return {
        "parameter": name,
        "version": chosen.number,
        "written_at": chosen.written_at.isoformat() if chosen.written_at else None,
        "written_by": chosen.written_by,
        "reason": chosen.reason,
        "tier": chosen.tier,
        "valid": fault is None,
        "problem": fault.problem if fault else None,
        "line": fault.line if fault else None,
        "in_force": forced.number if forced else None,
        "document": _document(chosen.text),
        "text": chosen.text,
    }


def consumer_table(effective: EffectivePolicy) -> Table:
    """Every field, its value and its source."""
    table = Table()
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for field in effective.fields:
        value = json.dumps(field.value, ensure_ascii=False)
        table.add_row(Text(field.field), Text(visible(value)), Text(visible(field.source)))
    return table


def _document(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN is no JSON, and may not get into what is printed as JSON
