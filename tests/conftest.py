"""Fixtures that several suites share."""

from collections.abc import Iterator

import pytest

from tests.support.cloud import Cloud, small_aws


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A small AWS with a stream of one shard."""
    with small_aws(monkeypatch) as created:
        yield created
