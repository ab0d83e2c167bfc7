"""The lab report: the JSON of the contract, and a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from stream_redrive_cli.lab.accounting import Account, Tally

_WIDTH = 120
COLUMNS = ("produced", "consumed", "captured", "redriven", "healed", "quarantined", "expired", "lost")


@dataclass(frozen=True)
class LabReport:
    """The fixed fields. Records are counted once each, whatever their number of attempts.

    consumed: the consumer took the record in the end. captured, redriven: at least once. poison_messages: all
    messages on the poison queue for this consumer. aws_calls: of the service's own functions only.
    """

    scenario: str
    produced: int
    consumed: int
    captured: int
    redriven: int
    healed: int
    quarantined: int
    expired: int
    lost: int
    duplicates: int
    poison_messages: int
    executions: int
    state_transitions: int
    seconds: float
    aws_calls: Mapping[str, int]
    ok: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Outcome:
    """A finished run: the report, and what only people are told."""

    report: LabReport
    account: Account
    problems: Sequence[str]


def print_table(console: Console, outcome: Outcome) -> None:
    if not console.is_terminal:
        console.width = _WIDTH  # nothing says how wide a file or pipe is
    report = outcome.report
    table = Table(title=f"redrive lab run {report.scenario}", title_justify="left", title_style="bold")
    table.add_column("records", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for kind, tally in outcome.account.kinds.items():
        table.add_row(kind, *_cells(tally))
    table.add_section()
    table.add_row("all", *_cells(outcome.account.total), style="bold")
    console.print(table)
    if dropped := outcome.account.total.dropped:
        console.print(f"{dropped} of the consumed records were dropped by the consumer or its filter on purpose.")
    console.print(
        f"{report.duplicates} duplicates · {report.poison_messages} messages on the poison queue · "
        f"{report.executions} executions · {report.state_transitions} state transitions · "
        f"{sum(report.aws_calls.values())} AWS calls of the service · {report.seconds:.0f} s"
    )
    for problem in outcome.problems:
        console.print(f"problem: {problem}", style="red", markup=False)
    if report.ok:
        console.print("ok: every record is accounted for.", style="green")
    else:
        console.print("NOT ok", style="bold red")


def _cells(tally: Tally) -> list[str]:
    return [str(getattr(tally, column)) for column in COLUMNS]
