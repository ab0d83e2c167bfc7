"""Masking: a payload's structure without its values, for eyes that may see that one failed but not whom it is about."""

from stream_redrive.core.payloads import Payload
from stream_redrive.core.policy import Decoder

MAX_DEPTH = 6
MAX_ENTRIES = 30
MAX_NAME = 64


def masked_payload(data: bytes, decoder: Decoder) -> object:
    """A payload's document, masked; what is no document is named by its format and length."""
    payload = Payload(data, decoder)
    document = payload.document()
    if document is None and payload.format() not in ("json", "gzip+json"):
        return f"<{payload.format()}, {len(data)} bytes>"
    return mask(document)


def mask(value: object, depth: int = MAX_DEPTH) -> object:
    """A JSON value with each of its scalars replaced by its type and length.

    Names of fields stay, shortened and printable; of what is deeper than depth or longer than MAX_ENTRIES only how
    much there is.
    """
    match value:
        case dict() if depth:
            shown = {printable(name)[:MAX_NAME]: mask(value[name], depth - 1) for name in list(value)[:MAX_ENTRIES]}
            return shown if len(value) <= MAX_ENTRIES else {**shown, "…": f"<{len(value) - MAX_ENTRIES} more>"}
        case list() if depth:
            entries = [mask(entry, depth - 1) for entry in value[:MAX_ENTRIES]]
            return entries if len(value) <= MAX_ENTRIES else [*entries, f"<{len(value) - MAX_ENTRIES} more>"]
        case dict() | list():
            return f"<{'object' if isinstance(value, dict) else 'array'}, {len(value)} entries>"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return f"<string, {len(value)} characters>"
    names: dict[object, str] = {bool: "boolean", int: "integer", type(None): "null"}
    return f"<{names.get(type(value), 'number')}>"


def printable(text: str) -> str:
    """Text whose control and direction characters are visible: it may be shown in a mail or on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
