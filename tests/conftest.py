"""Fixtures that several suites share, and how the tests are shared out among several workers."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.support.cloud import Cloud, small_aws

# Fixtures that take long to make and serve many tests; all tests of one go to the same worker.
COSTLY = ("lab", "assembly", "findings", "installed", "output", "corpus")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in COSTLY:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))


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
