"""The commands `redrive cases list`, `show`, `plan`, `decide` and `note`."""

from __future__ import annotations

import typer

from stream_redrive_cli.cases import deciding, looking

app = typer.Typer(no_args_is_help=True, help="Records in quarantine: look at them, decide about them.")
app.command("list")(looking.list_cases)
app.command()(looking.show)
app.command()(deciding.plan)
app.command()(deciding.decide)
app.command()(looking.note)
