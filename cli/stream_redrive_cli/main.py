"""The `redrive` command."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from stream_redrive.core.errors import AccessDenied, ServiceBusy, ServiceUnreachable, VaultObjectMissing
from stream_redrive_cli.cases import commands as cases_commands
from stream_redrive_cli.errors import (
    EXIT_CONFIGURATION,
    EXIT_GENERAL,
    EXIT_INTERRUPTED,
    EXIT_SERVICE_REFUSED,
    EXIT_USAGE,
    CommandError,
)
from stream_redrive_cli.lab import commands as lab_commands
from stream_redrive_cli.policy import commands as policy_commands
from stream_redrive_cli.visible import visible

_TYPER_USAGE = 2
_UNCONFIGURED = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, NoRegionError)
_REFUSED = (ClientError, BotoCoreError, AccessDenied, ServiceBusy, ServiceUnreachable, VaultObjectMissing)

app = typer.Typer(
    name="redrive",
    help="Self-healing redrive for failed Lambda stream batches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cases_commands.app, name="cases")
app.add_typer(lab_commands.app, name="lab")
app.add_typer(policy_commands.app, name="policy")


@app.callback()
def redrive() -> None:
    """Self-healing redrive for failed Lambda stream batches."""


def main() -> None:
    """Run the command; every failure ends in one clear line on stderr and an exit code of its own."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_exit_code())


def _exit_code() -> int:  # noqa: PLR0911 - one for each kind of failure
    try:
        app()
    except SystemExit as end:
        return _ended(end.code if isinstance(end.code, int) else EXIT_GENERAL)
    except CommandError as error:
        return _fail(str(error), error.exit_code)
    except _UNCONFIGURED as error:
        return _fail(str(error), EXIT_CONFIGURATION)
    except _REFUSED as error:
        return _fail(f"the service refused: {error}", EXIT_SERVICE_REFUSED)
    except KeyboardInterrupt:
        return _ended(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort: a person reads a line, not a traceback
        return _fail(f"{type(error).__name__}: {error}", EXIT_GENERAL)
    return 0


def _ended(code: int) -> int:
    if code == EXIT_INTERRUPTED:
        return _fail("interrupted", code)
    return EXIT_USAGE if code == _TYPER_USAGE else code


def _fail(message: str, code: int) -> int:
    # What a service or a file says may be anything.
    typer.echo(visible(f"redrive: {message}", keep="\n\t"), err=True)
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
