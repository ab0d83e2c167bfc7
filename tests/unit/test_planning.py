"""A plan says what a decision would do, down to the bytes, and its digest stands for exactly that."""

import base64
import gzip
import json
import tracemalloc
from typing import Any

import pytest

from stream_redrive.core.editing import MAX_PAYLOAD_BYTES
from stream_redrive.core.payloads import KPL_MAGIC
from stream_redrive.core.planning import PAYLOAD_EXPIRED, RESERVE_SECONDS
from stream_redrive.core.refusals import (
    AlreadyDecided,
    CaseExpired,
    EmptyPayload,
    InvalidPatch,
    MalformedRequest,
    NotEditable,
    NothingEligible,
    PatchFails,
    PayloadTooLarge,
    SchemaStillBroken,
    UnknownCase,
    UnknownRecord,
)
from tests.support.deciding import CASE, DAY, Desk, record

SET_N = [{"op": "add", "path": "/n", "value": 1}]


def orders(count: int) -> list[bytes]:
    return [json.dumps({"order": n}).encode() for n in range(count)]


@pytest.mark.parametrize("action", ["redrive", "discard", "keep"])
def test_a_plan_is_about_all_records_unless_some_are_named(action: str) -> None:
    plan = Desk(*orders(3)).plan(action)
    assert (plan.records.total, plan.records.eligible, plan.records.left_over) == (3, 3, 0)
    assert plan.incomplete is None
    assert plan.people == (2 if action == "discard" else 1)


def test_only_a_redrive_and_an_edit_have_a_target_and_take_time() -> None:
    desk = Desk(*orders(600), pace=0.5)
    assert (desk.plan("redrive").target, desk.plan("redrive").estimate_seconds) == ("stream", 2)
    assert (desk.plan("discard").target, desk.plan("discard").estimate_seconds) == ("", 0)


def test_named_records_alone_are_meant_or_all_but_them() -> None:
    desk = Desk(*orders(3))
    only, rest = desk.plan(only=[record(2)]), desk.plan(**{"except": [record(2)]})
    assert (only.records.eligible, only.records.left_over) == (1, 2)
    assert (rest.records.eligible, rest.records.left_over) == (2, 1)
    assert len({only.digest, rest.digest, desk.plan().digest}) == 3


def test_the_digest_is_the_same_for_the_same_records_whoever_names_them_how() -> None:
    desk = Desk(*orders(3))
    assert desk.plan().digest == desk.plan().digest == desk.plan(only=[record(n) for n in (3, 1, 2)]).digest
    assert desk.plan(only=[record(1), record(2)]).digest == desk.plan(**{"except": [record(3)]}).digest


def test_the_digest_changes_with_action_target_records_and_edit() -> None:
    desk = Desk(*orders(2))
    digests = {desk.plan(action).digest for action in ("redrive", "discard", "keep")}
    digests |= {desk.plan("edit", patch=[{"op": "add", "path": "/n", "value": n}]).digest for n in (1, 2)}
    desk.join("incident-2", b"{}", first=7)
    digests.add(desk.plan("redrive").digest)
    assert len(digests) == 6


def test_a_record_that_the_case_does_not_have_is_named() -> None:
    desk = Desk(*orders(2))
    with pytest.raises(UnknownRecord, match=r"1 of the named records.*shardId-000000000000:9"):
        desk.plan(only=[record(1), record(9)])
    with pytest.raises(UnknownRecord, match="other:1"):
        desk.plan(**{"except": ["other:1"]})


def test_a_payload_that_has_expired_is_not_redriven_and_can_be_discarded() -> None:
    desk = Desk(*orders(2))
    gone = desk.join("incident-2", *orders(3), first=10)
    del desk.vault.objects[gone.key]
    plan = desk.plan("redrive")
    assert (plan.records.eligible, plan.records.left_over) == (2, 0)
    assert plan.records.ineligible == {PAYLOAD_EXPIRED: 3}
    assert desk.plan("edit", patch=SET_N).records.ineligible == {PAYLOAD_EXPIRED: 3}
    assert desk.plan("discard").records.eligible == 5


def test_a_day_of_many_chunks_is_listed_and_not_asked_for_one_by_one() -> None:
    desk = Desk(b"{}")
    for n in range(2, 40):
        desk.join(f"incident-{n}", b"{}", first=n)
    asked: list[str] = []
    listing = desk.vault.list
    desk.vault.list = lambda prefix: (asked.append(prefix), listing(prefix))[1]  # type: ignore[method-assign,func-returns-value]
    assert desk.plan("redrive").records.eligible == 39
    assert asked == [f"{DAY}/"]


def test_where_the_target_is_out_of_reach_nothing_is_eligible_for_a_redrive() -> None:
    desk = Desk(*orders(2), target="consumer")
    with pytest.raises(
        NothingEligible, match=r"none of the 2 records .*this version can't send to the policy's target"
    ):
        desk.plan("redrive")
    assert desk.plan("keep").records.eligible == 2


def test_an_edit_is_shown_masked_before_and_after() -> None:
    plan = Desk(b'{"name":"SECRET"}', *orders(9)).plan("edit", patch=SET_N)
    assert plan.records.eligible == 10
    assert len(plan.samples) == 3
    assert plan.samples[0].before == {"name": "<string, 6 characters>"}
    assert plan.samples[0].after == {"name": "<string, 6 characters>", "n": "<integer>"}
    assert "SECRET" not in repr(plan)


@pytest.mark.parametrize(
    ("payload", "policy"),
    [
        (b"no json", {}),
        (b"\x00\xff", {}),
        (KPL_MAGIC + b"rest", {}),
        (b'{"a":1,"a":2}', {}),
        (b'{"a":0.10000000000000000555}', {}),
        (b'{"a":1e999}', {}),
        (b'{"a":NaN}', {}),
        (b'{"a":1}', {"decoder": "none"}),
        (b'{"a":1}', {"decoder": "gzip+json"}),
    ],
)
def test_a_payload_that_a_patch_would_change_elsewhere_is_left_over_or_refused_when_it_is_named(
    payload: bytes, policy: dict[str, Any]
) -> None:
    good = gzip.compress(b"{}") if policy.get("decoder") == "gzip+json" else b"{}"
    desk = Desk(payload, good, **policy)
    with pytest.raises(NotEditable, match=f"record {record(1)} can't be edited"):
        desk.plan("edit", patch=SET_N, only=[record(1)])
    if policy.get("decoder") != "none":
        plan = desk.plan("edit", patch=SET_N)
        assert plan.records.eligible == 1
        assert sum(plan.records.ineligible.values()) == 1


@pytest.mark.parametrize(
    ("payload", "patch", "refusal", "message"),
    [
        (b'{"a":1}', {"op": "add"}, InvalidPatch, "a list"),
        (b'{"a":1}', [{"op": "add", "path": "/b"}], InvalidPatch, "operation 0"),
        (b'{"a":1}', [{"op": "remove", "path": "/b"}], PatchFails, r"record \S+:1: operation 0 \(remove '/b'\)"),
        (b'{"a":1}', [{"op": "remove", "path": "/a"}], EmptyPayload, r"record \S+:1"),
        (b'{"a":1}', [{"op": "replace", "path": "", "value": None}], EmptyPayload, r"record \S+:1"),
        (b'{"a":1}', [{"op": "add", "path": "/b", "value": "x" * MAX_PAYLOAD_BYTES}], PayloadTooLarge, "1048"),
        (b'{"a":1}', [{"op": "add", "path": "/a", "value": "x"}], SchemaStillBroken, "at a: rule 'type'"),
        (b'{"a":1}', [{"op": "add", "path": "/secret", "value": "x"}], SchemaStillBroken, r"at the document|\*"),
    ],
)
def test_an_edit_that_comes_to_no_good_is_refused(
    payload: bytes, patch: Any, refusal: type[Exception], message: str
) -> None:
    schema = {"properties": {"a": {"type": "number"}, "b": {}}, "additionalProperties": False}
    with pytest.raises(refusal, match=message) as raised:
        Desk(payload, schema=schema).plan("edit", patch=patch)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("text", ['{"b":2,"a":"é"}', '{"n":12345678901234567890123,"f":0.1}', r'{"s":"\ud800"}'])
def test_an_edit_changes_nothing_else(text: str) -> None:
    desk = Desk(text.encode())
    case = desk.planned_and_decided("edit", patch=[{"op": "add", "path": "/z", "value": 0}])
    [line] = desk.lines(desk.work(case)[0]["key"])
    edited = json.loads(base64.b64decode(line["data"]))
    assert edited == {**json.loads(text), "z": 0}
    assert list(edited)[:-1] == list(json.loads(text))


def test_what_was_gzip_stays_gzip() -> None:
    desk = Desk(gzip.compress(b'{"a":1}'))
    case = desk.planned_and_decided("edit", patch=SET_N)
    [line] = desk.lines(desk.work(case)[0]["key"])
    assert json.loads(gzip.decompress(base64.b64decode(line["data"]))) == {"a": 1, "n": 1}


def test_a_replacement_may_be_any_bytes_where_there_is_no_schema_but_not_none() -> None:
    desk = Desk(b"broken", b"{}")
    for replacement in (b"\x00\xff", KPL_MAGIC):
        text = base64.b64encode(replacement).decode()
        assert desk.plan("edit", only=[record(1)], replacement=text).records.eligible == 1
    with pytest.raises(EmptyPayload):
        desk.plan("edit", only=[record(1)], replacement="")
    with pytest.raises(SchemaStillBroken, match="no document"):
        Desk(b"broken", schema={"type": "object"}).plan("edit", only=[record(1)], replacement="AP8=")


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "redrive", "patch": SET_N},
        {"action": "edit"},
        {"action": "edit", "patch": SET_N, "replacement": "e30=", "only": [record(1)]},
        {"action": "edit", "replacement": "e30="},
        {"action": "edit", "replacement": "e30=", "only": [record(1), record(2)]},
        {"action": "edit", "replacement": "e3!0=", "only": [record(1)]},
        {"action": "redrive", "only": [record(1)], "except": [record(2)]},
        {"action": "redrive", "only": []},
    ],
)
def test_a_request_that_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        Desk(*orders(2)).plan(**fields)


def test_a_plan_says_so_when_records_are_still_being_taken_over() -> None:
    desk = Desk(*orders(3))
    desk.planned_and_decided("keep", only=[record(1)])
    successor = f"{CASE[:-1]}2"
    plan = desk.desk.plan(desk.call(), successor, {"action": "keep"})
    assert plan.incomplete == f"the case is still taking over records of case {CASE}"


def test_a_plan_that_runs_out_of_time_says_so() -> None:
    desk = Desk(*orders(3))
    desk.clock.limit = desk.clock.time
    desk.clock.sleep(-RESERVE_SECONDS + 1)
    assert "0 of 1 chunks" in (desk.plan("edit", patch=SET_N).incomplete or "")


def test_there_is_no_plan_of_what_is_not_there_decided_or_expired() -> None:
    desk = Desk(*orders(1))
    with pytest.raises(UnknownCase):
        desk.desk.plan(desk.call(), "nonsense", {"action": "keep"})
    desk.planned_and_decided("keep")
    with pytest.raises(AlreadyDecided):
        desk.plan()
    late = Desk(*orders(1))
    late.clock.sleep(15 * 86_400)
    with pytest.raises(CaseExpired):
        late.plan()


def test_the_memory_of_a_plan_does_not_grow_with_the_records() -> None:
    peaks = []
    for incidents in (2, 20):
        desk = Desk(*orders(200))
        for n in range(1, incidents):
            desk.join(f"incident-{n + 1}", *orders(200), first=1000 * n)
        desk.plan("edit", patch=SET_N)
        tracemalloc.start()
        desk.plan("edit", patch=SET_N)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
