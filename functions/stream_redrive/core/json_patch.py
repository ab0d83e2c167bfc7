"""JSON Patch (RFC 6902): parsed as a whole before it is applied, and bounded in what it can cost."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream_redrive.core.refusals import InvalidPatch

MAX_OPERATIONS = 100
# Each copy may double a document: all copies of a patch together, as JSON text.
MAX_COPIED_BYTES = 4 * 1024 * 1024
_MEMBERS = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("from", "path"),
    "copy": ("from", "path"),
    "test": ("path", "value"),
}
_PAST_THE_END = ("-",)
_STRAY_TILDE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]*")


class DoesNotApply(Exception):
    """A document is not as an operation needs it; the message names the operation and the path, and no value."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. path, source: reference tokens, unescaped. name: how messages call it."""

    op: str
    path: tuple[str, ...]
    source: tuple[str, ...] | None
    value: Any
    name: str


def parse_patch(patch: object) -> tuple[Operation, ...]:
    """Read a JSON Patch document, an array of operations. Members that the RFC doesn't know are ignored, as it says.

    Raises:
        InvalidPatch: naming the operation at fault.
    """
    if not isinstance(patch, list) or not patch:
        raise InvalidPatch("a patch is a list of at least one operation")
    if len(patch) > MAX_OPERATIONS:
        raise InvalidPatch(f"a patch holds at most {MAX_OPERATIONS} operations, and this one {len(patch)}")
    return tuple(_operation(index, entry) for index, entry in enumerate(patch))


def apply(operations: Sequence[Operation], document: Any) -> Any:
    """Apply operations in their order, to the document itself; give back what became of it.

    Raises:
        DoesNotApply: the first that can't be.
    """
    copies = _Copies()
    for operation in operations:
        try:
            document = _apply(operation, document, copies)
        except _Fault as exc:
            raise DoesNotApply(f"{operation.name}: {exc}") from exc
        except RecursionError as exc:
            raise DoesNotApply(f"{operation.name}: nested too deeply") from exc
    return document


class _Fault(Exception):
    """What is wrong with one operation."""


class _Copies:
    """Copies JSON values, up to a limit for all of them."""

    def __init__(self) -> None:
        self._left = MAX_COPIED_BYTES

    def of(self, value: Any) -> Any:
        if not isinstance(value, (dict, list)):
            return value
        text = json.dumps(value)
        self._left -= len(text)
        if self._left < 0:
            raise _Fault(f"the patch copies more than {MAX_COPIED_BYTES} bytes")
        return json.loads(text)


def _operation(index: int, entry: object) -> Operation:
    name = f"operation {index}"
    if not isinstance(entry, dict):
        raise InvalidPatch(f"{name} is no object")
    op = entry.get("op")
    if not isinstance(op, str) or op not in _MEMBERS:
        raise InvalidPatch(f"{name}: op is none of {', '.join(_MEMBERS)}")
    missing = [member for member in _MEMBERS[op] if member not in entry]
    if missing:
        raise InvalidPatch(f"{name} ({op}) lacks {missing[0]!r}")
    path = _pointer(entry["path"], f"{name} ({op}): path")
    source = _pointer(entry["from"], f"{name} ({op}): from") if "from" in _MEMBERS[op] else None
    if op == "remove" and not path:
        raise InvalidPatch(f"{name} (remove) would remove the whole document")
    if op == "move" and source is not None and path[: len(source)] == source and path != source:
        raise InvalidPatch(f"{name} (move) would move a value into itself")
    return Operation(op, path, source, entry.get("value"), f"{name} ({op} {entry['path']!r})")


def _pointer(text: object, where: str) -> tuple[str, ...]:
    """A JSON Pointer (RFC 6901) as its reference tokens."""
    if not isinstance(text, str):
        raise InvalidPatch(f"{where} is no text")
    if text and not text.startswith("/"):
        raise InvalidPatch(f"{where} is no JSON Pointer: it begins without a slash")
    if _STRAY_TILDE.search(text):
        raise InvalidPatch(f"{where} is no JSON Pointer: a tilde is written ~0")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def _apply(operation: Operation, document: Any, copies: _Copies) -> Any:
    path, source = operation.path, operation.source or ()
    match operation.op:
        case "add":
            document = _add(document, path, copies.of(operation.value))
        case "remove":
            _take(document, path)
        case "replace":
            document = _replace(document, path, copies.of(operation.value))
        case "copy":
            document = _add(document, path, copies.of(_get(document, source)))
        case "move" if path == source:
            _get(document, source)
        case "move":
            document = _add(document, path, _take(document, source))
        case "test" if not _equal(_get(document, path), operation.value):
            raise _Fault("the value there is another one")
    return document


def _get(document: Any, path: Sequence[str]) -> Any:
    for token in path:
        document = document[_key(document, token)]
    return document


def _take(document: Any, path: Sequence[str]) -> Any:
    parent = _get(document, path[:-1])
    key = _key(parent, path[-1])
    return parent.pop(key)


def _replace(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    parent[_key(parent, path[-1])] = value
    return document


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent, token = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[token] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if token in _PAST_THE_END else _index(token, len(parent)), value)
    else:
        raise _Fault("there is neither an object nor an array to add to")
    return document


def _key(parent: Any, token: str) -> Any:
    """The key or index of a value that is there."""
    if isinstance(parent, dict):
        if token not in parent:
            raise _Fault("there is no such member")
        return token
    if isinstance(parent, list):
        return _index(token, len(parent) - 1)
    raise _Fault("the path goes through a value that is neither object nor array")


def _index(token: str, most: int) -> int:
    # A number too long for int() is no index of any array.
    if not _INDEX.fullmatch(token) or len(token) > 10:
        raise _Fault("an array has no such index")
    if int(token) > most:
        raise _Fault("the array ends before that index")
    return int(token)


def _equal(left: Any, right: Any) -> bool:
    """Equality as the RFC has it: a number equals a number of the same value, and true is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)
