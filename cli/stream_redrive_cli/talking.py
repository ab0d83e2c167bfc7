"""How the commands on a deployed service talk: data to stdout, messages to stderr, questions to a terminal only."""

from __future__ import annotations

import json
import sys

import typer
from rich.console import Console

from stream_redrive_cli.errors import UsageError
from stream_redrive_cli.visible import visible

# Nothing says how wide a file or pipe is.
_WIDTH = 120


def tell(message: str) -> None:
    """A message. What others wrote is made visible before."""
    typer.echo(message, err=True)


def write_json(value: object) -> None:
    """A result, as one line."""
    typer.echo(visible(json.dumps(value)))


def console() -> Console:
    """Where tables go."""
    found = Console()
    if not found.is_terminal:
        found.width = _WIDTH
    return found


def agreed(question: str) -> bool:
    """Ask. Raises UsageError where there is no terminal."""
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: look at what would be done, then add --yes")
    typer.echo(f"{question} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
