"""Masking: what a payload was shaped like, and nothing of what it said."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.masking import MAX_DEPTH, MAX_ENTRIES, mask, masked_payload, printable
from stream_redrive.core.policy import Decoder


def test_structure_stays_and_values_go() -> None:
    document = {"id": 7, "name": "Ada", "paid": True, "note": None, "price": 1.5, "lines": [{"sku": "A-1"}]}
    assert masked_payload(json.dumps(document).encode(), Decoder.AUTO) == {
        "id": "<integer>",
        "name": "<string, 3 characters>",
        "paid": "<boolean>",
        "note": "<null>",
        "price": "<number>",
        "lines": [{"sku": "<string, 3 characters>"}],
    }


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "<empty, 0 bytes>"),
        (b"\x00\xff secret", "<binary, 9 bytes>"),
        (b"secret, not JSON", "<text, 16 bytes>"),
        (b"\xf3\x89\x9a\xc2 secret", "<kpl, 11 bytes>"),
        (b"null", "<null>"),
        (gzip.compress(b'"secret"', mtime=0), "<string, 6 characters>"),
    ],
)
def test_what_is_no_document_is_named_by_its_format(data: bytes, shown: str) -> None:
    assert masked_payload(data, Decoder.AUTO) == shown


def scalars(value: object) -> set[str]:
    match value:
        case dict():
            return set().union(*map(scalars, value.values())) if value else set()
        case list():
            return set().union(*map(scalars, value)) if value else set()
    return {str(value)}


json_values = st.recursive(
    st.text(min_size=4) | st.integers(10_000) | st.floats(allow_nan=False, min_value=1e4),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(json_values)
def test_no_value_shows(value: object) -> None:
    shown = scalars(mask(value))
    assert all(text.startswith("<") and text.endswith(">") for text in shown)
    assert not shown & scalars(value)


def test_a_large_document_is_shown_in_part() -> None:
    wide = mask({"rows": [0] * 1_000, **{f"field-{n}": n for n in range(1_000)}})
    assert isinstance(wide, dict)
    assert wide["…"] == f"<{1_001 - MAX_ENTRIES} more>"
    assert wide["rows"][-1] == f"<{1_000 - MAX_ENTRIES} more>"
    deep: object = 1
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    assert json.dumps(mask(deep)).count("[") == MAX_DEPTH
    assert "<array, 1 entries>" in json.dumps(mask(deep))


def test_what_would_move_a_cursor_is_visible() -> None:
    assert printable("a\x1b[2Jb\u202ec\n✓") == "a\\x1b[2Jb\\u202ec\\n✓"
    assert mask({"\x1b[2J": 1}) == {"\\x1b[2J": "<integer>"}
