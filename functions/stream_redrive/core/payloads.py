"""Payloads: what they look like, and what they are once decoded. Hostile ones neither crash nor swamp a step."""

import gzip
import json
import math
import zlib
from decimal import Decimal
from typing import Any

from stream_redrive.core.policy import Decoder

GZIP_MAGIC = b"\x1f\x8b"
# https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
KPL_MAGIC = b"\xf3\x89\x9a\xc2"
MAX_DECODED_BYTES = 64 * 1024 * 1024  # a record holds at most 10 MiB; more than this is a bomb, not a document
# So many values take seconds and a gigabyte to build, from a few hundred kilobytes of gzip.
MAX_VALUES = 1_000_000


class Undecodable(Exception):
    """The payload is no document of the policy's decoder; the message says why."""


class KplAggregate(Undecodable):
    """The payload holds several records of a producer, which this version doesn't take apart."""


class Overloaded(Undecodable):
    """The payload has more values than can be looked into at a reasonable cost."""


class Payload:
    """A record's payload, decoded at most once and only when somebody asks."""

    def __init__(self, data: bytes, decoder: Decoder) -> None:
        self._data = data
        self._decoder = decoder
        self._decoded: object | Undecodable | None = None
        self._tried = False

    def decode(self) -> object:
        """The document.

        Raises:
            Undecodable: it is none.
        """
        if not self._tried:
            self._tried = True
            try:
                self._decoded = decode_payload(self._data, self._decoder)
            except Undecodable as exc:
                self._decoded = exc
        if isinstance(self._decoded, Undecodable):
            raise self._decoded
        return self._decoded

    def document(self) -> object | None:
        """The document; None where there is none."""
        try:
            return self.decode()
        except Undecodable:
            return None

    def format(self) -> str:
        """What the payload looks like: empty, kpl, gzip+json, json, text or binary."""
        if not self._data:
            return "empty"
        if self._data.startswith(KPL_MAGIC):
            return "kpl"
        if self._reads(Decoder.AUTO):
            return "gzip+json" if self._data.startswith(GZIP_MAGIC) else "json"
        try:
            self._data.decode()
        except UnicodeDecodeError:
            return "binary"
        return "text"

    def _reads(self, decoder: Decoder) -> bool:
        try:
            decode_payload(self._data, decoder)
        except Undecodable:
            return False
        return True


def decode_payload(data: bytes, decoder: Decoder) -> object:
    """A payload as a document.

    Raises:
        Undecodable: it is none.
    """
    return _read(_unpacked(data, decoder))


def decode_exactly(data: bytes, decoder: Decoder) -> object:
    """The same, but only of a payload of which the document keeps everything: its text may be written anew from it.

    Raises:
        Undecodable: it is no document, or says a name twice, or has a number that a double doesn't hold.
    """
    return _read(_unpacked(data, decoder), object_pairs_hook=_unique, parse_float=_exact, parse_constant=_exact)


def encode_like(original: bytes, decoder: Decoder, document: object) -> bytes:
    """A document as a payload: gzip where the original is.

    Raises:
        ValueError, RecursionError: it is not to be written as JSON.
    """
    separators = (",", ":")
    try:
        body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=separators).encode()
    except UnicodeEncodeError:  # half a surrogate pair: only its escape can stand in a payload
        body = json.dumps(document, allow_nan=False, separators=separators).encode()
    return gzip.compress(body, mtime=0) if _is_packed(original, decoder) else body


def _read(body: bytes, **hooks: Any) -> object:
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Overloaded(f"a document of more than {MAX_VALUES} values")
    try:
        return json.loads(body, **hooks)
    except UnicodeDecodeError as exc:
        raise Undecodable(f"not {exc.encoding} text: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise Undecodable(f"not JSON: {exc.msg} at character {exc.pos} of {len(exc.doc)}") from exc
    except (ValueError, RecursionError) as exc:
        raise Undecodable(f"not JSON that can be read: {type(exc).__name__}") from exc


def _unpacked(data: bytes, decoder: Decoder) -> bytes:
    if data.startswith(KPL_MAGIC):
        raise KplAggregate("a KPL aggregate: it holds several records of a producer, which are not taken apart")
    return _gunzip(data) if _is_packed(data, decoder) else data


def _is_packed(data: bytes, decoder: Decoder) -> bool:
    return decoder is Decoder.GZIP_JSON or (decoder is Decoder.AUTO and data.startswith(GZIP_MAGIC))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise Undecodable("JSON that says a name twice: an edit would drop one")
    return document


def _exact(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or Decimal(text) != Decimal(repr(value)):
        raise Undecodable("JSON with a number that is not to be written again as it is")
    return value


def _gunzip(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = stream.decompress(data, MAX_DECODED_BYTES)
    except zlib.error as exc:
        raise Undecodable(f"not gzip: {exc}") from exc
    if stream.unconsumed_tail:
        raise Undecodable(f"gzip of more than {MAX_DECODED_BYTES} bytes")
    if not stream.eof:
        raise Undecodable("gzip that ends too early")
    return body
