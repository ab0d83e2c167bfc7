"""`redrive cases list`, `show` and `note`: what there is, and what people say of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from stream_redrive_cli.cases.place import Api, CaseId, Place
from stream_redrive_cli.cases.showing import case_table, describe, show_record
from stream_redrive_cli.options import DEFAULT_STACK, Output, OutputFormat, Profile, Region, Stack
from stream_redrive_cli.talking import console, tell, write_json


def list_cases(
    every: Annotated[bool, typer.Option("--all", help="Closed and expired ones too, the youngest first.")] = False,
    stack: Stack = DEFAULT_STACK,
    api: Api = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """List the cases that wait or are under way, the oldest first."""
    cases = Place(stack, api, profile, region).connect().cases(every=every)
    if output is Output.JSON:
        write_json({"cases": cases})
    elif cases:
        console().print(case_table(cases, datetime.now(UTC)))
    else:
        tell("no cases" if every else "no case waits or is under way")


def show(
    case: CaseId,
    records: Annotated[int, typer.Option(help="How many of its records to show.", min=0, max=1000)] = 3,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="Show their payloads. Who looked is kept in the case's history.")
    ] = False,
    stack: Stack = DEFAULT_STACK,
    api: Api = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Show a case: what failed, what was done, and some records, their values masked."""
    cases = Place(stack, api, profile, region).connect()
    details = cases.show(case)
    views = cases.records(case, records)
    lines = {view["id"]: cases.view(case, view["id"]) for view in views} if payloads else {}
    if output is Output.JSON:
        write_json({**details, "records": [{**view, "line": lines.get(view["id"])} for view in views]})
        return
    describe(details, typer.echo)
    for view in views:
        show_record(view, lines.get(view["id"]), typer.echo)


def note(
    case: CaseId,
    text: Annotated[str, typer.Argument(help="What to write. Notes are never changed.", metavar="TEXT")],
    stack: Stack = DEFAULT_STACK,
    api: Api = None,
    profile: Profile = None,
    region: Region = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Add a note to a case."""
    written = Place(stack, api, profile, region).connect().note(case, text)
    if output is Output.JSON:
        write_json(written)
    else:
        tell(f"noted at {written['at']}")
