"""Options that the commands on a deployed service share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

DEFAULT_STACK = "StreamRedrive"


class Output(StrEnum):
    """How data is written to stdout."""

    TABLE = "table"
    JSON = "json"


Profile = Annotated[str | None, typer.Option(help="The AWS profile to use.", show_default=False)]
Region = Annotated[str | None, typer.Option(help="The AWS region of the stack.", show_default=False)]
Stack = Annotated[str, typer.Option(help="The CloudFormation stack whose outputs name the service's parts.")]
OutputFormat = Annotated[Output, typer.Option("--output", help="How to write the result.")]
