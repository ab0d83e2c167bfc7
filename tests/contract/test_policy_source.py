"""What every source of the policy does."""

from collections.abc import Callable

import boto3
import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.ssm import SsmPolicySource
from stream_redrive.core.ports import PolicySource
from tests.support.cloud import PARAMETER
from tests.support.memory import MemoryPolicySource

Publish = Callable[[list[str]], PolicySource]


@pytest.fixture
def publish(implementation: str) -> Publish:
    """Write texts one after the other as the policy."""
    if implementation == "memory":
        return lambda texts: MemoryPolicySource(*reversed(texts))

    def put(texts: list[str]) -> PolicySource:
        for text in texts:
            boto3.client("ssm").put_parameter(Name=PARAMETER, Value=text, Type="String", Overwrite=True)
        return SsmPolicySource(clients.ssm(), PARAMETER)

    return put


@pytest.mark.parametrize("count", [1, 2, 12, 60])
def test_versions_come_newest_first(publish: Publish, count: int) -> None:
    texts = [f'{{"default": {{"max_attempts": {n}}}}}' for n in range(1, count + 1)]
    source = publish(texts)
    expected = [(str(number), text) for number, text in enumerate(texts, 1)][::-1]
    assert list(source.versions()) == expected
    assert list(source.versions()) == expected


def test_a_text_that_is_no_policy_is_handed_out_too(publish: Publish) -> None:
    assert next(iter(publish(["{}", "größe ✓"]).versions())) == ("2", "größe ✓")
