"""What every vault does."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import boto3
import pytest
from moto.s3.models import s3_backends

from stream_redrive.adapters import clients
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.core.errors import VaultObjectMissing
from stream_redrive.core.ports import StoredObject, Vault
from tests.support.cloud import ACCOUNT, VAULT
from tests.support.memory import MemoryVault


@dataclass
class Vaults:
    """A vault, and a quick way to put many objects there."""

    vault: Vault
    fill: Callable[[Iterable[str]], None]


@pytest.fixture
def vaults(implementation: str) -> Vaults:
    if implementation == "memory":
        memory = MemoryVault()
        return Vaults(memory, lambda keys: memory.objects.update(dict.fromkeys(keys, b"x")))
    boto3.client("s3").create_bucket(Bucket=VAULT)

    def fill(keys: Iterable[str]) -> None:
        for key in keys:
            s3_backends[ACCOUNT]["aws"].put_object(VAULT, key, b"x")

    return Vaults(S3Vault(clients.s3(), VAULT), fill)


def test_the_vault_knows_its_bucket(vaults: Vaults) -> None:
    assert vaults.vault.bucket == VAULT


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b\x00\xff\r\n", "größe".encode(), b"\x00" * 2_000_000])
def test_bytes_come_back_exactly_as_they_were_put(vaults: Vaults, body: bytes) -> None:
    vaults.vault.put("captured/a", body)
    vaults.vault.put_new("captured/b", body)
    assert vaults.vault.get("captured/a") == vaults.vault.get("captured/b") == body


def test_a_new_object_is_written_once(vaults: Vaults) -> None:
    assert vaults.vault.put_new("key", b"first") is True
    assert vaults.vault.put_new("key", b"second") is False
    assert vaults.vault.get("key") == b"first"


def test_an_object_is_revised_from_what_it_holds(vaults: Vaults) -> None:
    vaults.vault.put("key", b"one")
    assert vaults.vault.revise("key", lambda body: body + b" two") == b"one two"
    assert vaults.vault.get("key") == b"one two"
    assert vaults.vault.revise("key", lambda body: body) == b"one two"


def test_an_object_that_is_not_there_is_not_revised(vaults: Vaults) -> None:
    with pytest.raises(VaultObjectMissing):
        vaults.vault.revise("key", lambda body: body + b"!")


def test_a_new_object_does_not_replace_one_that_was_put(vaults: Vaults) -> None:
    vaults.vault.put("key", b"first")
    assert vaults.vault.put_new("key", b"second") is False
    assert vaults.vault.get("key") == b"first"


def test_put_replaces_what_is_there(vaults: Vaults) -> None:
    vaults.vault.put_new("key", b"first")
    vaults.vault.put("key", b"second")
    assert vaults.vault.get("key") == b"second"


def test_an_object_that_is_not_there_is_named(vaults: Vaults) -> None:
    with pytest.raises(VaultObjectMissing, match="incidents/none"):
        vaults.vault.get("incidents/none")


def test_a_list_holds_what_is_below_a_prefix_sorted_with_sizes(vaults: Vaults) -> None:
    for key in ("captured/b/2", "captured/b/10", "captured/b", "captured/bb/1", "captured/b/1", "incidents/b/1"):
        vaults.vault.put(key, key.encode())
    assert list(vaults.vault.list("captured/b/")) == [
        StoredObject("captured/b/1", 12),
        StoredObject("captured/b/10", 13),
        StoredObject("captured/b/2", 12),
    ]


def test_a_list_of_nothing_is_empty(vaults: Vaults) -> None:
    assert list(vaults.vault.list("captured/")) == []


def test_a_list_has_no_end_at_a_thousand(vaults: Vaults) -> None:
    keys = [f"captured/{n:05}" for n in range(1001)]
    vaults.fill(reversed(keys))
    assert [entry.key for entry in vaults.vault.list("captured/")] == keys


@pytest.mark.parametrize("key", ["captured/größe ✓/0", "captured/a+b&c=d%20/0", "captured/a:b,c/0"])
def test_a_key_may_hold_any_character(vaults: Vaults, key: str) -> None:
    vaults.vault.put_new(key, b"x")
    assert vaults.vault.get(key) == b"x"
    assert [entry.key for entry in vaults.vault.list("captured/")] == [key]
