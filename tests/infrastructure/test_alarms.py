"""Who is told about what: every alarm, and the section of the runbook that it names."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.infrastructure.templates import SynthesisedStack, readable

ALARM = "AWS::CloudWatch::Alarm"

# Metric, what it is measured on, threshold, section of the runbook.
ALARMS = {
    ("RecordsExpired", "service=Plain-StreamRedrive", 1, "records-expired"),
    ("IncidentsParked", "service=Plain-StreamRedrive", 1, "incident-parked"),
    ("PolicyInvalid", "service=Plain-StreamRedrive", 1, "policy-invalid"),
    ("RecordsNeedingAttention", "service=Plain-StreamRedrive", 1, "consumer-broken"),
    ("ExecutionsFailed", "StateMachineArn=WorkflowRedrive", 1, "execution-failed"),
    ("ExecutionsTimedOut", "StateMachineArn=WorkflowRedrive", 1, "execution-failed"),
    ("ExecutionsAborted", "StateMachineArn=WorkflowRedrive", 1, "execution-failed"),
    ("ExecutionThrottled", "StateMachineArn=WorkflowRedrive", 1, "execution-failed"),
    ("ExecutionsFailed", "StateMachineArn=CasesCase", 1, "case-failed"),
    ("ExecutionsTimedOut", "StateMachineArn=CasesCase", 1, "case-failed"),
    ("ExecutionsAborted", "StateMachineArn=CasesCase", 1, "case-failed"),
    ("Errors", "FunctionName=FunctionsSweepCases", 1, "case-sweep-errors"),
    ("OldestCaseSeconds", "service=Plain-StreamRedrive", 604_800, "oldest-case"),
    ("Errors", "FunctionName=FunctionsStartRedrive", 1, "start-redrive-errors"),
    ("ApproximateAgeOfOldestMessage", "QueueName=IntakeQueue", 1500, "intake-backlog"),
    ("ApproximateNumberOfMessagesVisible", "QueueName=IntakeDeadLetterQueue", 1, "intake-dlq"),
    ("ApproximateNumberOfMessagesVisible", "QueueName=PoisonQueue", 1, "poison-queue"),
    ("ApproximateAgeOfOldestMessage", "QueueName=PoisonQueue", 864_000, "poison-queue"),
    ("DestinationDeliveryFailures", "FunctionName=orders", 1, "delivery-failures"),
    ("DestinationDeliveryFailures", "FunctionName=refunds", 1, "delivery-failures"),
}


def summary(alarm: Mapping[str, Any]) -> tuple[str, str, float, str]:
    [dimension] = alarm["Dimensions"]
    value = readable(dimension["Value"]).rsplit("-", 1)[0]  # the unique part of the service's name
    section = alarm["AlarmDescription"].partition("docs/operations.md#")[2]
    return alarm["MetricName"], f"{dimension['Name']}={value}", alarm["Threshold"], section


def test_whatever_needs_a_person_has_an_alarm_that_names_its_runbook(plain: SynthesisedStack) -> None:
    alarms = [summary(alarm) for alarm in plain.of_type(ALARM).values()]
    assert set(alarms) == ALARMS
    assert len(alarms) == len(ALARMS)


def test_every_alarm_goes_off_at_once_and_silence_is_good_news(plain: SynthesisedStack) -> None:
    for alarm in plain.of_type(ALARM).values():
        assert alarm["EvaluationPeriods"] == 1
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
        is_level = alarm["Namespace"] == "AWS/SQS" or alarm["MetricName"] == "OldestCaseSeconds"
        assert alarm["Statistic"] == ("Maximum" if is_level else "Sum")


def test_the_metrics_are_those_that_the_functions_write(plain: SynthesisedStack) -> None:
    ours = {alarm["Namespace"] for alarm in plain.of_type(ALARM).values() if not alarm["Namespace"].startswith("AWS/")}
    written = {
        (found["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"]) for found in plain.functions().values()
    }
    assert ours == written
    services = {found["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] for found in plain.functions().values()}
    watched = {
        dimension["Value"]
        for alarm in plain.of_type(ALARM).values()
        for dimension in alarm["Dimensions"]
        if dimension["Name"] == "service"
    }
    assert watched == services


@pytest.mark.parametrize("moment", ["AlarmActions", "OKActions"])
def test_your_topic_hears_of_every_alarm(stacks: Mapping[str, SynthesisedStack], moment: str) -> None:
    for alarm in stacks["Own"].of_type(ALARM).values():
        assert [readable(topic) for topic in alarm[moment]] == ["OnCall"]


def test_without_a_topic_nobody_is_called(plain: SynthesisedStack) -> None:
    assert not [alarm for alarm in plain.of_type(ALARM).values() if "AlarmActions" in alarm]
