"""The main job, end to end: every scenario ends with every record accounted for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stream_redrive_cli.lab.emulator.faults import Fault
from stream_redrive_cli.lab.inputs import Fate
from stream_redrive_cli.lab.scenarios import SCENARIOS
from tests.e2e.conftest import Lab, eventually

pytestmark = pytest.mark.lab

FIELDS = {
    *("scenario", "produced", "consumed", "captured", "redriven", "healed", "quarantined", "expired", "lost"),
    *("duplicates", "poison_messages", "executions", "state_transitions", "seconds", "aws_calls", "ok"),
}


def assert_all_accounted_for(report: dict[str, Any]) -> None:
    assert report["ok"]
    assert (report["lost"], report["duplicates"], report["expired"]) == (0, 0, 0)
    assert report["produced"] == report["consumed"] + report["quarantined"]


def poison_in(scenario: str) -> int:
    chosen = SCENARIOS[scenario]
    return sum(record.fate is Fate.QUARANTINE for record in chosen.generate(chosen.records, 1))


def test_every_good_flight_is_healed_and_every_cancelled_one_quarantined(lab: Lab) -> None:
    code, report = lab.run("flights")
    assert code == 0
    assert_all_accounted_for(report)
    assert report["produced"] == 2000
    assert report["quarantined"] == report["poison_messages"] == poison_in("flights") > 0
    assert report["healed"] > 0


def test_good_messages_pass_untouched(lab: Lab) -> None:
    _, report = lab.run("no-poison-pill")
    assert_all_accounted_for(report)
    assert (report["consumed"], report["captured"], report["executions"], report["aws_calls"]) == (3, 0, 0, {})


def test_a_poison_pill_is_isolated_and_quarantined(lab: Lab) -> None:
    _, report = lab.run("poison-pill")
    assert_all_accounted_for(report)
    assert (report["consumed"], report["quarantined"], report["poison_messages"]) == (2, 1, 1)


def test_a_reported_poison_pill_is_quarantined_without_a_redrive(lab: Lab) -> None:
    _, report = lab.run("poison-pill-reported")
    assert_all_accounted_for(report)
    assert (report["quarantined"], report["redriven"], report["executions"]) == (1, 0, 1)


def test_reported_bad_data_of_every_kind_is_quarantined_without_a_redrive_and_without_a_schema(lab: Lab) -> None:
    _, report = lab.run("data-checks-reported")
    assert_all_accounted_for(report)
    assert report["quarantined"] == poison_in("data-checks-reported")
    assert report["redriven"] == 0


def test_a_probe_finds_the_poison_pill_and_processes_the_others_without_a_redrive(lab: Lab) -> None:
    _, report = lab.run("poison-pill-probed")
    assert_all_accounted_for(report)
    assert (report["healed"], report["quarantined"], report["redriven"]) == (7, 1, 0)
    assert report["aws_calls"]["lambda.Invoke"] == 8


def test_bad_data_of_every_kind_is_quarantined_by_the_schema_without_a_redrive(lab: Lab) -> None:
    _, report = lab.run("data-checks")
    assert_all_accounted_for(report)
    assert report["quarantined"] == poison_in("data-checks")
    assert report["redriven"] == 0


def test_what_a_throttling_sink_refused_is_healed(lab: Lab) -> None:
    _, report = lab.run("throttled-sink")
    assert_all_accounted_for(report)
    assert report["healed"] > 0
    assert report["quarantined"] == 0


def test_thousands_of_good_records_of_an_outage_are_healed(lab: Lab) -> None:
    _, report = lab.run("outage")
    assert_all_accounted_for(report)
    assert report["healed"] > 1000
    assert report["quarantined"] == 0
    # An execution a notice would be thousands, and each of them a dozen transitions.
    assert report["executions"] < report["healed"] / 10


def test_the_report_has_the_fields_of_the_contract_and_counts_our_calls_only(lab: Lab) -> None:
    _, report = lab.run("poison-pill", "--records", "5", "--seed", "4")
    assert report.keys() == FIELDS
    assert report["scenario"] == "poison-pill"
    assert report["produced"] == 5
    assert report["state_transitions"] >= 10 * report["executions"] > 0
    # The pill opens a case, unless one of its kind is open already.
    assert report["aws_calls"]["stepfunctions.StartExecution"] - report["executions"] in (0, 1)
    # The consumer's writes and the mapping's invocations are not ours.
    assert "lambda.Invoke" not in report["aws_calls"]
    assert report["aws_calls"]["sqs.SendMessageBatch"] == 1


@pytest.mark.parametrize(
    ("scenario", "construct", "service", "operation"),
    [
        ("throttled-sink", "RedriveRecords", "kinesis", "PutRecords"),
        ("poison-pill", "CaptureRecords", "dynamodb", "TransactWriteItems"),
        ("poison-pill", "QuarantineRecords", "sqs", "SendMessageBatch"),
    ],
)
def test_an_answer_that_is_lost_doubles_nothing(
    lab: Lab, scenario: str, construct: str, service: str, operation: str
) -> None:
    cut = Fault(
        service=service,
        operations=(operation,),
        principal=lab.function(construct)["FunctionName"],
        code="ServiceUnavailable",
        status=503,
        times=1,
        moment="after",
    )
    with lab.control.fault(cut):
        _, report = lab.run(scenario)
    assert lab.control.struck()[cut.id] == 1
    assert_all_accounted_for(report)


def test_a_run_that_is_not_ok_says_so_by_its_exit_code(lab: Lab) -> None:
    # No capture is possible until the run gives up.
    capture = lab.function("CaptureRecords")["FunctionName"]
    nothing_read = Fault(service="kinesis", code="ProvisionedThroughputExceededException", principal=capture)
    since = time.time()
    with lab.control.fault(nothing_read):
        code, report = lab.run("poison-pill", "--timeout", "8")
    assert code == 255
    assert not report["ok"]
    assert report["lost"] == 1
    # What the run gave up on still comes to its end; the next test shall not meet it.
    eventually(lambda: lab.messages(lab.state.outputs["PoisonQueueUrl"], since), seconds=120)
    eventually(lambda: not running(lab))


def running(lab: Lab) -> list[Any]:
    machine = lab.state.outputs["RedriveStateMachineArn"]
    return list(
        lab.clients.stepfunctions.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
    )


def test_strangers_that_a_filter_kept_away_are_neither_redriven_nor_quarantined(lab: Lab) -> None:
    _, report = lab.run("filtered")
    assert_all_accounted_for(report)
    assert report["quarantined"] == poison_in("filtered") > 0
    assert report["healed"] > 0


def test_failed_batches_of_lanes_are_told_from_the_records_between_them(lab: Lab) -> None:
    _, report = lab.run("lanes")
    assert_all_accounted_for(report)
    assert report["quarantined"] == poison_in("lanes") > 0
    assert report["healed"] > 0
