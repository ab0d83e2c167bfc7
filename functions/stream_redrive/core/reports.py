"""Failure reports: what the consumer itself says of a record that it could not process."""

from dataclasses import dataclass

from stream_redrive.core.fingerprint import MAX_MESSAGE, error_fingerprint


@dataclass(frozen=True, slots=True)
class FailureReport:
    """A record's exception: its class, its text, cut to 500 characters, and the name of this kind of error.

    reported_at: ISO 8601, UTC, milliseconds.
    """

    error_type: str
    message: str
    fingerprint: str
    reported_at: str

    @classmethod
    def of(cls, error: BaseException, at: str) -> "FailureReport":
        """The report of an exception."""
        error_type, message = type(error).__name__, str(error)[:MAX_MESSAGE]
        return cls(error_type, message, error_fingerprint(error_type, message), at)
