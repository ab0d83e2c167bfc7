"""Incidents: how notices are gathered, named and carried."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_redrive.core.errors import MalformedIncident, VaultObjectMissing
from stream_redrive.core.incident import (
    MAX_RECORDS,
    Incident,
    Reference,
    decode_notices,
    earliest_failure,
    encode_notices,
    gather,
    incident_id,
)
from stream_redrive.core.notices import Notice, Source
from tests.support.build import CONSUMER, SHARD, STREAM_ARN, incident, notice
from tests.support.memory import MemoryVault

OTHERS = [
    replace(SHARD, consumer=f"{CONSUMER}:live"),
    replace(SHARD, stream_arn=f"{STREAM_ARN}-2"),
    replace(SHARD, shard_id="shardId-000000000001"),
]


@pytest.mark.parametrize("other", OTHERS)
def test_notices_of_another_consumer_stream_or_shard_are_another_group(other: Any) -> None:
    groups = dict(gather([(SHARD, notice("1", "1")), (other, notice("1", "1")), (SHARD, notice("2", "2"))]))
    assert {shard: [n.start for n in notices] for shard, notices in groups.items()} == {SHARD: ["1", "2"], other: ["1"]}


def test_the_same_range_twice_is_one_notice() -> None:
    ((_, notices),) = gather([(SHARD, notice("1", "5", 5)), (SHARD, notice("1", "5", 5, request_id="another"))])
    assert len(notices) == 1


def test_of_two_notices_of_one_range_the_earlier_stays_whatever_their_order() -> None:
    early, late = (
        notice("1", "5", failed_at="2026-01-05T12:00:00.000Z"),
        notice("1", "5", failed_at="2026-01-05T13:00Z"),
    )
    for arrived in ([early, late], [late, early]):
        ((_, notices),) = gather((SHARD, n) for n in arrived)
        assert notices == [early]


def test_a_groups_notices_are_sorted_by_number_so_nine_comes_before_ten() -> None:
    ((_, notices),) = gather([(SHARD, notice("10", "10")), (SHARD, notice("9", "9"))])
    assert [n.start for n in notices] == ["9", "10"]


def test_a_group_of_exactly_ten_thousand_records_is_one_group() -> None:
    groups = list(gather((SHARD, notice(str(n), str(n), MAX_RECORDS // 4)) for n in range(4)))
    assert [len(notices) for _, notices in groups] == [4]


def test_one_record_more_than_ten_thousand_opens_the_next_group() -> None:
    sizes = [MAX_RECORDS - 1, 1, 1]
    groups = list(gather((SHARD, notice(str(n), str(n), size)) for n, size in enumerate(sizes)))
    assert [[n.size for n in notices] for _, notices in groups] == [[MAX_RECORDS - 1, 1], [1]]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4000)), max_size=40), st.randoms(use_true_random=False))
def test_gathering_keeps_every_range_once_and_no_group_is_too_large(
    drawn: list[tuple[int, int]], order: random.Random
) -> None:
    arrived = [(SHARD, notice(str(start), str(start + 5), size)) for start, size in drawn]
    order.shuffle(arrived)
    groups = [notices for _, notices in gather(arrived)]
    starts = [int(n.start) for notices in groups for n in notices]
    assert starts == sorted({start for start, _ in drawn})
    assert all(0 < sum(n.size for n in notices) <= MAX_RECORDS for notices in groups)


def test_an_incidents_id_depends_only_on_what_is_covered() -> None:
    notices = [notice("1", "5", 5), notice("9", "12", 2)]
    again = [
        notice("9", "12", 2, failed_at="2027-01-01T00:00:00Z", request_id="x", condition="RecordAgeExceeded"),
        notice("1", "5", 5, invoke_count=1, first_arrival="2020-01-01T00:00:00Z", function_error=None),
    ]
    assert incident_id(SHARD, notices) == incident_id(SHARD, again)


@pytest.mark.parametrize("covered", [[("1", "5")], [("1", "5"), ("9", "13")], [("1", "12")], [("2", "5"), ("9", "12")]])
def test_another_range_gives_another_id(covered: list[tuple[str, str]]) -> None:
    original = incident_id(SHARD, [notice("1", "5"), notice("9", "12")])
    assert incident_id(SHARD, [notice(start, end) for start, end in covered]) != original


@pytest.mark.parametrize("other", OTHERS)
def test_another_consumer_stream_or_shard_gives_another_id(other: Any) -> None:
    assert incident_id(SHARD, [notice("1", "5")]) != incident_id(other, [notice("1", "5")])


def test_leading_zeros_do_not_change_an_incidents_id() -> None:
    assert incident_id(SHARD, [notice("007", "9"), notice("10", "11")]) == incident_id(
        SHARD, [notice("10", "11"), notice("7", "09")]
    )


def test_an_incidents_id_is_32_hexadecimal_digits_and_so_fits_an_executions_name() -> None:
    name = incident_id(SHARD, [notice("1", "5")])
    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")


def test_an_incident_survives_the_way_through_the_executions_input() -> None:
    original = incident(notice("1", "5", 5), notice("9", "9", function_error=None))
    assert Incident.from_input(json.loads(json.dumps(original.to_input()))) == original


def test_an_incident_with_its_notices_in_the_vault_survives_it_too() -> None:
    reference = Reference("vault", "incidents/abc/notices.ndjson.gz", 101)
    original = replace(incident(notice("1", "5")), notices=None, notices_ref=reference)
    body = original.to_input()
    assert "notices" not in body
    assert Incident.from_input(json.loads(json.dumps(body))) == original


def test_notices_are_loaded_from_the_input_or_from_the_vault() -> None:
    vault, notices = MemoryVault(), (notice("1", "5", 5), notice("9", "9"))
    inline = incident(*notices)
    vault.put("elsewhere", encode_notices(notices))
    referred = replace(inline, notices=None, notices_ref=Reference("vault", "elsewhere", 2))
    assert inline.load_notices(vault) == referred.load_notices(vault) == notices


def test_an_incident_whose_notices_are_not_in_the_vault_says_so() -> None:
    referred = replace(incident(notice("1", "5")), notices=None, notices_ref=Reference("vault", "nowhere", 1))
    with pytest.raises(VaultObjectMissing, match="nowhere"):
        referred.load_notices(MemoryVault())


def test_equal_notices_give_equal_bytes_and_come_back_as_they_were() -> None:
    notices = (notice("1", "5", condition="Überraschung"), notice("9", "9"))
    assert encode_notices(notices) == encode_notices(notices)
    assert decode_notices(encode_notices(notices)) == notices


def test_the_earliest_failure_is_found_by_time_not_by_text() -> None:
    later = notice("1", "1", failed_at="2026-01-05T12:00:00.000Z")
    earlier = notice("2", "2", failed_at="2026-01-05T12:30:00+01:00")
    assert earliest_failure([later, earlier]) == "2026-01-05T11:30:00.000Z"


def _without(name: str) -> dict[str, Any]:
    return {k: v for k, v in incident(notice("1", "5")).to_input().items() if k != name}


def _with(**changes: Any) -> dict[str, Any]:
    return {**incident(notice("1", "5")).to_input(), **changes}


def _notice_without(name: str) -> dict[str, Any]:
    fields: Notice = notice("1", "5")
    return {k: v for k, v in fields.to_dict().items() if k != name}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        *((_without(name), name) for name in ("id", "source", "consumer", "stream_arn", "shard_id")),
        (_without("notices"), "notices"),
        (_with(notices_ref={"bucket": "b", "key": "k", "count": 1}), "notices_ref"),
        (_with(source="sqs"), "sqs"),
        (_with(notices=5), "int"),
        (_with(notices=["text"]), "TypeError"),
        (_with(notices=[_notice_without("start")]), "start"),
        ({**_without("notices"), "notices_ref": {"bucket": "b"}}, "key"),
        ([], "list"),
        (None, "None"),
    ],
    ids=str,
)
def test_an_input_that_describes_no_incident_is_refused_with_what_is_wrong(body: Any, what: str) -> None:
    with pytest.raises(MalformedIncident) as caught:
        Incident.from_input(body)
    assert what in str(caught.value)


def test_the_source_is_written_as_its_name() -> None:
    assert incident(notice("1", "5")).to_input()["source"] == Source.KINESIS.value == "kinesis"


def test_the_date_of_an_incident_comes_from_its_notices_where_the_input_names_none() -> None:
    body = incident(notice("1", "5", failed_at="2026-01-05T12:00:00.000Z")).to_input()
    del body["failed_at"]
    assert Incident.from_input(body).failed_at == "2026-01-05T12:00:00.000Z"
