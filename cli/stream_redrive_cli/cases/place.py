"""Where the cases are, and how a command says so to the next one."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated

import typer

from stream_redrive_cli.cases.api import CasesApi
from stream_redrive_cli.deployed import Deployed
from stream_redrive_cli.options import DEFAULT_STACK

API_VARIABLE = "REDRIVE_API_URL"

CaseId = Annotated[str, typer.Argument(help="The case's id.", metavar="CASE")]
Api = Annotated[
    str | None,
    typer.Option(
        envvar=API_VARIABLE, help="The URL of the cases API, instead of the stack's output.", show_default=False
    ),
]


@dataclass(frozen=True)
class Place:
    """A deployment, as the options name it."""

    stack: str
    api: str | None
    profile: str | None
    region: str | None

    def connect(self) -> CasesApi:
        """The API of the deployment. Raises ConfigurationError."""
        deployed = Deployed(self.profile, self.region, self.stack)
        return CasesApi(deployed.session, self.api or deployed.output("ApiUrl"))

    def command(self, *arguments: str, own: bool = True) -> str:
        """A command line on this deployment, to be copied. own: for the same person, who has a profile."""
        options = []
        if self.stack != DEFAULT_STACK:
            options += ["--stack", self.stack]
        if self.region is not None:
            options += ["--region", self.region]
        if own and self.profile is not None:
            options += ["--profile", self.profile]
        return shlex.join(["redrive", "cases", *arguments, *options])
