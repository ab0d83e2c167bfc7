"""Payloads: what they look like, and what they are once decoded. Hostile ones neither crash nor swamp a step."""

import json
import zlib

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
    if data.startswith(KPL_MAGIC):
        raise KplAggregate("a KPL aggregate: it holds several records of a producer, which are not taken apart")
    body = data
    if decoder is Decoder.GZIP_JSON or (decoder is Decoder.AUTO and data.startswith(GZIP_MAGIC)):
        body = _gunzip(data)
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Overloaded(f"a document of more than {MAX_VALUES} values")
    try:
        return json.loads(body)
    except UnicodeDecodeError as exc:
        raise Undecodable(f"not {exc.encoding} text: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise Undecodable(f"not JSON: {exc.msg} at character {exc.pos} of {len(exc.doc)}") from exc
    except (ValueError, RecursionError) as exc:
        raise Undecodable(f"not JSON that can be read: {type(exc).__name__}") from exc


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
