"""Fixtures that several suites share, and how the tests are shared out among several workers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.cloud import Cloud, small_aws

# What shares a fixture that takes long to make, and so goes to one worker; every other test goes where there is room.
# Not by the mark xdist_group: xdist 3.8 writes it where pytest 9.2 no longer looks.
TOGETHER = (
    "tests/e2e/test_lifecycle.py",
    "tests/e2e/",
    "tests/infrastructure/",
    "tests/handlers/test_output.py",
    "tests/unit/test_corpus.py",
)


class Scheduling(LoadScopeScheduling):
    """Shares out the tests; the largest group comes first."""

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "shown":
                terminalreporter.write_line(f"\n{text}")


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Show a text at the end of the run, whichever worker the test runs in."""
    return partial(record_property, "shown")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A small AWS with a stream of one shard."""
    with small_aws(monkeypatch) as created:
        yield created
