"""What the scenarios produce."""

from __future__ import annotations

import base64
import json

import pytest

from stream_redrive.core.event_filter import RecordFilter
from stream_redrive_cli.errors import UsageError
from stream_redrive_cli.lab import inputs
from stream_redrive_cli.lab.inputs import Fate
from stream_redrive_cli.lab.mapping.lane import lane_of
from stream_redrive_cli.lab.scenarios import SCENARIOS, Scenario

scenarios = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


@scenarios
def test_the_same_seed_gives_the_same_input(scenario: Scenario) -> None:
    assert scenario.generate(scenario.records, 7) == scenario.generate(scenario.records, 7)


@scenarios
def test_another_seed_gives_another_input(scenario: Scenario) -> None:
    assert scenario.generate(scenario.records, 7) != scenario.generate(scenario.records, 8)


@scenarios
def test_a_scenario_produces_as_many_records_as_asked_for(scenario: Scenario) -> None:
    assert len(scenario.generate(40, 1)) == 40


@scenarios
def test_each_good_record_becomes_an_item_of_its_own(scenario: Scenario) -> None:
    records = scenario.generate(scenario.records, 3)
    keys = [record.item["id"] for record in records if record.item is not None]
    assert len(set(keys)) == len(keys) == sum(record.fate is Fate.SINK for record in records)


@scenarios
def test_what_kinesis_would_refuse_is_never_produced(scenario: Scenario) -> None:
    for record in scenario.generate(scenario.records, 1):
        assert 0 < len(record.data) <= 1024 * 1024
        assert 0 < len(record.partition_key) <= 256


def test_a_flight_without_air_time_is_poison_and_any_other_is_not() -> None:
    records = inputs.flights(2000, 1)
    without_air_time = [json.loads(record.data)["air_time"] is None for record in records]
    assert [record.fate is Fate.QUARANTINE for record in records] == without_air_time
    assert any(without_air_time)


def test_a_flight_keeps_its_bytes_of_the_data_file() -> None:
    assert json.loads(inputs.flights(1, 1)[0].data)["year"] == 2013


def test_more_flights_than_there_are_is_refused() -> None:
    with pytest.raises(UsageError, match="20000 flights"):
        inputs.flights(20_001, 1)


@pytest.mark.parametrize("records", [1, 2, 3, 50])
def test_there_is_one_poison_pill_however_many_messages(records: int) -> None:
    fates = [record.fate for record in inputs.poisoned_messages(records, 5)]
    assert fates.count(Fate.QUARANTINE) == 1


@pytest.mark.parametrize("records", [4, 10, 100])
def test_every_kind_of_bad_data_occurs(records: int) -> None:
    kinds = {record.kind for record in inputs.orders(records, 2) if record.fate is Fate.QUARANTINE}
    assert kinds == set(inputs.BAD_ORDERS)


def test_data_checks_with_too_few_records_for_its_kinds_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        inputs.orders(3, 1)


def test_readings_have_unclean_ones_and_hot_sensors() -> None:
    records = inputs.readings(200, 1)
    assert {record.fate for record in records} == {Fate.SINK, Fate.DROPPED}
    assert any(record.item and str(record.item["id"]).startswith(inputs.HOT_SENSOR) for record in records)


def test_filtered_messages_are_of_every_kind_and_the_filter_keeps_the_notes_away() -> None:
    [pattern] = SCENARIOS["filtered"].filters
    admits = RecordFilter.parse([json.dumps(pattern)]).admits
    records = inputs.filtered_messages(200, 1)
    assert {record.fate for record in records} == {Fate.SINK, Fate.QUARANTINE, Fate.FILTERED}
    for record in records:
        entry = {"eventSource": "aws:kinesis", "kinesis": {"data": base64.b64encode(record.data).decode()}}
        assert admits(entry) is (record.fate is not Fate.FILTERED)


def test_the_branches_are_in_different_lanes() -> None:
    scenario = SCENARIOS["lanes"]
    keys = {record.partition_key for record in scenario.generate(scenario.records, 1)}
    assert {lane_of(key, scenario.parallelization_factor) for key in keys} == {0, 1}
