"""JSON Patch does what the RFC says, says what is wrong, and costs no more than it may."""

import copy
import json
from typing import Any

import jsonpatch
import jsonpointer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.json_patch import MAX_COPIED_BYTES, MAX_OPERATIONS, DoesNotApply, apply, parse_patch
from stream_redrive.core.refusals import InvalidPatch


def patched(document: Any, *operations: dict[str, Any]) -> Any:
    return apply(parse_patch(list(operations)), copy.deepcopy(document))


# RFC 6902, appendix A.
APPENDIX = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo", "foo": "bar"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
    ({"a": 1}, [{"op": "copy", "from": "", "path": "/b"}], {"a": 1, "b": {"a": 1}}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": [2]}], [2]),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
]


@pytest.mark.parametrize(("document", "operations", "expected"), APPENDIX)
def test_what_the_rfc_shows_comes_out(document: Any, operations: list[dict[str, Any]], expected: Any) -> None:
    assert patched(document, *operations) == expected


@pytest.mark.parametrize(
    ("operations", "problem"),
    [
        ([], "at least one operation"),
        ({"op": "add"}, "a list"),
        ([7], "operation 0 is no object"),
        ([{"op": "spam", "path": "/a"}], "operation 0: op is none of"),
        ([{"op": ["add"], "path": "/a"}], "operation 0: op is none of"),
        ([{"op": "add", "path": "/a"}], "operation 0 (add) lacks 'value'"),
        ([{"op": "move", "path": "/a"}], "operation 0 (move) lacks 'from'"),
        ([{"op": "remove", "path": "a"}], "operation 0 (remove): path is no JSON Pointer: it begins without a slash"),
        ([{"op": "remove", "path": "/a~2"}], "a tilde is written ~0"),
        ([{"op": "remove", "path": 7}], "operation 0 (remove): path is no text"),
        ([{"op": "remove", "path": ""}], "the whole document"),
        ([{"op": "move", "from": "/a", "path": "/a/b"}], "operation 0 (move) would move a value into itself"),
        ([{"op": "remove", "path": "/a"}] * (MAX_OPERATIONS + 1), f"at most {MAX_OPERATIONS} operations"),
    ],
)
def test_a_patch_that_is_none_is_refused_with_its_operation(operations: Any, problem: str) -> None:
    with pytest.raises(InvalidPatch) as raised:
        parse_patch(operations)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("document", "operation", "problem"),
    [
        (
            {"foo": "bar"},
            {"op": "add", "path": "/baz/bat", "value": 1},
            "operation 0 (add '/baz/bat'): there is no such",
        ),
        ({"foo": "bar"}, {"op": "remove", "path": "/baz"}, "no such member"),
        ({"foo": "bar"}, {"op": "replace", "path": "/foo/0", "value": 1}, "neither object nor array"),
        ({"foo": "bar"}, {"op": "add", "path": "/foo/0", "value": 1}, "neither an object nor an array"),
        ([1], {"op": "add", "path": "/2", "value": 1}, "the array ends before"),
        ([1], {"op": "replace", "path": "/1", "value": 1}, "the array ends before"),
        ([1], {"op": "replace", "path": "/-", "value": 1}, "no such index"),
        ([1, 2], {"op": "remove", "path": "/01"}, "no such index"),
        ([1], {"op": "remove", "path": "/-1"}, "no such index"),
        ([1], {"op": "remove", "path": "/" + "9" * 5000}, "no such index"),
        ({"a": "10"}, {"op": "test", "path": "/a", "value": 10}, "another one"),
        ({"a": 1}, {"op": "test", "path": "/a", "value": True}, "another one"),
        ({"a": [0]}, {"op": "test", "path": "/a", "value": [False]}, "another one"),
    ],
)
def test_what_does_not_apply_is_named(document: Any, operation: dict[str, Any], problem: str) -> None:
    with pytest.raises(DoesNotApply) as raised:
        patched(document, operation)
    assert problem in str(raised.value)


def test_a_number_equals_another_of_the_same_value() -> None:
    assert patched({"a": 1}, {"op": "test", "path": "/a", "value": 1.0}) == {"a": 1}


def test_no_message_quotes_a_value_of_the_document() -> None:
    with pytest.raises(DoesNotApply) as raised:
        patched({"a": "SECRET"}, {"op": "test", "path": "/a", "value": "guess"})
    assert "SECRET" not in str(raised.value)


def test_a_value_of_the_patch_is_not_shared_between_documents() -> None:
    operations = parse_patch(
        [{"op": "add", "path": "/list", "value": []}, {"op": "add", "path": "/list/-", "value": "more"}]
    )
    assert apply(operations, {}) == apply(operations, {}) == {"list": ["more"]}


def test_copies_of_copies_end_before_they_fill_the_memory() -> None:
    doubling = [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(MAX_OPERATIONS)]
    with pytest.raises(DoesNotApply, match=f"copies more than {MAX_COPIED_BYTES} bytes"):
        patched({"a": "b"}, *doubling)


NAMES = st.sampled_from(["a", "b", "~", "/", "", "0", "1", "-", "é"])
# Python takes 1 for true, and so does the oracle.
SCALARS = st.none() | st.booleans() | st.integers(2, 9) | st.sampled_from(["", "x"])
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
POINTERS = st.lists(NAMES, max_size=3).map(
    lambda tokens: "".join("/" + t.replace("~", "~0").replace("/", "~1") for t in tokens)
)
OPERATIONS = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": POINTERS, "value": DOCUMENTS}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": POINTERS.filter(bool)}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "from": POINTERS, "path": POINTERS}),
)


@pytest.mark.parametrize("document", [None, 7, "text"])
@pytest.mark.parametrize("op", ["remove", "move"])
def test_nothing_is_taken_from_what_holds_nothing(op: str, document: object) -> None:
    with pytest.raises(DoesNotApply, match="neither object nor array"):
        patched(document, {"op": op, "from": "/a", "path": "/a" if op == "remove" else "/b"})


@given(
    st.dictionaries(NAMES, DOCUMENTS, max_size=4) | st.lists(DOCUMENTS, max_size=4),
    st.lists(OPERATIONS, min_size=1, max_size=4),
)
def test_whatever_both_can_apply_comes_out_as_with_the_library_of_the_field(
    document: Any, operations: list[dict[str, Any]]
) -> None:
    try:
        ours = patched(document, *operations)
    except (DoesNotApply, InvalidPatch):
        return
    try:
        theirs = jsonpatch.apply_patch(document, operations)
    # Where the library is stricter than the RFC (the root), or stumbles, it is no oracle.
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, AttributeError):
        return
    assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


@given(
    st.dictionaries(NAMES, DOCUMENTS, max_size=4),
    st.lists(OPERATIONS.filter(lambda op: op["op"] != "move" and op.get("from") != ""), min_size=1, max_size=3),
)
def test_whatever_the_library_of_the_field_can_apply_can_be_applied(
    document: dict[str, Any], operations: list[dict[str, Any]]
) -> None:
    try:
        theirs = jsonpatch.apply_patch(document, operations)
    except Exception:  # noqa: BLE001 - whatever the oracle can't do says nothing
        return
    assert json.dumps(patched(document, *operations), sort_keys=True) == json.dumps(theirs, sort_keys=True)
