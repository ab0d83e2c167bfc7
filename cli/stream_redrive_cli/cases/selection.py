"""What a plan or a decision is asked to do, and to which records, as the options say it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_redrive.core.cases import Action
from stream_redrive_cli.errors import UsageError

ActionOption = Annotated[Action | None, typer.Option(help="What to do with the records.", show_default=False)]
Only = Annotated[
    list[str] | None,
    typer.Option(help="A record's id; these alone. May be given again.", metavar="ID", show_default=False),
]
Except = Annotated[
    list[str] | None,
    typer.Option(
        "--except", help="A record's id; all but these. May be given again.", metavar="ID", show_default=False
    ),
]
Patch = Annotated[
    str | None,
    typer.Option(help="Of an edit: a JSON Patch (RFC 6902), or a file that holds one.", show_default=False),
]
Replace = Annotated[
    str | None,
    typer.Option(help="Of an edit: a record's new payload, from a file.", metavar="ID=FILE", show_default=False),
]


@dataclass(frozen=True)
class Selection:
    """The options, as they were given."""

    action: Action
    only: Sequence[str]
    left_out: Sequence[str]
    patch: str | None
    replace: str | None

    @classmethod
    def of(
        cls,
        action: Action | None,
        only: Sequence[str] | None,
        left_out: Sequence[str] | None,
        patch: str | None,
        replace: str | None,
    ) -> Selection:
        """Raises UsageError: the options contradict each other."""
        if action is None:
            raise UsageError("say what to do: --action redrive, edit, discard or keep")
        if (patch is not None) + (replace is not None) != (action is Action.EDIT):
            raise UsageError("--action edit takes either --patch or --replace, and no other action takes one")
        if bool(only) + bool(left_out) + (replace is not None) > 1:
            raise UsageError("name the records once: by --only, by --except, or by --replace")
        return cls(action, only or (), left_out or (), patch, replace)

    def fields(self) -> dict[str, Any]:
        """As the API takes it. Raises UsageError: a file can't be read, or the patch is no JSON."""
        found: dict[str, Any] = {"action": self.action.value}
        if self.only:
            found["only"] = sorted(set(self.only))
        if self.left_out:
            found["except"] = sorted(set(self.left_out))
        if self.patch is not None:
            found["patch"] = _patch(self.patch)
        if self.replace is not None:
            record, separator, file = self.replace.partition("=")
            if not separator:
                raise UsageError("--replace is ID=FILE: the record, and the file that holds its new payload")
            found |= {"only": [record], "replacement": base64.b64encode(_read(file)).decode()}
        return found

    def options(self) -> list[str]:
        """The same as a command's arguments."""
        found = ["--action", self.action.value]
        for record in self.only:
            found += ["--only", record]
        for record in self.left_out:
            found += ["--except", record]
        if self.patch is not None:
            found += ["--patch", self.patch]
        if self.replace is not None:
            found += ["--replace", self.replace]
        return found


def _patch(text: str) -> object:
    if not text.lstrip().startswith(("[", "{")):
        text = _read(text).decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"--patch is no JSON: {exc}") from exc


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as exc:
        raise UsageError(f"{file} can't be read: {exc.strerror}") from exc
