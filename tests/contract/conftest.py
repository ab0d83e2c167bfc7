"""What the contract suites share: clients with credentials of nobody, and a moto to talk to."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from moto import mock_aws

from tests.support.cloud import ENVIRONMENT, FOREIGN, SESSION, clear_caches


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """New clients, whose pauses between attempts take no time and are listed here, in seconds."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []
    monkeypatch.setattr("boto3.DEFAULT_SESSION", SESSION)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=slept.append))
    clear_caches()
    yield slept
    clear_caches()


@pytest.fixture
def aws(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty AWS (moto)."""
    with mock_aws():
        monkeypatch.setattr("boto3.DEFAULT_SESSION", SESSION)
        yield


@pytest.fixture(params=["memory", "aws"])
def implementation(request: pytest.FixtureRequest) -> str:
    """Which adapter of a port is held against the contract; moto runs for the AWS one."""
    if request.param == "aws":
        request.getfixturevalue("aws")
    return str(request.param)
