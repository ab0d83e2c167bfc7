"""The commands `redrive lab up`, `run` and `down`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_redrive_cli.errors import EXIT_GENERAL, UsageError
from stream_redrive_cli.lab import lifecycle
from stream_redrive_cli.lab.directory import LabDirectory, LabState
from stream_redrive_cli.lab.people import OPERATORS
from stream_redrive_cli.lab.progress import Progress
from stream_redrive_cli.lab.report import print_table
from stream_redrive_cli.lab.running import ScenarioRun
from stream_redrive_cli.lab.scenarios import SCENARIOS

app = typer.Typer(no_args_is_help=True, help="A local cloud to try the service in; no AWS account, no Docker.")

Directory = Annotated[
    Path, typer.Option("--dir", help="Where the lab keeps its state.", file_okay=False, show_default=True)
]
DEFAULT_DIRECTORY = Path(".lab")


class Output(StrEnum):
    """How the report is written."""

    TABLE = "table"
    JSON = "json"


@app.command()
def up(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Start the local cloud and deploy the service into it. Source .lab/env to use it with any AWS client."""
    lab = LabDirectory(directory)
    if lab.running:
        _tell(f"the lab is up already: {lab.read_state().endpoint}")
        return
    with lab.exclusive():
        lifecycle.start(lab, _tell)
    _tell(f"for other AWS clients: source {lab.env_path}")
    _tell(f"then, as one of two operators: redrive cases list --profile {OPERATORS[0]} (or {OPERATORS[1]})")


@app.command()
def down(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop the local cloud and remove its state."""
    lab = LabDirectory(directory)
    was_there = lab.exists
    lab.stop()
    _tell("the lab is down" if was_there else f"no lab in {lab.path}")


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="One of: " + ", ".join(SCENARIOS), metavar="SCENARIO")],
    records: Annotated[int | None, typer.Option(help="How many records to produce.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same input.")] = 1,
    output: Annotated[Output, typer.Option(help="How to write the report.")] = Output.TABLE,
    timeout: Annotated[float, typer.Option(help="Seconds until the run gives up.", min=1)] = 240,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Produce records, let things break, and account for every record.

    Uses the running lab, or starts one for this run alone.
    """
    chosen = SCENARIOS.get(scenario)
    if chosen is None:
        raise UsageError(f"there is no scenario {scenario!r}: choose one of {', '.join(SCENARIOS)}")
    console = Console(stderr=True)
    with _running_lab(directory) as (lab, state), Progress(console) as progress:
        _tell(f"{chosen.name}: {chosen.summary}")
        outcome = ScenarioRun(lab, state, chosen, progress, timeout).run(records or chosen.records, seed)
    if output is Output.JSON:
        print_table(console, outcome)
        typer.echo(outcome.report.to_json())
    else:
        print_table(Console(), outcome)
    if not outcome.report.ok:
        raise typer.Exit(EXIT_GENERAL)


@contextmanager
def _running_lab(directory: Path) -> Iterator[tuple[LabDirectory, LabState]]:
    """The running lab; or one that lives as long as the block."""
    lab = LabDirectory(directory)
    with lab.exclusive():
        if lab.running:
            yield lab, lab.read_state()
            return
        state = lifecycle.start(lab, _tell)
        try:
            yield lab, state
        finally:
            lab.stop()


def _tell(message: str) -> None:
    typer.echo(message, err=True)
