"""Progress and report as people see them off a terminal."""

from __future__ import annotations

import io
import json

from rich.console import Console

from stream_redrive_cli.lab.accounting import Account, Tally
from stream_redrive_cli.lab.progress import Progress
from stream_redrive_cli.lab.report import LabReport, Outcome, print_table

REPORT = LabReport("flights", 3, 2, 1, 1, 0, 1, 0, 0, 0, 1, 3, 36, 9.5, {"kinesis.GetRecords": 3}, True)
ACCOUNT = Account(Tally(3, 2), {"cancelled flight": Tally(1, 0)}, 0, True, [])
CONTRACT = [
    *("scenario", "produced", "consumed", "captured", "redriven", "healed", "quarantined", "expired", "lost"),
    *("duplicates", "poison_messages", "executions", "state_transitions", "seconds", "aws_calls", "ok"),
]


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out), out


def test_off_a_terminal_progress_is_plain_lines() -> None:
    console, out = plain()
    with Progress(console) as progress:
        progress.show(produced=5)
        progress.show(fault="the sink is down")
    first, second = out.getvalue().splitlines()
    assert "produced 5" in first
    assert "NOW: the sink is down" in second
    assert "\x1b" not in out.getvalue()


def test_off_a_terminal_nothing_new_says_nothing() -> None:
    console, out = plain()
    with Progress(console) as progress:
        progress.show(produced=5)
        progress.show(produced=5)
        progress.show(produced=6)  # too soon for another line
    assert len(out.getvalue().splitlines()) == 1


def test_the_json_report_has_the_fields_of_the_contract() -> None:
    assert list(json.loads(REPORT.to_json())) == CONTRACT


def test_the_table_has_a_row_for_each_kind_and_says_that_all_is_well() -> None:
    console, out = plain()
    print_table(console, Outcome(REPORT, ACCOUNT, []))
    assert "cancelled flight" in out.getvalue()
    assert "ok: every record is accounted for" in out.getvalue()


def test_the_table_tells_every_problem() -> None:
    console, out = plain()
    print_table(console, Outcome(LabReport(**{**REPORT.__dict__, "ok": False}), ACCOUNT, ["2 records have no [end]"]))
    assert "problem: 2 records have no [end]" in out.getvalue()
    assert "NOT ok" in out.getvalue()
