"""Evidence: what is asked of whom about a failed batch, and what a verdict makes of it."""

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest

from stream_redrive.core.errors import AccessDenied, ServiceBusy
from stream_redrive.core.incident import Incident
from stream_redrive.core.policy import Verdict
from stream_redrive.core.ports import LoggedError
from stream_redrive.core.records import Origin, StreamRecord
from stream_redrive.core.reports import FailureReport
from tests.support.build import FAILED, incident, notice_of
from tests.support.redriving import redrive_until_done
from tests.support.scene import STREAM_NAME, Scene

KEY_ERROR = LoggedError("KeyError", "'tail'", "[ERROR] KeyError: 'tail'")
ZERO = LoggedError("ZeroDivisionError", "division by zero", "[ERROR] ZeroDivisionError: division by zero")
THROTTLED = LoggedError("ClientError", "An error occurred (ThrottlingException) when calling PutItem: no", "")
UNKNOWN = LoggedError("OrderRejected", "no", "")
TIMED_OUT = LoggedError("Sandbox.Timedout", "Task timed out after 3.00 seconds", "")
KILLED = LoggedError("Runtime.ExitError", "signal: killed", "")
GOOD = b'{"tail": "N14228"}'


class Case:
    """A scene whose consumer logs."""

    def __init__(self, **policy: Any) -> None:
        self.scene = Scene(**policy)

    def fail(self, *batches: list[StreamRecord], logs: dict[int, list[LoggedError]], **fields: Any) -> Incident:
        """Fail batches, each in a request of its own. logs: what each left in the log."""
        number = len(self.scene.log.errors)
        names = [f"request-{number}-{index}" for index in range(len(batches))]
        self.scene.log.errors |= {name: logs.get(index, []) for index, name in enumerate(names)}
        failed = incident(
            *(notice_of(batch, request_id=name, **fields) for batch, name in zip(batches, names, strict=True))
        )
        self.scene.capture(failed)
        return failed

    def verdicts(self, failed: Incident) -> list[tuple[str, str]]:
        self.scene.classify(failed)
        return [(v.verdict.value, v.rule) for v in self.scene.verdicts(failed)]

    def report(self, record: StreamRecord, error: Exception) -> None:
        held = self.scene.ledger.reports.setdefault(("orders", STREAM_NAME, record.shard_id), {})
        held[int(record.sequence_number)] = FailureReport.of(error, FAILED)

    def again(self, failed: Incident) -> list[StreamRecord]:
        """Redrive the incident's transient records; where they are now."""
        before = len(next(iter(self.scene.stream.records.values())))
        redrive_until_done(self.scene, failed)
        return next(iter(self.scene.stream.records.values()))[before:]


# The log of a record that failed alone


def test_the_logged_error_of_a_record_that_failed_alone_is_its_own() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(b"{}"), logs={0: [KEY_ERROR]})
    assert case.verdicts(failed) == [("poison", "logic-error")]
    [verdict] = case.scene.verdicts(failed)
    assert {name: verdict.evidence[name] for name in ("error_type", "message", "source", "confidence")} == {
        "error_type": "KeyError",
        "message": "<value>",
        "source": "log",
        "confidence": "certain",
    }


def test_of_several_errors_the_last_one_ended_the_invocation() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(b"{}"), logs={0: [THROTTLED, KEY_ERROR]})
    assert case.verdicts(failed) == [("poison", "logic-error")]


def test_an_error_that_no_rule_knows_is_left_to_the_policy() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(b"{}"), logs={0: [UNKNOWN]})
    assert case.verdicts(failed) == [("transient", "default")]
    assert "no rule knows OrderRejected" in case.scene.verdicts(failed)[0].reason


def test_the_log_is_read_once_for_the_whole_incident() -> None:
    case = Case()
    produced = case.scene.produce(*[b"{}"] * 1200)
    failed = case.fail(*([record] for record in produced), logs={})
    case.verdicts(failed)
    assert case.scene.log.calls == 1


def test_the_log_is_not_read_where_payload_and_reports_say_enough() -> None:
    case = Case(decoder="json")
    bad, reported = case.scene.produce(b"bad", b"{}")
    case.report(reported, KeyError("tail"))
    failed = case.fail([bad], [reported], logs={})
    assert case.verdicts(failed) == [("poison", "payload-decode"), ("poison", "logic-error")]
    assert case.scene.log.calls == 0


def test_a_policy_can_leave_the_log_alone() -> None:
    case = Case(log="off")
    failed = case.fail(case.scene.produce(b"{}"), logs={0: [KEY_ERROR]})
    assert case.verdicts(failed) == [("transient", "default")]
    assert case.scene.log.calls == 0


def test_a_report_wins_over_the_log() -> None:
    case = Case()
    [record] = case.scene.produce(b"{}")
    case.report(record, ConnectionRefusedError(111, "Connection refused"))
    failed = case.fail([record], logs={0: [KEY_ERROR]})
    assert case.verdicts(failed) == [("transient", "unreachable")]
    assert case.scene.verdicts(failed)[0].evidence["source"] == "report"


@pytest.mark.parametrize("fault", [AccessDenied("logs:FilterLogEvents"), ServiceBusy("logs")])
def test_a_log_that_cannot_be_read_is_no_evidence_and_the_verdict_says_so(fault: Exception) -> None:
    case = Case()
    failed = case.fail(case.scene.produce(b"{}", b"{}"), logs={0: [KEY_ERROR]})
    case.scene.log.fault = fault
    result = case.scene.classify(failed)
    assert (result.log_unreadable, result.verdicts["transient"]) == (True, 2)
    for verdict in case.scene.verdicts(failed):
        assert verdict.reason.endswith("the consumer's log could not be read")
        assert verdict.evidence["log"] == type(fault).__name__
        assert "source" not in verdict.evidence


def test_a_record_that_needs_no_log_says_nothing_of_it() -> None:
    case = Case(decoder="json")
    failed = case.fail(case.scene.produce(b"bad", b"{}"), logs={})
    case.scene.log.fault = AccessDenied("logs:FilterLogEvents")
    case.scene.classify(failed)
    bad, _ = case.scene.verdicts(failed)
    assert "log" not in bad.evidence


# The log of a batch


def test_an_error_that_is_no_records_fault_speaks_for_the_whole_batch() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(*[GOOD] * 5), logs={0: [THROTTLED]})
    assert case.verdicts(failed) == [("transient", "throttled")] * 5


def test_a_suspect_of_a_batch_is_poison_and_the_others_are_not_suspected() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(GOOD, b'{"hull": 1}', GOOD, GOOD), logs={0: [KEY_ERROR]})
    others = ("transient", "not-suspected")
    assert case.verdicts(failed) == [others, ("poison", "logic-error"), others, others]
    suspect, other = (case.scene.verdicts(failed)[index] for index in (1, 0))
    assert "lacks the key that the error names" in suspect.reason
    assert (suspect.evidence["source"], suspect.evidence["confidence"]) == ("log", "likely")
    assert "error_type" not in other.evidence


def test_an_error_and_a_shortage_in_one_batch_each_have_their_records() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(GOOD, b'{"hull": 1}', GOOD, GOOD), logs={0: [KEY_ERROR, THROTTLED]})
    others = ("transient", "throttled")
    assert case.verdicts(failed) == [others, ("poison", "logic-error"), others, others]


def test_a_batch_of_which_nothing_tells_who_failed_it_is_sent_again_once() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(*[GOOD] * 5), logs={0: [ZERO]})
    assert case.verdicts(failed) == [("transient", "batch-error")] * 5
    again = case.again(failed)
    assert len(again) == 5
    once_more = case.fail(again, logs={0: [ZERO]})
    assert case.verdicts(once_more) == [("held", "batch-error-again")] * 5


def test_a_batch_that_fails_with_another_error_is_sent_once_more() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(*[GOOD] * 5), logs={0: [ZERO]})
    case.verdicts(failed)
    other = LoggedError("IntegrityError", "UNIQUE constraint failed", "")
    assert case.verdicts(case.fail(case.again(failed), logs={0: [other]})) == [("transient", "batch-error")] * 5


def test_seen_alone_the_record_that_failed_its_batch_is_poison() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(*[GOOD] * 5), logs={0: [ZERO]})
    case.verdicts(failed)
    again = case.again(failed)
    assert case.verdicts(case.fail(again[2:3], logs={0: [ZERO]})) == [("poison", "logic-error")]


def test_a_bad_payload_is_told_by_itself_whatever_the_batch_failed_with() -> None:
    case = Case(decoder="json")
    failed = case.fail(case.scene.produce(GOOD, b"bad", GOOD), logs={0: [ZERO]})
    batch = ("transient", "batch-error")
    assert case.verdicts(failed) == [batch, ("poison", "payload-decode"), batch]


def test_a_rule_of_ones_own_that_names_an_error_blames_no_batch_for_it() -> None:
    rule = {"id": "mine", "when": {"error_type": "OrderRejected"}, "then": "held", "reason": "look at it"}
    case = Case(rules=[rule])
    failed = case.fail(case.scene.produce(GOOD), case.scene.produce(GOOD, GOOD), logs={0: [UNKNOWN], 1: [UNKNOWN]})
    assert case.verdicts(failed) == [("held", "mine"), *[("transient", "batch-error")] * 2]


def test_reports_of_some_of_a_batch_speak_for_the_others() -> None:
    case = Case()
    batch = case.scene.produce(GOOD, b'{"hull": 1}', GOOD)
    case.report(batch[0], KeyError("tail"))
    failed = case.fail(batch, logs={0: [KEY_ERROR]})
    not_reported = ("transient", "not-reported")
    assert case.verdicts(failed) == [("poison", "logic-error"), not_reported, not_reported]
    assert case.scene.log.calls == 0


# Outages


def test_many_batches_with_one_error_are_an_outage_and_one_batch_is_none() -> None:
    case = Case()
    many = case.fail(*(case.scene.produce(*[GOOD] * 6) for _ in range(2)), logs={0: [ZERO], 1: [ZERO]})
    assert case.verdicts(many) == [("transient", "everything-fails")] * 12
    assert case.scene.classify(many).alarming == 12
    one = case.fail(case.scene.produce(*[GOOD] * 12), logs={0: [ZERO]})
    assert case.verdicts(one) == [("transient", "batch-error")] * 12


def test_a_suspect_counts_as_one_record_and_not_as_its_batch() -> None:
    case = Case()
    batch, alone = case.scene.produce(*[GOOD] * 12, b'{"hull": 1}'), case.scene.produce(b'{"hull": 2}')
    failed = case.fail(batch, alone, logs={0: [KEY_ERROR], 1: [KEY_ERROR]})
    assert case.verdicts(failed)[-2:] == [("poison", "logic-error")] * 2


def test_what_is_read_of_a_long_log_stands_for_the_rest() -> None:
    case = Case()
    produced = case.scene.produce(*[GOOD] * 60)
    failed = case.fail(*([record] for record in produced), logs={number: [ZERO] for number in range(20, 40)})
    verdicts = case.verdicts(failed)
    assert verdicts[20:40] == [("transient", "everything-fails")] * 20


# The same error again


def test_a_redriven_copy_knows_the_error_that_it_was_sent_again_for() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(GOOD, GOOD), logs={0: [THROTTLED]})
    case.verdicts(failed)
    names = {
        case.scene.ledger.lineage[STREAM_NAME, Origin(copy.shard_id, copy.sequence_number)].last_error
        for copy in case.again(failed)
    }
    assert names == {FailureReport.of(type("ClientError", (Exception,), {})(THROTTLED.message), FAILED).fingerprint}


def test_a_record_that_kills_the_consumer_again_alone_is_poison() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(GOOD), logs={0: [KILLED]})
    assert case.verdicts(failed) == [("transient", "consumer-killed")]
    again = case.again(failed)
    assert case.verdicts(case.fail(again, logs={0: [KILLED]})) == [("poison", "kills-the-consumer")]


def test_a_batch_that_kills_the_consumer_again_is_no_proof_against_any_of_its_records() -> None:
    case = Case()
    failed = case.fail(case.scene.produce(GOOD, GOOD), logs={0: [KILLED]})
    case.verdicts(failed)
    again = case.fail(case.again(failed), logs={0: [KILLED]})
    assert case.verdicts(again) == [("transient", "consumer-killed")] * 2


@pytest.mark.parametrize(("others", "rule"), [(0, "timed-out"), (1, "timed-out-again")])
def test_a_time_limit_that_is_reached_again_is_a_slow_service_unless_others_go_through(others: int, rule: str) -> None:
    case = Case()
    [slow] = case.scene.produce(GOOD)
    failed = case.fail([slow], logs={0: [TIMED_OUT]})
    assert case.verdicts(failed) == [("transient", "timed-out")]
    [again] = case.again(failed)
    case.scene.produce(*[GOOD] * others)
    [other] = case.scene.produce(GOOD)
    second = case.fail([again], [other], logs={0: [TIMED_OUT], 1: [THROTTLED] if others else [TIMED_OUT]})
    assert case.verdicts(second)[0][1] == rule


# The probe

PROBED = {"log": "off", "probe": {"enabled": True}}


def refuse_bad(event: Mapping[str, Any]) -> None:
    """A consumer that takes one record after the other."""
    for entry in event["Records"]:
        json.loads(b64decode(entry["kinesis"]["data"]))


def test_the_probe_tells_who_of_a_batch_fails_and_heals_the_others() -> None:
    case = Case(**PROBED)
    case.scene.consumer.handler = refuse_bad
    failed = case.fail(case.scene.produce(GOOD, b"bad", GOOD), logs={})
    processed = ("transient", "probe-processed")
    assert case.verdicts(failed) == [processed, ("poison", "undecodable"), processed]
    good, bad, _ = case.scene.verdicts(failed)
    assert (good.settled, good.evidence["source"]) == (True, "probe")
    assert (bad.evidence["source"], bad.evidence["confidence"], bad.evidence["batch_size"]) == ("probe", "certain", 1)
    result = case.scene.classify(failed)
    assert (result.processed, result.redrive, result.verdicts) == (2, False, {"transient": 2, "poison": 1, "held": 0})
    assert len(case.scene.consumer.events) == 3, "what is settled is not probed again"


def test_only_what_is_undecided_is_probed() -> None:
    case = Case(decoder="json", probe={"enabled": True})
    bad, throttled, unclear = case.scene.produce(b"bad", GOOD, b'{"tail": "unclear"}')
    failed = case.fail([bad], [throttled], [unclear], logs={1: [THROTTLED]})
    assert case.verdicts(failed) == [
        ("poison", "payload-decode"),
        ("transient", "throttled"),
        ("transient", "probe-processed"),
    ]
    [event] = case.scene.consumer.events
    assert [b64decode(entry["kinesis"]["data"]) for entry in event["Records"]] == [b'{"tail": "unclear"}']


def test_in_an_outage_the_consumer_is_left_alone() -> None:
    case = Case(probe={"enabled": True})
    down, unclear = case.scene.produce(*[GOOD] * 3), case.scene.produce(GOOD)
    failed = case.fail(*([record] for record in down), unclear, logs={n: [THROTTLED] for n in range(3)})
    assert case.verdicts(failed)[-1] == ("transient", "default")
    assert case.scene.consumer.events == []


def test_without_leave_nothing_is_probed() -> None:
    case = Case(log="off")
    failed = case.fail(case.scene.produce(GOOD), logs={})
    assert case.verdicts(failed) == [("transient", "default")]
    assert case.scene.consumer.events == []


# Contradictions

NEEDS_TAIL = {"schema": {"type": "object", "required": ["tail"]}}


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (Exception("An error occurred (ThrottlingException) when calling PutItem: no"), "contradicting"),
        (ModuleNotFoundError("No module named 'orders'"), "payload-schema"),
        (KeyError("tail"), "payload-schema"),
    ],
)
def test_a_consumer_that_writes_what_the_schema_refuses_contradicts_it(error: Exception, rule: str) -> None:
    case = Case(**NEEDS_TAIL)
    [record] = case.scene.produce(b"{}")
    case.report(record, error)
    failed = case.fail([record], logs={})
    verdict = "held" if rule == "contradicting" else "poison"
    assert case.verdicts(failed) == [(verdict, rule)]


# Rules of one's own over the new evidence


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ({"invoke_count": {"at_least": 4}}, True),
        ({"invoke_count": 3}, False),
        ({"age_seconds": {"at_least": 60, "at_most": 60}}, True),
        ({"age_seconds": {"at_least": 61}}, False),
        ({"function_error": "Unhandled"}, True),
        ({"function_error": "Handled"}, False),
        ({"same_error": False}, True),
        ({"same_error": True}, False),
    ],
)
def test_a_rule_can_test_what_the_notice_and_the_lineage_say(when: dict[str, Any], matches: bool) -> None:
    case = Case(rules=[{"id": "mine", "when": when, "then": "held", "reason": "so"}])
    [record] = case.scene.produce(GOOD)
    failed = case.fail([record], logs={0: [THROTTLED]}, failed_at="2026-01-05T12:01:00.000Z")
    assert (case.verdicts(failed)[0][1] == "mine") is matches


def test_no_verdict_quotes_a_payload() -> None:
    case = Case()
    secret = LoggedError("ValueError", "invalid literal for int() with base 10: '4111-1111'", "card '4111-1111'")
    failed = case.fail(case.scene.produce(GOOD, b'{"tail": "4111-1111"}', GOOD), logs={0: [secret]})
    assert case.verdicts(failed)[1] == (Verdict.POISON, "logic-error")
    assert "4111" not in "".join(str(verdict.to_dict()) for verdict in case.scene.verdicts(failed))
