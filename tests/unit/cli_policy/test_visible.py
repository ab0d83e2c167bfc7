"""Nothing that a record or a person wrote drives a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive_cli.visible import visible

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    "character",
    [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *BIDI, "\u2028", "\u2029", "\ud800"],
    ids=ascii,
)
def test_each_control_character_is_shown_as_its_escape(character: str) -> None:
    assert visible(f"a{character}b") == f"a\\u{ord(character):04x}b"


@pytest.mark.parametrize("text", ["", "größe ✓", "日本語", "שלום", "a\\u001b", " ~", "👩‍👩‍👧"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_what_is_kept_stays_and_nothing_else() -> None:
    assert visible("a\n\tb\r\x1b", keep="\n\t") == "a\n\tb\\u000d\\u001b"


@given(st.text())
def test_no_control_character_is_left_and_the_result_can_be_written(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in BIDI]
    shown.encode("utf-8")
    assert visible(shown) == shown


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_stays_the_same_json(value: object) -> None:
    assert json.loads(visible(json.dumps(value, ensure_ascii=False))) == value
