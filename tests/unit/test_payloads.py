"""Payloads as evidence: what decodes, what keeps the schema, and that no reason repeats the payload."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_redrive.core.payloads import MAX_DECODED_BYTES, Undecodable, decode_payload
from stream_redrive.core.policy import Decoder, Verdict
from stream_redrive.core.verdicts import RecordVerdict
from tests.support.classifying import SCHEMA, SECRET, verdict_of

DOCUMENT = b'{"tail": "N14228"}'


@pytest.mark.parametrize(
    ("data", "decoder"),
    [
        (DOCUMENT, Decoder.JSON),
        (DOCUMENT, Decoder.AUTO),
        (b"\xef\xbb\xbf" + DOCUMENT, Decoder.JSON),
        (gzip.compress(DOCUMENT, mtime=0), Decoder.GZIP_JSON),
        (gzip.compress(DOCUMENT, mtime=0), Decoder.AUTO),
    ],
    ids=["json", "auto: json", "byte order mark", "gzip", "auto: gzip"],
)
def test_a_payload_is_decoded(data: bytes, decoder: Decoder) -> None:
    assert decode_payload(data, decoder) == {"tail": "N14228"}


BOMB = gzip.compress(bytes(MAX_DECODED_BYTES + 1), compresslevel=9)


@pytest.mark.parametrize(
    ("data", "decoder", "why"),
    [
        (b"", Decoder.JSON, "not JSON"),
        (b"hello", Decoder.JSON, "character 0"),
        (b'{"a": 1} x', Decoder.JSON, "not JSON"),
        (b'{"a": "\xff\xfe"}', Decoder.JSON, "utf-8"),
        (b"[" * 100_000, Decoder.JSON, "RecursionError"),
        (b"9" * 5000, Decoder.JSON, "ValueError"),
        (gzip.compress(DOCUMENT, mtime=0), Decoder.JSON, "not"),
        (DOCUMENT, Decoder.GZIP_JSON, "not gzip"),
        (b"", Decoder.GZIP_JSON, "ends too early"),
        (gzip.compress(DOCUMENT, mtime=0)[:-4], Decoder.GZIP_JSON, "ends too early"),
        (b"\x1f\x8b broken", Decoder.AUTO, "not gzip"),
        (zlib.compress(DOCUMENT), Decoder.GZIP_JSON, "not gzip"),
        (gzip.compress(b"hello", mtime=0), Decoder.GZIP_JSON, "not JSON"),
        (BOMB, Decoder.AUTO, "more than"),
    ],
    ids=[
        "empty",
        "text",
        "two documents",
        "invalid UTF-8",
        "deep nesting",
        "huge number",
        "gzip as json",
        "json as gzip",
        "empty as gzip",
        "cut gzip",
        "broken gzip",
        "zlib",
        "text in gzip",
        "bomb",
    ],
)
def test_a_payload_that_is_no_document_is_refused_with_why(data: bytes, decoder: Decoder, why: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_payload(data, decoder)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\xff\x00", b"[" * 100_000, b"\x1f\x8b", BOMB],
    ids=["empty", "text", "binary", "deep nesting", "gzip's magic", "bomb"],
)
@pytest.mark.parametrize(("decoder", "rule"), [("none", "default"), ("auto", "default"), ("json", "payload-decode")])
def test_without_a_schema_only_a_named_decoder_makes_an_odd_payload_poison(
    data: bytes, decoder: str, rule: str
) -> None:
    assert verdict_of(data, decoder=decoder).rule == rule


def test_with_a_schema_a_payload_that_decodes_as_nothing_is_poison() -> None:
    assert verdict_of(b"\xff\x00", decoder="auto", schema=SCHEMA).rule == "payload-decode"


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (SCHEMA, {"tail": [SECRET]}),
        (SCHEMA, {"tail": "x", "legs": [1, SECRET]}),
        ({"enum": ["a"]}, SECRET),
        ({"const": "a"}, SECRET),
        ({"pattern": "^a"}, SECRET),
        ({"additionalProperties": {"type": "integer"}}, {SECRET: "x"}),
        ({"additionalProperties": False}, {SECRET: "x"}),
        ({"patternProperties": {"^4": {"type": "integer"}}}, {SECRET: "x"}),
        ({"propertyNames": {"maxLength": 3}}, {SECRET: 1}),
        ({"properties": {"cards": {"additionalProperties": {"maximum": 1}}}}, {"cards": {"4111": 2}}),
    ],
    ids=str,
)
def test_a_schemas_reason_never_repeats_the_payload(schema: dict[str, Any], document: object) -> None:
    verdict = verdict_of(json.dumps(document).encode(), schema=schema)
    assert verdict.rule == "payload-schema"
    assert "4111" not in json.dumps(verdict.to_dict())


@pytest.mark.parametrize("data", [SECRET.encode(), b'{"4111" 1}', b'{"a": "\\4111"}', b'{"4111": nul}', b"4111\xff"])
def test_a_decoders_reason_never_repeats_the_payload(data: bytes) -> None:
    verdict = verdict_of(data, decoder="json")
    assert verdict.rule == "payload-decode"
    assert "4111" not in verdict.reason


def test_a_schemas_reason_is_the_same_for_every_element_of_an_array() -> None:
    first, second = (
        verdict_of(data, schema=SCHEMA) for data in (b'{"tail": "", "legs": ["x"]}', b'{"tail": "", "legs": [1, "y"]}')
    )
    assert first.reason == second.reason
    assert "legs" in first.reason


@pytest.mark.parametrize("data", [b"1e999", b"NaN", b"1" + b"0" * 400])
def test_a_number_that_the_schema_cannot_be_applied_to_harms_its_own_record_only(data: bytes) -> None:
    verdict = verdict_of(data, schema={"multipleOf": 0.1})
    assert (verdict.verdict, verdict.rule) == (Verdict.HELD, "payload-unchecked")


def test_a_schema_without_an_end_holds_the_records_and_breaks_nothing() -> None:
    assert verdict_of(b"{}", schema={"$ref": "#"}).rule == "payload-unchecked"


@given(st.binary(max_size=60), st.sampled_from(Decoder), st.booleans())
@settings(max_examples=300)
def test_whatever_the_bytes_are_there_is_a_verdict(data: bytes, decoder: Decoder, schema: bool) -> None:
    checked: dict[str, Any] = {"schema": SCHEMA} if schema and decoder is not Decoder.NONE else {}
    verdict = verdict_of(data, decoder=decoder.value, **checked)
    assert RecordVerdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
