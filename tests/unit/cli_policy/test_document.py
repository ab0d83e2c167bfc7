"""A policy file that is refused says where, down to the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive_cli.errors import UsageError
from stream_redrive_cli.policy.document import (
    MAX_BYTES,
    InvalidDocument,
    check_document,
    line_of_path,
    read_document,
)

TEXT = """{
  "default": {
    "decoder": "json",
    "backoff": {"base_seconds": 10},
    "rules": [
      {"id": "one", "when": {"attempt": 1}, "then": "held", "reason": "r, [x] {y}: \\" z"},
      {"id": "two", "when": {"field": "a"},
       "then": "poison", "reason": "r"}
    ]
  },
  "consumers": {
    "orders": {"max_attempts": 3},
    "bills": {
      "pace": 0.5
    }
  }
}"""


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ('"max_attempts": 3', '"max_attempts": 300', 12, "consumers.orders.max_attempts"),
        ('"max_attempts": 3', '"max_attemps": 3', 12, "max_attemps"),
        ('"pace": 0.5', '"pace": 5', 14, "consumers.bills.pace"),
        ('"then": "poison"', '"then": "posion"', 8, "rules[1].then"),
        ('"bills"', '"no name"', 13, "consumers"),
        ('"consumers"', '"consumer"', 11, "consumer"),
        ('"base_seconds": 10', '"base_seconds": 1000', 4, "backoff.base_seconds"),
        ('"pace": 0.5', '"backoff": {"max_seconds": 1}', 14, "backoff.base_seconds"),
        ('"id": "two"', '"id": "one"', 5, "'one'"),
        ('"decoder": "json"', '"decoder": "none", "schema": true', 3, "schema"),
        ('"pace": 0.5', '"pace": 0.5,', 15, "not JSON"),
        ('"pace": 0.5', '"pace": NaN', None, "NaN"),
    ],
)
def test_a_fault_is_named_with_its_field_and_line(old: str, new: str, line: int | None, field: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidDocument) as caught:
        check_document(TEXT.replace(old, new), "policy.json")
    assert caught.value.line == line
    assert field in caught.value.problem
    assert str(caught.value).startswith("policy.json, line " if line else "policy.json: ")


def test_a_valid_document_gives_the_policy_under_its_name() -> None:
    book = check_document(TEXT, "policy.json")
    assert book.version == "policy.json"
    assert book.consumers["orders"].max_attempts == 3


@given(
    st.recursive(
        st.integers() | st.booleans() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    st.data(),
)
def test_each_value_of_any_json_is_found_on_its_line(value: object, data: st.DataObject) -> None:
    text, path, marked = json.dumps(value, indent=1), [], value
    while isinstance(marked, dict | list) and marked:
        keys = list(marked) if isinstance(marked, dict) else list(range(len(marked)))
        key = data.draw(st.sampled_from(keys))
        path.append(str(key))
        marked = marked[key]
    line = text.splitlines()[line_of_path(text, path) - 1]
    shown = json.dumps(marked)
    key_shown = json.dumps(path[-1]) if path else ""
    assert shown in line or key_shown in line


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read: No such file"):
        read_document(tmp_path / "policy.json")


@pytest.mark.parametrize(
    ("body", "problem", "line"),
    [
        (b"{}" + b" " * MAX_BYTES, f"{MAX_BYTES + 2} bytes, and a parameter holds at most {MAX_BYTES}", None),
        (b'{\n"default":\n{"decoder": "\xff"}}', "not UTF-8", 3),
        (b'{\n"default": {"x": "{{ssm:other}}"}}', "{{", 2),
    ],
)
def test_what_the_parameter_can_not_hold_is_refused(
    body: bytes, problem: str, line: int | None, tmp_path: Path
) -> None:
    (tmp_path / "policy.json").write_bytes(body)
    with pytest.raises(InvalidDocument) as caught:
        read_document(tmp_path / "policy.json")
    assert problem in caught.value.problem
    assert caught.value.line == line


def test_the_largest_document_is_taken(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_bytes(b"{}" + b" " * (MAX_BYTES - 2))
    assert len(read_document(tmp_path / "policy.json")) == MAX_BYTES
