"""What DynamoDB answers to the case store and moto doesn't."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from stream_redrive.adapters import clients
from stream_redrive.adapters.cases import DynamoCaseStore
from stream_redrive.core.cases import CaseStatus, Note
from stream_redrive.core.errors import ServiceBusy
from stream_redrive.core.ports import CaseChange, HandOver
from tests.contract.test_case_store import ALICE, DECISION, KIND, case, event, moment, piece
from tests.support.cloud import TABLE, create_table
from tests.support.memory import START, MemoryClock
from tests.support.wire import Answer, Wire, broken, refusal, reply

pytestmark = pytest.mark.usefixtures("pauses")
FINE, FAILED, RACED = {"Code": "None"}, {"Code": "ConditionalCheckFailed"}, {"Code": "TransactionConflict"}
TIMEOUT = ReadTimeoutError(endpoint_url="https://dynamodb")
NOTHING: Answer = reply({"Responses": {}, "UnprocessedKeys": {}})


def store(*answers: Answer) -> tuple[DynamoCaseStore, Wire, MemoryClock]:
    client, clock = clients.dynamodb(), MemoryClock()
    return DynamoCaseStore(client, TABLE, clock), Wire(client, *answers), clock


def cancelled(*reasons: dict[str, str]) -> Answer:
    return refusal("TransactionCanceledException", CancellationReasons=list(reasons))


def test_a_conflict_is_tried_again_with_growing_pauses_and_is_no_refusal() -> None:
    table, wire, clock = store(*[cancelled(RACED, FINE, FINE)] * 4, reply({}))
    assert table.join(case(), [piece(0)], [], moment(1))
    assert len(wire.requests) == 5
    assert len(clock.slept) == 4
    assert all(shorter < longer for shorter, longer in pairwise(clock.slept))


def test_a_condition_that_fails_beside_a_conflict_is_a_refusal() -> None:
    table, wire, clock = store(cancelled(FAILED, RACED), reply({}))
    assert not table.commit(CaseChange(case(revision=2)))
    assert (len(wire.requests), clock.slept) == (2, [])


def test_conflicts_without_end_are_given_up() -> None:
    table, _, _ = store(cancelled(RACED))
    with pytest.raises(ServiceBusy, match="contended"):
        table.commit(CaseChange(case()))


def test_a_transaction_that_can_never_succeed_is_not_tried_again() -> None:
    table, wire, _ = store(cancelled({"Code": "ValidationError"}))
    with pytest.raises(ClientError):
        table.commit(CaseChange(case()))
    assert len(wire.requests) == 1


def test_a_commit_whose_answer_was_lost_is_repeated_as_the_same_one() -> None:
    table, wire, _ = store(broken(TIMEOUT), refusal("TransactionInProgressException"), reply({}))
    assert table.commit(CaseChange(case(revision=2)))
    assert len({request["ClientRequestToken"] for request in wire.requests}) == 1
    assert len(wire.requests) == 3


def test_a_commit_that_went_through_unheard_is_known_by_its_own_write_and_by_nothing_less() -> None:
    def stored_case(ours: bool) -> Answer:
        def answer(request: Any) -> Any:
            item = wire.requests[0]["TransactItems"][0]["Put"]["Item"]
            return reply({"Item": item if ours else {**item, "write": {"S": "another"}}})(request)

        return answer

    for ours in (True, False):
        clients.dynamodb.cache_clear()
        table, wire, _ = store(broken(TIMEOUT), cancelled(FAILED), stored_case(ours))
        assert table.commit(CaseChange(case(revision=2))) is ours
        assert len(wire.requests) == 3


def test_a_join_that_is_refused_is_looked_up_before_it_is_believed() -> None:
    def mark(index: int, held_by: str) -> dict[str, Any]:
        return {
            "pk": {"S": "INCIDENT#one"},
            "sk": {"S": f"JOINED#{index:05}#{KIND}"},
            "case": {"S": held_by},
        }

    for marks, expected in (
        ([mark(0, case().id), mark(1, case().id)], True),
        ([mark(0, case().id), mark(1, "another-1")], False),
        ([mark(0, case().id)], False),
    ):
        table, _, _ = store(
            cancelled(FAILED, FINE), reply({"Responses": {TABLE: marks}, "UnprocessedKeys": {}}), NOTHING
        )
        assert table.join(case(), [piece(0), piece(1)], [], moment(1)) is expected
        clients.dynamodb.cache_clear()


@pytest.mark.usefixtures("aws")
def test_the_largest_change_fits_a_transaction_and_its_items_the_table() -> None:
    client = boto3.client("dynamodb")
    create_table(client)
    table = DynamoCaseStore(clients.dynamodb(), TABLE, MemoryClock())
    pieces = [piece(index, lines=tuple(range(0, 500, 2))) for index in range(40)]
    assert table.commit(CaseChange(case(), events=[event("opened")]))
    ended = replace(case(), revision=2, status=CaseStatus.CLOSED, decision=DECISION, proposal=DECISION)
    change = CaseChange(
        ended,
        pieces=pieces,
        successor=case(generation=2),
        successor_events=[event("opened", 1), event("joined", 1)],
        events=[event(kind, 1) for kind in ("joined", "decided", "settled")],
        hand_overs=[HandOver.DECIDED],
    )
    assert table.commit(change)
    sizes = [len(str(item)) for item in client.scan(TableName=TABLE)["Items"]]
    assert len(sizes) > 90
    assert max(sizes) < 8 * 1024


@pytest.mark.usefixtures("aws")
def test_every_item_goes_by_itself_in_the_end_and_a_kinds_generation_last() -> None:
    client = boto3.client("dynamodb")
    create_table(client)
    table = DynamoCaseStore(clients.dynamodb(), TABLE, MemoryClock())
    table.commit(CaseChange(case(), pieces=[piece(0)], events=[event("opened")], hand_overs=[HandOver.DECIDED]))
    table.join(case(), [piece(1)], [event("joined")], moment(1))
    table.add_note(case().id, Note(moment(1), ALICE, "text"), event("noted"))
    table.record_event(None, event("denied"))
    table.save_token(case().id, "token")
    items = {item["pk"]["S"].split("#")[0]: item for item in client.scan(TableName=TABLE)["Items"]}
    assert set(items) == {"CASE", "KIND", "CASES", "INCIDENT", "HANDOVER", "AUDIT"}
    for item in client.scan(TableName=TABLE)["Items"]:
        days = (int(item["expires_at"]["N"]) - START.timestamp()) / 86_400
        assert days == (1200 if item["pk"]["S"].startswith("KIND#") else 400)
