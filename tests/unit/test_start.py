"""Starting executions: one a group of notices, however often the notices arrive."""

import json

import pytest

from stream_redrive.core.errors import IncidentGivenUp, ServiceBusy
from stream_redrive.core.incident import Incident
from stream_redrive.core.notices import Notice, ShardRef
from stream_redrive.core.start import Arrival, StartRedrive
from tests.support.build import SHARD, incident, notice
from tests.support.memory import MemoryExecutions, MemoryVault

OTHER_SHARD = ShardRef(SHARD.source, SHARD.consumer, SHARD.stream_arn, "shardId-000000000001")


def arrivals(*notices: Notice, shard: ShardRef = SHARD) -> list[Arrival]:
    return [Arrival(f"{shard.shard_id}/{index}", shard, n) for index, n in enumerate(notices)]


class BusyFor(MemoryExecutions):
    """Executions that can't be started for one shard."""

    def __init__(self, shard_id: str) -> None:
        super().__init__()
        self._shard_id = shard_id

    def start(self, name: str, body: str) -> None:
        if self._shard_id in body:
            raise ServiceBusy("states:StartExecution")
        super().start(name, body)


def started_incidents(executions: MemoryExecutions) -> dict[str, Incident]:
    return {
        name: Incident.from_input(json.loads(body)["incident"]) for name, body in sorted(executions.started.items())
    }


def test_a_shards_notices_start_one_execution_named_after_what_they_cover() -> None:
    executions = MemoryExecutions()
    notices = [notice("1", "5", 5), notice("9", "9")]
    result = StartRedrive(executions, MemoryVault())(arrivals(*notices))
    expected = incident(*notices)
    assert started_incidents(executions) == {expected.id: expected}
    assert (list(result.incidents), result.failed) == ([expected.id], {})


def test_each_shard_has_its_own_execution() -> None:
    executions = MemoryExecutions()
    StartRedrive(executions, MemoryVault())(arrivals(notice("1", "5")) + arrivals(notice("1", "5"), shard=OTHER_SHARD))
    assert {i.shard for i in started_incidents(executions).values()} == {SHARD, OTHER_SHARD}


def test_notices_that_arrive_again_in_another_order_start_nothing_new() -> None:
    executions, vault = MemoryExecutions(), MemoryVault()
    first = StartRedrive(executions, vault)(arrivals(notice("1", "5"), notice("9", "9")))
    second = StartRedrive(executions, vault)(arrivals(notice("9", "9", request_id="again"), notice("1", "5")))
    assert len(executions.started) == 1
    assert list(first.incidents) == list(second.incidents)
    assert second.failed == {}


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
def test_a_duplicate_of_an_incident_that_runs_or_is_closed_starts_nothing(status: str) -> None:
    executions, start = MemoryExecutions(), arrivals(notice("1", "5"))
    StartRedrive(executions, MemoryVault())(start)
    executions.statuses = dict.fromkeys(executions.started, status)
    result = StartRedrive(executions, MemoryVault())(start)
    assert len(executions.started) == 1
    assert result.failed == {}


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_a_parked_incident_whose_notices_come_again_goes_on_under_its_own_id(status: str) -> None:
    executions, start = MemoryExecutions(), arrivals(notice("1", "5"))
    (name,) = StartRedrive(executions, MemoryVault())(start).incidents
    executions.statuses[name] = status
    assert list(StartRedrive(executions, MemoryVault())(start).incidents) == [name]
    executions.statuses[f"{name}-r2"] = status
    StartRedrive(executions, MemoryVault())(start)
    incidents = started_incidents(executions)
    assert list(incidents) == [name, f"{name}-r2", f"{name}-r3"]
    assert {i.id for i in incidents.values()} == {name}


def test_an_incident_that_is_parked_over_and_over_is_given_up_and_its_messages_fail() -> None:
    executions, start = MemoryExecutions(), arrivals(notice("1", "5"))
    failed: dict[str, Exception] = {}
    while not failed:
        failed = StartRedrive(executions, MemoryVault())(start).failed
        executions.statuses = dict.fromkeys(executions.started, "FAILED")
        assert len(executions.started) < 50
    assert [type(problem) for problem in failed.values()] == [IncidentGivenUp]
    assert list(failed) == [start[0].message_id]


def test_a_group_that_cannot_be_started_fails_its_own_messages_only() -> None:
    executions = BusyFor(OTHER_SHARD.shard_id)
    duplicate = [Arrival("again", OTHER_SHARD, notice("1", "5"))]
    result = StartRedrive(executions, MemoryVault())(
        arrivals(notice("1", "5"), notice("9", "9"), shard=OTHER_SHARD) + duplicate + arrivals(notice("1", "5"))
    )
    assert set(result.failed) == {f"{OTHER_SHARD.shard_id}/0", f"{OTHER_SHARD.shard_id}/1", "again"}
    assert [i.shard for i in started_incidents(executions).values()] == [SHARD]


def test_of_a_shards_two_groups_only_the_one_that_fails_fails() -> None:
    large, small = notice("1", "5", 9_999), notice("9", "9", 2)
    fails_second = BusyFor('"start":"9"')
    result = StartRedrive(fails_second, MemoryVault())(arrivals(large, small))
    assert list(result.failed) == [f"{SHARD.shard_id}/1"]
    assert list(result.incidents) == [incident(large).id]


def test_a_hundred_notices_ride_in_the_input() -> None:
    executions, vault = MemoryExecutions(), MemoryVault()
    StartRedrive(executions, vault)(arrivals(*(notice(str(n), str(n)) for n in range(100))))
    (started,) = started_incidents(executions).values()
    assert started.notices is not None
    assert len(started.notices) == 100
    assert vault.objects == {}


def test_more_than_a_hundred_notices_lie_in_the_vault_and_the_input_refers_to_them() -> None:
    executions, vault = MemoryExecutions(), MemoryVault()
    notices = tuple(notice(str(n), str(n)) for n in range(101))
    StartRedrive(executions, vault)(arrivals(*reversed(notices)))
    (started,) = started_incidents(executions).values()
    assert started.notices is None
    assert started.notices_ref is not None
    assert (started.notices_ref.bucket, started.notices_ref.count) == (vault.bucket, 101)
    assert started.load_notices(vault) == notices


def test_the_input_of_the_largest_inline_incident_fits_between_two_states() -> None:
    executions = MemoryExecutions()
    digits = 10**127
    StartRedrive(executions, MemoryVault())(arrivals(*(notice(str(digits + n), str(digits + n)) for n in range(100))))
    (body,) = executions.started.values()
    assert len(body) < 128 * 1024


def test_no_notices_start_nothing() -> None:
    executions = MemoryExecutions()
    result = StartRedrive(executions, MemoryVault())([])
    assert (list(result.incidents), result.failed, executions.started) == ([], {}, {})


def test_equal_notices_give_equal_inputs_so_a_repeated_start_is_recognised() -> None:
    bodies: list[str] = []
    for order in ([0, 1, 2], [2, 1, 0]):
        executions = MemoryExecutions()
        notices = [notice("1", "5"), notice("9", "9"), notice("1", "5", request_id="0")]
        StartRedrive(executions, MemoryVault())(arrivals(*(notices[i] for i in order)))
        bodies += executions.started.values()
    assert bodies[0] == bodies[1]
