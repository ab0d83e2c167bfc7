"""A change of the policy: planned against what is in force, and written only if nobody else wrote meanwhile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream_redrive_cli.errors import PartlyDoneError, StaleError, UsageError
from stream_redrive_cli.policy.difference import Change, changes
from stream_redrive_cli.policy.parameter import MAX_REASON, PolicyParameter, in_force


@dataclass(frozen=True)
class Plan:
    """What a write would do. in_force: the version it is compared with; newest: the number of the last version.

    newest_fault: what is wrong with the last version, "" where it is the one in force.
    """

    text: str
    in_force: str
    newest: int
    newest_fault: str
    changes: Sequence[Change]

    @property
    def number(self) -> int:
        """The version that a write makes."""
        return self.newest + 1

    @property
    def needed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.changes or self.newest_fault)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, once it was carried out."""
        return {
            "in_force_before": self.in_force,
            "written": self.needed,
            "version": self.number if self.needed else self.newest,
            "changes": [change.to_dict() for change in self.changes],
        }


def valid_reason(reason: str) -> str:
    """The reason without space around it. Raises UsageError when nothing or too much is left."""
    text = reason.strip()
    if not text:
        raise UsageError("--reason is empty: every change says why")
    if len(text) > MAX_REASON:
        raise UsageError(f"--reason has {len(text)} characters, and {MAX_REASON} can be kept")
    return text


def plan(parameter: PolicyParameter, text: str) -> Plan:
    """Compare a valid document with the version in force."""
    history = parameter.history()
    newest, forced = history[0], in_force(history)
    fault = newest.fault
    return Plan(
        text=text,
        in_force=f"version {forced.number}" if forced else "built-in",
        newest=newest.number,
        newest_fault=fault.problem if fault else "",
        changes=changes(json.loads(forced.text) if forced else {}, json.loads(text)),
    )


def apply(parameter: PolicyParameter, plan: Plan, reason: str) -> None:
    """Write the planned version.

    Raises:
        StaleError: another version was written since the plan was made; nothing is written.
        PartlyDoneError: another one was written at the same moment; ours is in force, over one that nobody saw.
    """
    there = parameter.newest_number()
    if there != plan.newest:
        raise StaleError(
            f"nothing was written: version {there} of {parameter.name} was written since version {plan.newest} was "
            "compared; run the command again to see the difference"
        )
    written = parameter.write(plan.text, reason, plan.number)
    if written != plan.number:
        raise PartlyDoneError(
            f"version {written} is written and in force, but {plan.number} was written by somebody else at the same "
            f"moment: look at it with `redrive policy show --version {plan.number}`"
        )
