"""Verdicts: which rule decides, on what evidence, and that a verdict once given stays."""

import gzip
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_redrive.core.errors import AccessDenied, VaultObjectMissing, WriteConflict
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import Examined, NoticeFinder, Outcome
from stream_redrive.core.policy import Verdict
from stream_redrive.core.ports import MappingSettings
from stream_redrive.core.verdicts import ChunkVerdicts
from tests.support.build import CONSUMER, SHARD_ID, STREAM_ARN, incident, notice, notice_of
from tests.support.classifying import SCHEMA, classifier, examined, record, verdict_of
from tests.support.memory import MemoryVault
from tests.support.scene import Scene

# The rules, in their order


def test_without_evidence_the_policys_default_decides() -> None:
    for default in Verdict:
        verdict = verdict_of(default=default.value)
        assert (verdict.verdict, verdict.rule) == (default, "default")


def test_a_verdict_names_the_policys_version_and_the_evidence() -> None:
    verdict = verdict_of(attempt=2, notices=[examined(size=3)])
    assert verdict.policy_version == "v7"
    assert verdict.evidence == {"condition": "RetryAttemptsExhausted", "batch_size": 3, "attempt": 2}


def test_a_payload_that_does_not_decode_is_poison() -> None:
    verdict = verdict_of(b"not json", decoder="json")
    assert (verdict.verdict, verdict.rule) == (Verdict.POISON, "payload-decode")


def test_a_payload_that_breaks_the_schema_is_poison_and_the_reason_names_the_field_and_the_rule() -> None:
    verdict = verdict_of(b'{"tail": 7}', schema=SCHEMA)
    assert (verdict.verdict, verdict.rule) == (Verdict.POISON, "payload-schema")
    assert "tail" in verdict.reason
    assert "'type'" in verdict.reason


def test_a_missing_field_breaks_the_schema_at_the_document() -> None:
    verdict = verdict_of(b"{}", schema=SCHEMA)
    assert (verdict.rule, "the document" in verdict.reason, "required" in verdict.reason) == (
        "payload-schema",
        True,
        True,
    )


def test_a_payload_that_keeps_the_schema_is_no_evidence() -> None:
    assert verdict_of(b'{"tail": "N14228", "legs": [1, 2]}', schema=SCHEMA).rule == "default"


def test_a_record_that_grew_too_old_is_transient_even_where_the_default_is_not() -> None:
    verdict = verdict_of(notices=[examined(condition="RecordAgeExceeded")], default="poison")
    assert (verdict.verdict, verdict.rule) == (Verdict.TRANSIENT, "record-age-exceeded")


def test_a_record_that_grew_too_old_is_poison_when_its_payload_proves_it() -> None:
    verdict = verdict_of(b"x", notices=[examined(condition="RecordAgeExceeded")], decoder="json")
    assert verdict.rule == "payload-decode"


@pytest.mark.parametrize(("attempt", "rule"), [(0, "default"), (2, "default"), (3, "attempt-cap"), (4, "attempt-cap")])
def test_a_record_that_failed_alone_after_the_last_attempt_is_poison(attempt: int, rule: str) -> None:
    verdict = verdict_of(attempt=attempt, max_attempts=3)
    assert verdict.rule == rule
    assert verdict.verdict is (Verdict.POISON if rule == "attempt-cap" else Verdict.TRANSIENT)


def test_a_record_over_the_cap_that_only_failed_in_batches_is_held_since_another_may_be_at_fault() -> None:
    verdict = verdict_of(attempt=3, notices=[examined(size=5), examined(size=2)])
    assert (verdict.verdict, verdict.rule) == (Verdict.HELD, "attempt-cap-in-batch")
    assert "2 records" in verdict.reason


def test_a_record_over_the_cap_is_poison_when_one_of_its_notices_is_of_it_alone() -> None:
    assert verdict_of(attempt=3, notices=[examined(size=5), examined(size=1)]).rule == "attempt-cap"


def test_the_cap_also_ends_a_record_that_grows_too_old_again_and_again() -> None:
    assert verdict_of(attempt=3, notices=[examined(condition="RecordAgeExceeded")]).verdict is Verdict.POISON


def test_a_cap_of_zero_redrives_nothing() -> None:
    assert verdict_of(max_attempts=0).verdict is Verdict.POISON


def test_a_bad_payload_is_named_before_the_cap() -> None:
    assert verdict_of(b"x", attempt=9, decoder="json").rule == "payload-decode"


@pytest.mark.parametrize("default", ["transient", "poison", "held"])
@pytest.mark.parametrize(
    ("data", "attempt", "condition"),
    [(b"{}", 0, "RetryAttemptsExhausted"), (b"{}", 0, "RecordAgeExceeded"), (b"x", 9, "RetryAttemptsExhausted")],
)
def test_a_record_of_an_ambiguous_range_is_held_whatever_else_speaks_for_it(
    default: str, data: bytes, attempt: int, condition: str
) -> None:
    notices = [examined(Outcome.AMBIGUOUS, size=2, condition=condition)]
    verdict = verdict_of(data, attempt, notices, default=default, decoder="json")
    assert (verdict.verdict, verdict.rule) == (Verdict.HELD, "ambiguous-range")


def test_a_record_that_an_exact_notice_covers_too_is_judged_by_that_one_alone() -> None:
    lane = examined(Outcome.AMBIGUOUS, size=1, condition="RecordAgeExceeded")
    verdict = verdict_of(notices=[lane, examined(size=3)], default="poison")
    assert (verdict.verdict, verdict.rule, verdict.evidence["batch_size"]) == (Verdict.POISON, "default", 3)
    over_the_cap = verdict_of(attempt=3, notices=[lane, examined(size=3)])
    assert over_the_cap.rule == "attempt-cap-in-batch"


def test_a_partial_range_is_not_trusted_where_the_incident_shows_lanes_or_filters() -> None:
    partial = [examined(Outcome.PARTIAL, size=2)]
    assert classifier().classify(record(), partial).rule == "default"
    assert classifier(lanes_or_filters=True).classify(record(), partial).rule == "ambiguous-range"
    assert classifier(lanes_or_filters=True).classify(record(), [examined()]).rule == "default"


@pytest.mark.parametrize("condition", ["RetryAttemptsExhausted", "RecordAgeExceeded"])
@pytest.mark.parametrize("default", ["transient", "held", "poison"])
@pytest.mark.parametrize(
    "policy", [{"target": "consumer"}, {"target": f"stream:{STREAM_ARN}"}, {"ordering": "per_key"}], ids=str
)
def test_what_cannot_be_sent_where_the_policy_wants_it_is_never_transient(
    policy: dict[str, Any], default: str, condition: str
) -> None:
    verdict = verdict_of(notices=[examined(condition=condition)], default=default, **policy)
    assert verdict.verdict is not Verdict.TRANSIENT
    if default == "transient":
        assert (verdict.verdict, verdict.rule) == (Verdict.HELD, "redrive-not-supported")


def test_poison_stays_poison_where_redrive_is_not_supported() -> None:
    assert verdict_of(b"x", target="consumer", decoder="json").rule == "payload-decode"


# A whole incident


def classified(scene: Scene, failed: Incident) -> list[tuple[str, str]]:
    return [(v.verdict.value, v.rule) for v in scene.verdicts(failed)]


def test_an_incidents_records_each_get_their_verdict() -> None:
    scene = Scene(decoder="json")
    produced = scene.produce(b"{}", b"bad", b"[]")
    failed = incident(notice_of(produced))
    scene.capture(failed)
    result = scene.classify(failed)
    assert result.verdicts == {"transient": 2, "poison": 1, "held": 0}
    assert (result.quarantine, result.target) == (True, "stream")
    assert classified(scene, failed) == [
        ("transient", "default"),
        ("poison", "payload-decode"),
        ("transient", "default"),
    ]


def test_an_incident_of_good_records_leaves_nothing_for_the_quarantine() -> None:
    scene = Scene()
    failed = incident(notice_of(scene.produce(b"{}", b"{}")))
    scene.capture(failed)
    assert scene.classify(failed).quarantine is False


def test_expired_records_are_work_for_the_quarantine() -> None:
    scene = Scene()
    failed = incident(notice_of(scene.produce(b"{}", b"{}")))
    scene.stream.trim(SHARD_ID, 1)
    scene.capture(failed)
    result = scene.classify(failed)
    assert (result.quarantine, result.verdicts) == (True, {"transient": 1, "poison": 0, "held": 0})


def test_each_record_is_judged_by_the_notices_that_cover_it() -> None:
    scene = Scene(default="held")
    produced = scene.produce(b"{}", b"{}", b"{}")
    failed = incident(
        notice_of(produced[:1], condition="RecordAgeExceeded"), notice_of(produced[1:]), notice_of(produced[2:])
    )
    scene.capture(failed)
    scene.classify(failed)
    assert [v.evidence["batch_size"] for v in scene.verdicts(failed)] == [1, 2, 1]
    assert [v.rule for v in scene.verdicts(failed)] == ["record-age-exceeded", "default", "default"]


def test_an_ambiguous_notice_holds_what_nothing_tells_of_and_lets_its_own_and_the_exact_ones_go() -> None:
    scene = Scene()
    produced = scene.produce(*[b"{}"] * 7)
    lane = notice(produced[2].sequence_number, produced[6].sequence_number, 3)
    failed = incident(notice_of(produced[:2]), lane)
    scene.capture(failed)
    assert scene.classify(failed).verdicts == {"transient": 4, "poison": 0, "held": 3}
    assert [v.rule for v in scene.verdicts(failed)][2:] == ["default", *["ambiguous-range"] * 3, "default"]


def test_a_stranger_in_a_range_has_no_verdict_and_goes_nowhere() -> None:
    scene = Scene()
    produced = scene.produce(*[b"{}"] * 3)
    failed = incident(notice(produced[0].sequence_number, produced[2].sequence_number, 2))
    scene.capture(failed)
    result = scene.classify(failed)
    assert (result.verdicts["transient"], result.strangers, result.quarantine) == (2, 1, False)
    assert [v is None for v in scene.verdicts_or_none(failed)] == [False, True, False]
    assert scene.classify(failed) == result


def test_the_mappings_are_asked_only_of_an_ambiguous_range_and_a_refusal_leaves_it_held() -> None:
    scene = Scene()
    scene.fail(scene.produce(b"{}", b"{}"))
    assert scene.mappings.asked == 0
    produced = scene.produce(*[b"{}"] * 5)
    failed = incident(notice(produced[0].sequence_number, produced[4].sequence_number, 3))
    scene.capture(failed)
    scene.mappings.of = refuse  # type: ignore[method-assign]
    assert scene.classify(failed).verdicts["held"] == 3


def refuse(consumer: str, stream_arn: str) -> Sequence[MappingSettings]:
    raise AccessDenied("lambda:ListEventSourceMappings")


def test_the_mappings_filter_tells_the_strangers() -> None:
    scene = Scene()
    wanted, other = b'{"kind": "task"}', b'{"kind": "note"}'
    pattern = '{"data": {"kind": ["task"]}}'
    changed_at = scene.clock.now() - timedelta(days=1)
    scene.mappings.mappings[CONSUMER, STREAM_ARN] = [MappingSettings((pattern,), 1, changed_at)]
    produced = scene.produce(wanted, other, wanted, other, wanted)
    failed = incident(notice(produced[0].sequence_number, produced[4].sequence_number, 3))
    scene.capture(failed)
    result = scene.classify(failed)
    assert (result.verdicts["transient"], result.strangers, scene.mappings.asked) == (3, 2, 1)


def test_verdicts_of_more_than_one_chunk_are_counted_together() -> None:
    scene = Scene(decoder="json")
    failed = incident(notice_of(scene.produce(*[b"{}", b"bad", b"bad"] * 400)))
    scene.capture(failed)
    assert scene.classify(failed).verdicts == {"transient": 400, "poison": 800, "held": 0}
    assert len(scene.verdicts(failed)) == 1200


def test_a_verdict_stays_when_the_step_runs_again_under_another_policy() -> None:
    scene = Scene(decoder="json")
    failed = incident(notice_of(scene.produce(b"{}", b"bad")))
    scene.capture(failed)
    first = scene.classify(failed)
    scene.policy, scene.policy_version = {"default": "poison", "decoder": "none"}, "2"
    assert scene.classify(failed).verdicts == first.verdicts
    assert {v.policy_version for v in scene.verdicts(failed)} == {"1"}


def test_an_incident_that_is_not_captured_cannot_be_classified() -> None:
    with pytest.raises(VaultObjectMissing):
        Scene().classify(incident(notice("1", "5")))


def test_verdicts_of_another_number_of_records_are_not_taken_for_the_chunks_own() -> None:
    scene = Scene()
    failed = incident(notice_of(scene.produce(b"{}", b"{}")))
    scene.capture(failed)
    scene.classify(failed)
    (key,) = [key for key in scene.vault.objects if "verdicts" in key]
    scene.vault.objects[key] = ChunkVerdicts(tuple(scene.verdicts(failed)[:1])).encode()
    with pytest.raises(WriteConflict):
        scene.classify(failed)


def test_equal_verdicts_are_written_once_and_come_back_one_for_each_line() -> None:
    one, other = verdict_of(), verdict_of(b"x", decoder="json")
    many = ChunkVerdicts((one, other) * 250)
    vault = MemoryVault()
    vault.put("key", many.encode())
    assert ChunkVerdicts.load(vault, "key") == many
    assert len(json.loads(gzip.decompress(many.encode()))["verdicts"]) == 2


# Backoff


@given(
    st.floats(0, 100),
    st.floats(1, 10),
    st.floats(0, 1000),
    st.integers(0, 12),
    st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=2),
)
@settings(max_examples=150, deadline=None)
def test_the_backoff_lies_between_nothing_and_the_ceiling_and_is_the_same_when_the_step_runs_again(
    base: float, factor: float, more: float, attempt: int, payloads: list[bytes]
) -> None:
    backoff = {"base_seconds": base, "factor": factor, "max_seconds": base + more}
    scene = Scene(backoff=backoff, max_attempts=100)
    produced = scene.produce(*payloads)
    scene.redriven_before(produced[-1], attempt)
    failed = incident(notice_of(produced))
    scene.capture(failed)
    first = scene.classify(failed).backoff_seconds
    assert 0 <= first <= min(base + more, base * factor**attempt)
    assert scene.classify(failed).backoff_seconds == first


def test_the_backoff_is_never_rounded_over_the_ceiling() -> None:
    for count in range(1, 12):
        scene = Scene(backoff={"base_seconds": 1.9, "max_seconds": 1.9})
        failed = incident(notice_of(scene.produce(*[b"{}"] * count)))
        scene.capture(failed)
        assert scene.classify(failed).backoff_seconds <= 1.9


def test_incidents_back_off_for_different_times() -> None:
    delays = set()
    for count in range(1, 30):
        scene = Scene(backoff={"base_seconds": 900, "max_seconds": 900})
        failed = incident(notice_of(scene.produce(*[b"{}"] * count)))
        scene.capture(failed)
        delays.add(scene.classify(failed).backoff_seconds)
    assert len(delays) > 20
    assert max(delays) - min(delays) > 450


def test_a_record_that_is_not_redriven_does_not_lengthen_the_backoff() -> None:
    def backoff(decoder: str) -> int:
        scene = Scene(decoder=decoder, backoff={"base_seconds": 0.5, "factor": 10, "max_seconds": 90})
        good, bad = scene.produce(b"{}", b"bad")
        scene.redriven_before(bad, 2)
        failed = incident(notice_of([good, bad]))
        scene.capture(failed)
        return scene.classify(failed).backoff_seconds

    assert backoff("json") == 0
    assert backoff("none") > 0


# Which notice covers what


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=1, max_size=12), st.sets(st.integers(0, 40)))
def test_a_numbers_notices_are_those_whose_range_holds_it(spans: list[tuple[int, int]], numbers: set[int]) -> None:
    notices = [
        Examined(str(first), str(first + more), index + 1, 1, Outcome.COMPLETE, "", None)
        for index, (first, more) in enumerate(spans)
    ]
    finder = NoticeFinder(notices)
    for number in sorted(numbers):
        expected = {n.size for n in notices if int(n.start) <= number <= int(n.end)}
        assert {n.size for n in finder.covering(str(number))} == expected
