"""Hostile payloads: whatever a record holds, its verdict comes in time and the other records get theirs."""

import gzip
import json
import time
from typing import Any

import pytest

from stream_redrive.adapters.time_limit import CpuTimeLimit
from stream_redrive.core.patience import MAX_OVERRUNS
from stream_redrive.core.ports import LoggedError
from tests.support.build import incident, notice_of
from tests.support.memory import MemoryTimeLimit
from tests.support.scene import Scene

BACKTRACKING = {"type": "object", "properties": {"tail": {"type": "string", "pattern": "^(a+)+$"}}}
ENDLESS = json.dumps({"tail": "a" * 64 + "b"}).encode()
COUNTING = {
    "type": "object",
    "properties": {"n": {"type": "number", "multipleOf": 7}, "tail": {"type": "string", "maxLength": 4}},
}


def verdicts(scene: Scene, *payloads: bytes) -> list[tuple[str, str]]:
    failed = incident(notice_of(scene.produce(*payloads)))
    scene.capture(failed)
    scene.classify(failed)
    return [(v.verdict.value, v.rule) for v in scene.verdicts(failed)]


def real(**policy: Any) -> Scene:
    """A scene in which time is measured."""
    scene = Scene(**policy)
    scene.limit = CpuTimeLimit()
    return scene


def test_a_pattern_that_backtracks_without_end_is_ended_and_the_record_held() -> None:
    scene = real(schema=BACKTRACKING)
    began = time.process_time()
    assert verdicts(scene, b'{"tail": "aaa"}', ENDLESS, b'{"tail": "b"}') == [
        ("transient", "default"),
        ("held", "payload-too-costly"),
        ("poison", "payload-schema"),
    ]
    assert time.process_time() - began < 5


def test_the_reason_names_what_took_too_long() -> None:
    scene = real(schema=BACKTRACKING)
    failed = scene.fail(scene.produce(ENDLESS))
    assert scene.verdicts(failed)[0].reason.endswith("0.25 s of CPU time: the schema")


def test_after_many_such_records_no_payload_of_the_incident_is_looked_into() -> None:
    scene = Scene(schema=BACKTRACKING)
    scene.limit = MemoryTimeLimit(slow=MAX_OVERRUNS)
    got = verdicts(scene, *[b'{"tail": "aaa"}'] * (MAX_OVERRUNS + 5))
    assert got == [("held", "payload-too-costly")] * (MAX_OVERRUNS + 5)
    one_less = Scene(schema=BACKTRACKING)
    one_less.limit = MemoryTimeLimit(slow=MAX_OVERRUNS - 1)
    assert verdicts(one_less, *[b'{"tail": "aaa"}'] * MAX_OVERRUNS)[-1] == ("transient", "default")


def test_the_next_incident_starts_with_fresh_patience() -> None:
    scene = Scene(schema=BACKTRACKING)
    scene.limit = MemoryTimeLimit(slow=MAX_OVERRUNS)
    verdicts(scene, *[b'{"tail": "aaa"}'] * MAX_OVERRUNS)
    assert verdicts(scene, b'{"tail": "aaa"}') == [("transient", "default")]


def test_where_payloads_are_not_opened_nothing_can_take_too_long() -> None:
    scene = Scene(decoder="none")
    scene.limit = MemoryTimeLimit(slow=1)
    assert verdicts(scene, ENDLESS) == [("transient", "default")]


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        (b"[" * 100_000 + b"]" * 100_000, ("poison", "payload-decode")),
        (b'{"x": ' * 900 + b"1" + b"}" * 900, ("transient", "default")),
        (b'{"n": ' + b"9" * 100_000 + b"}", ("poison", "payload-decode")),
        (b'{"n": ' + b"7" * 4_000 + b"}", None),
        (b'{"n": 1e999}', ("held", "payload-unchecked")),
        (b'{"n": NaN}', None),
        (b'{"tail": "' + b"x" * 1024 * 1024 + b'"}', ("poison", "payload-schema")),
        (b'{"n": 1, "n": 14}', ("transient", "default")),
        (b'{"tail": "\xff\xfe"}', ("poison", "payload-decode")),
        (b'{"tail": "\\ud800"}', ("transient", "default")),
        (gzip.compress(b" " * 200 * 1024 * 1024, mtime=0), ("poison", "payload-decode")),
        (gzip.compress(b"[" + b"[]," * 3_000_000 + b"[]]", mtime=0), ("held", "payload-too-costly")),
    ],
    ids=[
        *("brackets", "nesting", "a number of 100,000 digits", "a number of 4,000 digits", "infinity", "not a number"),
        *("a long text", "a name twice", "invalid UTF-8", "half a surrogate", "a bomb of nothing", "a bomb of values"),
    ],
)
def test_a_hostile_payload_neither_crashes_nor_stalls(payload: bytes, verdict: tuple[str, str] | None) -> None:
    scene = real(schema=COUNTING)
    began = time.process_time()
    hostile, good = verdicts(scene, payload, b'{"n": 7}')
    assert good == ("transient", "default")
    assert verdict is None or hostile == verdict
    assert time.process_time() - began < 5


def test_hostile_payloads_do_not_hinder_the_search_for_suspects() -> None:
    scene = real(schema={"type": "object"})
    batch = scene.produce(*[b'{"tail": "a"}'] * 30, b"[" * 100_000, b'{"hull": "b"}')
    scene.log.errors["one"] = [LoggedError("KeyError", "'tail'", "")]
    failed = incident(notice_of(batch, request_id="one"))
    scene.capture(failed)
    scene.classify(failed)
    assert [v.rule for v in scene.verdicts(failed)][-2:] == ["payload-decode", "logic-error"]
