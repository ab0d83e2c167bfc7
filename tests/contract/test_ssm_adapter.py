"""What Parameter Store answers and moto doesn't."""

import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.ssm import SsmPolicySource
from tests.support.cloud import PARAMETER
from tests.support.wire import Answer, Wire, reply

pytestmark = pytest.mark.usefixtures("pauses")


def source(*answers: Answer) -> tuple[SsmPolicySource, Wire]:
    client = clients.ssm()
    return SsmPolicySource(client, PARAMETER), Wire(client, *answers)


def current(version: int) -> Answer:
    return reply({"Parameter": {"Name": PARAMETER, "Version": version, "Value": f"text {version}"}})


def history(*versions: int, token: str | None = None) -> Answer:
    body = {"Parameters": [{"Name": PARAMETER, "Version": v, "Value": f"text {v}"} for v in versions]}
    return reply({**body, **({"NextToken": token} if token else {})})


def test_a_valid_current_version_costs_one_call() -> None:
    policies, wire = source(current(3))
    assert next(iter(policies.versions())) == ("3", "text 3")
    assert wire.requests == [{"Name": PARAMETER}]


def test_older_versions_come_newest_first_over_all_pages() -> None:
    policies, _ = source(current(11), history(1, 2, 9, token="more"), history(10, 11))
    assert list(policies.versions()) == [(str(v), f"text {v}") for v in (11, 10, 9, 2, 1)]


def test_a_version_that_was_written_meanwhile_is_no_older_one() -> None:
    policies, _ = source(current(2), history(1, 2, 3))
    assert [version for version, _ in policies.versions()] == ["2", "1"]
