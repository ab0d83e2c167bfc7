"""What S3 answers and moto doesn't."""

import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.core.errors import ServiceUnreachable, WriteConflict
from stream_redrive.core.ports import StoredObject
from tests.support.cloud import VAULT
from tests.support.wire import Answer, Wire, cut_short, document, refusal, stored

pytestmark = pytest.mark.usefixtures("pauses")


def vault(*answers: Answer) -> tuple[S3Vault, Wire]:
    client = clients.s3()
    return S3Vault(client, VAULT), Wire(client, *answers)


def test_an_object_that_is_there_is_not_written() -> None:
    s3, wire = vault(refusal("PreconditionFailed", status=412))
    assert s3.put_new("key", b"x") is False
    assert len(wire.requests) == 1


def test_two_writers_of_one_object_at_once_are_a_conflict() -> None:
    s3, _ = vault(refusal("ConditionalRequestConflict", status=409))
    with pytest.raises(WriteConflict, match="captured/0"):
        s3.put_new("captured/0", b"x")


def test_only_a_new_object_is_written_on_a_condition() -> None:
    s3, wire = vault(document(""))
    s3.put_new("key", b"x")
    s3.put("key", b"x")
    assert [request.get("If-None-Match") for request in wire.requests] == [b"*", None]


def shout(body: bytes) -> bytes:
    return body.upper()


def test_an_object_is_revised_over_what_was_read_only() -> None:
    s3, wire = vault(
        stored("mine", '"1"'), refusal("PreconditionFailed", status=412), stored("theirs", '"2"'), document("")
    )
    assert s3.revise("key", shout) == b"THEIRS"
    assert [request.get("If-Match") for request in wire.requests] == [None, b'"1"', None, b'"2"']


def test_a_revision_whose_answer_was_lost_is_not_made_twice() -> None:
    s3, wire = vault(stored("mine"), refusal("PreconditionFailed", status=412), stored("MINE"))
    assert s3.revise("key", shout) == b"MINE"
    assert len(wire.requests) == 3


def test_an_object_that_others_write_all_the_time_is_a_conflict() -> None:
    raced = [stored("mine"), refusal("ConditionalRequestConflict", status=409)]
    s3, _ = vault(*raced * 10)
    with pytest.raises(WriteConflict, match="captured/0"):
        s3.revise("captured/0", shout)


def test_an_object_that_breaks_off_half_way_was_not_reached() -> None:
    s3, _ = vault(cut_short(b"half of it"))
    with pytest.raises(ServiceUnreachable, match="s3:GetObject"):
        s3.get("key")


def test_a_list_goes_over_all_pages() -> None:
    def page(key: str, token: str) -> Answer:
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
        return document(
            f"<ListBucketResult>{more if token else '<IsTruncated>false</IsTruncated>'}"
            f"<Contents><Key>{key}</Key><Size>5</Size></Contents></ListBucketResult>"
        )

    s3, wire = vault(page("captured/0", "more"), page("captured/1", ""))
    assert list(s3.list("captured/")) == [StoredObject("captured/0", 5), StoredObject("captured/1", 5)]
    assert "continuation-token=more" in wire.requests[1]["url"]
