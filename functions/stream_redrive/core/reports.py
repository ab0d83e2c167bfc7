"""Failure reports: what the consumer itself says of a record that it could not process."""

import hashlib
from dataclasses import dataclass

from stream_redrive.core.fingerprint import MAX_MESSAGE, normalise
from stream_redrive.core.records import to_json

_LENGTH = 16


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
        named = hashlib.sha256(to_json([error_type, normalise(message)]).encode()).hexdigest()[:_LENGTH]
        return cls(error_type, message, named, at)
