"""The scenarios: what each produces, how its consumer is fed, what breaks meanwhile, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream_redrive_cli.lab import inputs
from stream_redrive_cli.lab.emulator.faults import Fault
from stream_redrive_cli.lab.inputs import Generator, Input
from stream_redrive_cli.lab.people import OPERATORS

QUICK_BACKOFF = {"base_seconds": 1, "factor": 2, "max_seconds": 4}
INTAKE_WINDOW_SECONDS = 1
STORE_OPERATIONS = ("BatchWriteItem", "PutItem")


class Stage(Protocol):
    """What a scenario's play can do while it runs."""

    def produce(self, inputs: Sequence[Input]) -> None:
        """Put the records into the scenario's stream."""

    def fault(self, name: str, fault: Fault) -> AbstractContextManager[Fault]:
        """Break something as long as the block runs."""

    def wait(self, seconds: float) -> None:
        """Let time pass; ends early when the run's own time is up."""

    def wait_for_given_up(self, records: int, at_most: float) -> None:
        """Wait until the consumer's mapping has given up this many more records."""


Play = Callable[["Scenario", Stage, Sequence[Input]], None]


@dataclass(frozen=True)
class Scenario:
    """One scenario. `policy` is the consumer's redrive policy; `healed_share` is which part of the records must at
    least have been healed for the scenario to have made its point (None: nothing may fail at all). `intake_window`:
    seconds for which StartRedrive's mapping gathers notices. `reports`: the consumer reports why records failed.
    `filters`: patterns of the consumer's mapping, as plain objects. `bisects`: whether that mapping halves a batch
    that failed; a batch that fails whole is what leaves strangers in its range.
    `probe`: the service may invoke the consumer to find out which of its records fail.
    """

    name: str
    summary: str
    consumer: str
    records: int
    generate: Generator
    play: Play
    shards: int = 1
    batch_size: int = 100
    retry_attempts: int = 1
    healed_share: float | None = 0.0
    intake_window: int = INTAKE_WINDOW_SECONDS
    policy: dict[str, Any] = field(default_factory=dict)
    reports: bool = False
    filters: tuple[Mapping[str, Any], ...] = ()
    parallelization_factor: int = 1
    bisects: bool = True
    probe: bool = False

    @property
    def function_name(self) -> str:
        return f"lab-{self.name}"

    @property
    def stream_name(self) -> str:
        return f"lab-{self.name}"

    @property
    def sink_table(self) -> str:
        return f"lab-{self.name}-sink"


def just_produce(scenario: Scenario, stage: Stage, records: Sequence[Input]) -> None:
    stage.produce(records)


def sink_down_half_way(scenario: Scenario, stage: Stage, records: Sequence[Input]) -> None:
    half = len(records) // 2
    stage.produce(records[:half])
    stage.wait(2)
    with stage.fault("the sink is down", sink_fault(scenario, "InternalServerError", status=500)):
        stage.produce(records[half:])
        stage.wait_for_given_up(min(half, max(5, len(records) // 40)), at_most=10)


def sink_down_for_long(scenario: Scenario, stage: Stage, records: Sequence[Input]) -> None:
    with stage.fault("the sink is down", sink_fault(scenario, "InternalServerError", status=500)):
        stage.produce(records)
        stage.wait_for_given_up(len(records) * 2 // 3, at_most=150)


def sink_down_for_all(scenario: Scenario, stage: Stage, records: Sequence[Input]) -> None:
    with stage.fault("the sink is down", sink_fault(scenario, "InternalServerError", status=500)):
        stage.produce(records)
        stage.wait_for_given_up(len(records), at_most=60)


def sink_throttles(scenario: Scenario, stage: Stage, records: Sequence[Input]) -> None:
    code = "ProvisionedThroughputExceededException"
    with stage.fault("the sink throttles every write", sink_fault(scenario, code)):
        stage.produce(records)
        stage.wait_for_given_up(max(1, len(records) // 10), at_most=10)
    # A hot partition: the writes of some keys are throttled, the others go through.
    with stage.fault("the sink throttles hot keys", sink_fault(scenario, code, key=inputs.HOT_SENSOR)):
        stage.wait_for_given_up(max(1, len(records) // 40), at_most=10)


def sink_fault(scenario: Scenario, code: str, *, status: int = 400, key: str = "") -> Fault:
    return Fault(
        service="dynamodb",
        operations=STORE_OPERATIONS,
        code=code,
        status=status,
        # The consumer's session carries its function's name; the table has no other writer but the lab itself.
        principal=f"/{scenario.function_name}",
        resource=key,
    )


ORDER_SCHEMA = {
    "type": "object",
    "required": ["order_id", "customer", "quantity", "unit_price"],
    "properties": {
        "order_id": {"type": "string", "minLength": 1},
        "customer": {"type": "string", "minLength": 1},
        "quantity": {"type": "integer", "minimum": 1},
        "unit_price": {"type": "number", "exclusiveMinimum": 0},
    },
}

MESSAGE_SCHEMA = {"type": "object", "required": ["quantity"], "properties": {"quantity": {"type": "integer"}}}

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="flights",
            summary="real flights; the cancelled ones break the consumer, and half-way its sink is down",
            consumer="average_speed",
            records=2000,
            generate=inputs.flights,
            play=sink_down_half_way,
            shards=4,
            healed_share=0.01,
            policy={"max_attempts": 3},
        ),
        Scenario(
            name="no-poison-pill",
            summary="three good messages pass untouched",
            consumer="store_messages",
            records=3,
            generate=inputs.good_messages,
            play=just_produce,
            healed_share=None,
        ),
        Scenario(
            name="poison-pill",
            summary="three messages, one of them a poison pill",
            consumer="store_messages",
            records=3,
            generate=inputs.poisoned_messages,
            play=just_produce,
        ),
        Scenario(
            name="data-checks",
            summary="orders with several kinds of bad data; a JSON Schema tells them",
            consumer="check_orders",
            records=100,
            generate=inputs.orders,
            play=just_produce,
            shards=2,
            policy={"decoder": "json", "schema": ORDER_SCHEMA},
        ),
        Scenario(
            name="poison-pill-reported",
            summary="the same three messages; the consumer reports why the pill failed",
            consumer="store_messages_reported",
            records=3,
            generate=inputs.poisoned_messages,
            play=just_produce,
            reports=True,
        ),
        Scenario(
            name="data-checks-reported",
            summary="the same orders without a schema; the consumer reports why each failed",
            consumer="check_orders_reported",
            records=100,
            generate=inputs.orders,
            play=just_produce,
            shards=2,
            reports=True,
        ),
        Scenario(
            name="filtered",
            summary="whole batches fail, and between their records lie others that a filter keeps from the consumer",
            consumer="store_messages",
            records=200,
            generate=inputs.filtered_messages,
            play=sink_down_half_way,
            batch_size=10,
            retry_attempts=0,
            healed_share=0.05,
            policy={"max_attempts": 6, "decoder": "json", "schema": MESSAGE_SCHEMA},
            filters=({"data": {"type": ["task"]}},),
            bisects=False,
        ),
        Scenario(
            name="lanes",
            summary="whole batches fail in one of two lanes or in both; the sink is down half-way",
            consumer="check_orders",
            records=200,
            generate=inputs.orders_of_two_branches,
            play=sink_down_half_way,
            batch_size=10,
            retry_attempts=0,
            healed_share=0.05,
            policy={"max_attempts": 6, "decoder": "json", "schema": ORDER_SCHEMA},
            parallelization_factor=2,
            bisects=False,
        ),
        Scenario(
            name="poison-pill-probed",
            summary="the sink is down until every message has failed; the probe then tells the pill from the others",
            consumer="store_messages",
            records=8,
            generate=inputs.poisoned_messages,
            play=sink_down_for_all,
            healed_share=0.8,
            # All that failed shall be one incident, which begins when the sink is up again.
            intake_window=10,
            policy={"log": "off", "probe": {"enabled": True}},
            probe=True,
        ),
        Scenario(
            name="throttled-sink",
            summary="the sink throttles for a while, every write and then those of hot keys",
            consumer="clean_readings",
            records=200,
            generate=inputs.readings,
            play=sink_throttles,
            shards=2,
            batch_size=10,
            healed_share=0.05,
            policy={"max_attempts": 6},
        ),
        Scenario(
            name="outage",
            summary="the sink is down until most of the good records have failed; all of them are healed",
            consumer="store_messages",
            records=3000,
            generate=inputs.good_messages,
            play=sink_down_for_long,
            shards=4,
            # Bisection alone gives each record of a hundred seven or eight tries.
            retry_attempts=0,
            healed_share=0.5,
            # As on AWS, nearly: thousands of notices shall become a handful of executions.
            intake_window=10,
            # Long enough that the records of an outage don't spin: each round costs the whole bisection again.
            policy={"max_attempts": 10, "backoff": {"base_seconds": 20, "factor": 2, "max_seconds": 30}},
        ),
    )
}

POLICY = {
    "default": {
        "max_attempts": 2,
        "backoff": QUICK_BACKOFF,
        "confirm_after_seconds": 5,
        "approval": {"approvers": [f"user/{name}" for name in OPERATORS]},
    },
    "consumers": {scenario.function_name: scenario.policy for scenario in SCENARIOS.values() if scenario.policy},
}
