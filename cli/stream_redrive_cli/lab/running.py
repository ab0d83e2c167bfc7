"""Runs a scenario on a lab: clears its sink, plays it, waits until all is settled, and accounts for every record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from stream_redrive_cli.errors import CommandError
from stream_redrive_cli.lab.accounting import Account, Place, account
from stream_redrive_cli.lab.aws import LabClients
from stream_redrive_cli.lab.counters import MappingCounters, read_counters
from stream_redrive_cli.lab.deployment import SERVICE_STACK
from stream_redrive_cli.lab.directory import ACCOUNT, REGION, LabDirectory, LabState
from stream_redrive_cli.lab.emulator.client import EmulatorControl
from stream_redrive_cli.lab.emulator.faults import Fault
from stream_redrive_cli.lab.inputs import Input
from stream_redrive_cli.lab.observing import Observer
from stream_redrive_cli.lab.producing import calls, produce
from stream_redrive_cli.lab.progress import Progress
from stream_redrive_cli.lab.report import LabReport, Outcome
from stream_redrive_cli.lab.scenarios import INTAKE_WINDOW_SECONDS, Scenario

_POLL_SECONDS = 0.5
# How long everything may be quiet while records have no end, before the run gives up on them.
_QUIET_SECONDS = 15.0

Activity = tuple[object, ...]


class ScenarioRun:
    """One run; also the stage on which the scenario plays."""

    def __init__(
        self, lab: LabDirectory, state: LabState, scenario: Scenario, progress: Progress, timeout: float
    ) -> None:
        self._scenario = scenario
        self._lab = lab
        self._state = state
        self._clients = LabClients(state)
        self._control = EmulatorControl(state.endpoint, state.ca_bundle)
        self._progress = progress
        self._started = time.monotonic()
        self._deadline = self._started + timeout
        self._since = datetime.now(UTC) - timedelta(milliseconds=1)
        self._observer = Observer(self._clients, self._control, state.outputs, scenario, self._since)
        self._produced: dict[Place, Input] = {}
        self._counts_before = self._consumer_mapping().counts

    def run(self, records: int, seed: int) -> Outcome:
        scenario = self._scenario
        inputs = scenario.generate(records, seed)
        functions = self._incident_functions()
        calls_before = self._control.calls()
        self._observer.clear_sink()
        with self._intake_gathers_for(scenario.intake_window):
            scenario.play(scenario, self, inputs)
            result = self._settle()
        seconds = time.monotonic() - self._started
        aws_calls = _difference(functions, calls_before, self._control.calls())
        return self._outcome(result, aws_calls, seconds)

    def produce(self, inputs: Sequence[Input]) -> None:
        for call in calls(inputs):
            self._produced |= produce(self._clients.kinesis, self._scenario.stream_name, call)
            self._show()

    @contextmanager
    def fault(self, name: str, fault: Fault) -> Iterator[Fault]:
        with self._control.fault(fault):
            self._progress.show(fault=name)
            try:
                yield fault
            finally:
                self._progress.show(fault="")

    def wait(self, seconds: float) -> None:
        until = min(time.monotonic() + seconds, self._deadline)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(_POLL_SECONDS, left))
            self._show()

    def wait_for_given_up(self, records: int, at_most: float) -> None:
        until = min(time.monotonic() + at_most, self._deadline)
        before = self._given_up()
        while self._given_up() - before < records and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            self._show()

    @contextmanager
    def _intake_gathers_for(self, seconds: int) -> Iterator[None]:
        """Change the window of StartRedrive's mapping, if need be, as long as the block runs."""
        if seconds == INTAKE_WINDOW_SECONDS:
            yield
            return
        self._set_intake_window(seconds)
        try:
            yield
        finally:
            self._set_intake_window(INTAKE_WINDOW_SECONDS)

    def _set_intake_window(self, seconds: int) -> None:
        self._clients.lambda_.update_event_source_mapping(
            UUID=self._intake_mapping().uuid, MaximumBatchingWindowInSeconds=seconds, Enabled=False
        )

    def _settle(self) -> Account:
        """Wait until nothing moves any more and every record has its end, or the time is up."""
        quiet_since: float | None = None
        while True:
            if self._is_quiet():
                quiet_since = quiet_since or time.monotonic()
                result = account(self._produced, self._observer.observe(self._produced))
                if result.settled or time.monotonic() - quiet_since > _QUIET_SECONDS:
                    return result
            else:
                quiet_since = None
            if time.monotonic() > self._deadline:
                return account(self._produced, self._observer.observe(self._produced))
            time.sleep(_POLL_SECONDS)

    def _is_quiet(self) -> bool:
        """Whether the whole circle stream, intake, executions, stream rests: the same before and after."""
        before = self._activity()
        if self._observer.running() or self._observer.waiting_notices():
            self._show()
            return False
        moment = time.time()
        while not (self._consumer_mapping().settled_since(moment) and self._intake_mapping().settled_since(moment)):
            self._show()
            if time.monotonic() > self._deadline or self._observer.running():
                return False
            time.sleep(_POLL_SECONDS)
        return not self._observer.running() and self._activity() == before

    def _activity(self) -> Activity:
        consumer, intake = self._consumer_mapping(), self._intake_mapping()
        return (
            tuple(sorted(consumer.counts.items())),
            intake.counts["read"],
            intake.counts["delivered"],
            self._observer.started(),
        )

    def _outcome(self, result: Account, aws_calls: Mapping[str, int], seconds: float) -> Outcome:
        executions = self._observer.executions()
        messages = self._observer.poison_messages()
        problems = [*result.problems]
        if result.total.lost:
            problems.append(f"{result.total.lost} records have no end")
        if result.duplicates:
            problems.append(f"{result.duplicates} records ended more than once")
        if result.total.expired:
            problems.append(f"{result.total.expired} records expired before they could be captured")
        if time.monotonic() > self._deadline:
            problems.append("the time was up before everything had settled")
        for status, number in Counter(e.status for e in executions if e.status != "SUCCEEDED").items():
            problems.append(f"{number} executions ended as {status}")
        for schema, number in Counter(m.schema for m in messages).items():
            if schema != "stream-redrive.poison/1":
                problems.append(f"{number} messages of schema {schema} on the poison queue")
        problems += self._missed_point(result, len(executions))
        total = result.total
        report = LabReport(
            scenario=self._scenario.name,
            produced=total.produced,
            consumed=total.consumed,
            captured=total.captured,
            redriven=total.redriven,
            healed=total.healed,
            quarantined=total.quarantined,
            expired=total.expired,
            lost=total.lost,
            duplicates=result.duplicates,
            poison_messages=len(messages),
            executions=len(executions),
            state_transitions=sum(execution.transitions for execution in executions),
            seconds=round(seconds, 1),
            aws_calls=aws_calls,
            ok=not problems,
        )
        return Outcome(report, result, problems)

    def _missed_point(self, result: Account, executions: int) -> list[str]:
        """Whether what the scenario is about happened at all."""
        wanted = self._scenario.healed_share
        if wanted is None:
            if result.total.captured or executions:
                return ["good records came as failures"]
            return []
        if result.total.healed < wanted * result.total.produced:
            return [f"only {result.total.healed} records had to be healed: nothing broke"]
        return []

    def _show(self) -> None:
        counts, before = self._consumer_mapping().counts, self._counts_before
        self._progress.show(
            produced=len(self._produced),
            accepted=counts["delivered"] - before["delivered"],
            given_up=self._given_up(),
            executions=self._observer.started(),
            running=self._observer.running(),
            poison=len(self._observer.poison_messages()),
        )

    def _given_up(self) -> int:
        return self._consumer_mapping().counts["discarded"] - self._counts_before["discarded"]

    def _consumer_mapping(self) -> MappingCounters:
        return self._mapping(f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{self._scenario.stream_name}")

    def _intake_mapping(self) -> MappingCounters:
        queue_name = self._state.outputs["IntakeQueueUrl"].rsplit("/", 1)[-1]
        return self._mapping(f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue_name}")

    def _mapping(self, source_arn: str) -> MappingCounters:
        counters = read_counters(self._lab.counters_path)
        mapping = counters.of_source(source_arn) if counters else None
        if mapping is None or mapping.error or not self._lab.mapping.alive:
            raise CommandError(
                f"no event source mapping reads {source_arn}: {(mapping and mapping.error) or 'it is not running'}; "
                f"see {self._lab.mapping.log_path}"
            )
        return mapping

    def _incident_functions(self) -> set[str]:
        """StartRedrive and what the redrive machine calls; what is done about cases belongs to no run."""
        machine = self._clients.stepfunctions.describe_state_machine(
            stateMachineArn=self._state.outputs["RedriveStateMachineArn"]
        )
        pages = self._clients.cloudformation.get_paginator("list_stack_resources").paginate(StackName=SERVICE_STACK)
        return {
            resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
            and (
                f":function:{resource['PhysicalResourceId']}" in machine["definition"]
                or "FunctionsStartRedrive" in resource["LogicalResourceId"]
            )
        }


def _difference(
    functions: set[str], before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]
) -> dict[str, int]:
    """Calls made by these functions in between, by operation."""
    total: Counter[str] = Counter()
    for function in functions:
        total.update(after.get(function, {}))
        total.subtract(before.get(function, {}))
    return {operation: number for operation, number in sorted(total.items()) if number}
