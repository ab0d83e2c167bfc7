"""Edits: a JSON Patch for many records, or other bytes for one; what comes of them must be fit to be sent."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from stream_redrive.core.case_records import record_id
from stream_redrive.core.json_patch import DoesNotApply, Operation, apply
from stream_redrive.core.payloads import KplAggregate, Payload, Undecodable, decode_exactly, encode_like
from stream_redrive.core.policy import Decoder, Policy
from stream_redrive.core.refusals import EmptyPayload, PatchFails, PayloadTooLarge, SchemaStillBroken
from stream_redrive.core.schema_check import SchemaCheck

MAX_PAYLOAD_BYTES = 1024 * 1024  # what Kinesis takes unless a stream is set to take more


class Ineligible(Exception):
    """A record's payload is not to be edited this way; the message is the reason under which it is counted."""


class Editor:
    """Edits payloads under one policy."""

    def __init__(self, policy: Policy, patch: Sequence[Operation], replacement: bytes | None) -> None:
        self._decoder = policy.decoder
        self._schema = None if policy.schema is None else SchemaCheck(policy.schema)
        self._patch = patch
        self._replacement = replacement

    def __call__(self, line: Mapping[str, Any]) -> bytes:
        """The new payload of a record.

        Raises:
            Ineligible: a patch needs a document, and the payload is none.
            PatchFails, EmptyPayload, PayloadTooLarge, SchemaStillBroken: naming the record.
        """
        record = record_id(line)
        data = self._patched(base64.b64decode(line["data"]), record) if self._replacement is None else self._replacement
        if not data:
            raise EmptyPayload(f"record {record}: nothing would be left of the payload")
        if len(data) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLarge(
                f"record {record}: {len(data)} bytes after the edit, and at most {MAX_PAYLOAD_BYTES} can be sent"
            )
        if self._schema is not None:
            self._check(self._schema, data, record)
        return data

    def _patched(self, data: bytes, record: str) -> bytes:
        if self._decoder is Decoder.NONE:
            raise Ineligible("the policy's decoder is none: there is no document to patch")
        try:
            document = decode_exactly(data, self._decoder)
        except KplAggregate as exc:
            raise Ineligible("a KPL aggregate") from exc
        except Undecodable as exc:
            raise Ineligible("no document that a patch leaves otherwise unchanged") from exc
        try:
            document = apply(self._patch, document)
            if document is None or document in ("", [], {}):
                raise EmptyPayload(f"record {record}: nothing would be left of the payload")
            return encode_like(data, self._decoder, document)
        except DoesNotApply as exc:
            raise PatchFails(f"record {record}: {exc}") from exc
        except (ValueError, RecursionError) as exc:
            raise PatchFails(f"record {record}: what the patch makes of it is not to be written as JSON") from exc

    def _check(self, schema: SchemaCheck, data: bytes, record: str) -> None:
        try:
            fault = schema.fault(Payload(data, self._decoder).decode())
        except Undecodable as exc:
            raise SchemaStillBroken(f"record {record}: the payload is no document of the policy's decoder") from exc
        except (ArithmeticError, ValueError, RecursionError) as exc:
            raise SchemaStillBroken(f"record {record}: the schema can't be checked on it") from exc
        if fault is not None:
            raise SchemaStillBroken(f"record {record} breaks the policy's schema at {fault.path}: rule {fault.rule!r}")
