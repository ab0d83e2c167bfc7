"""Errors a command ends with: one clear line and an exit code each."""

from __future__ import annotations

EXIT_GENERAL = 255
EXIT_SERVICE_REFUSED = 254
EXIT_CONFIGURATION = 253
EXIT_USAGE = 252
EXIT_INTERRUPTED = 130
EXIT_STALE = 5
EXIT_WAITS_FOR_APPROVAL = 4
EXIT_PARTLY_DONE = 3


class CommandError(Exception):
    """What went wrong, where, and what to do; shown as one line, without a traceback."""

    exit_code = EXIT_GENERAL


class ServiceRefusedError(CommandError):
    """An AWS service (or its stand-in) answered with an error."""

    exit_code = EXIT_SERVICE_REFUSED


class ConfigurationError(CommandError):
    """Something the command needs is missing or unusable on this machine."""

    exit_code = EXIT_CONFIGURATION


class UsageError(CommandError):
    """The command was called in a way that makes no sense."""

    exit_code = EXIT_USAGE


class StaleError(CommandError):
    """What the command was about to change has changed since it looked."""

    exit_code = EXIT_STALE


class PartlyDoneError(CommandError):
    """The change was made, and not quite as it was shown."""

    exit_code = EXIT_PARTLY_DONE


class WaitsForApprovalError(CommandError):
    """What was asked is written down, and takes a second person to happen."""

    exit_code = EXIT_WAITS_FOR_APPROVAL
