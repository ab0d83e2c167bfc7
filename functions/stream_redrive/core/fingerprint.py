"""Failure fingerprints: the same kind of failure has the same name, in every run and every record."""

import hashlib
import re

from stream_redrive.core.records import to_json

MAX_MESSAGE = 500
_LENGTH = 16

# In this order: what is quoted goes before what it may hold, an id before the numbers in it.
_VOLATILE = (
    (re.compile(r"(?<!\w)'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"), "<value>"),
    (re.compile(r"\barn:[\w-]*:[\w-]*:[\w-]*:\d*:\S+"), "<arn>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE), "<url>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)


def normalise(message: str) -> str:
    """A message without what changes from record to record: quoted values, ARNs, addresses, ids and numbers.

    Only the first 500 characters count.
    """
    text = message[:MAX_MESSAGE]
    for pattern, stand_in in _VOLATILE:
        text = pattern.sub(stand_in, text)
    return text.strip()


def error_fingerprint(error_type: str, message: str) -> str:
    """The name of a kind of error, whatever fails with it, 16 hexadecimal digits."""
    return hashlib.sha256(to_json([error_type, normalise(message)]).encode()).hexdigest()[:_LENGTH]


def fingerprint(*, consumer: str, stream: str, rule: str, error_type: str, message: str, schema_path: str) -> str:
    """The name of a kind of failure, 16 hexadecimal digits.

    Args:
        consumer: the function's ARN. stream: the stream's ARN. rule: the id of the rule that decided.
        error_type, message: of the exception, "" where none is known; the message is normalised here.
        schema_path: where the payload breaks the schema, "" where it doesn't.
    """
    parts = [consumer, stream, rule, error_type, normalise(message), schema_path]
    return hashlib.sha256(to_json(parts).encode()).hexdigest()[:_LENGTH]
