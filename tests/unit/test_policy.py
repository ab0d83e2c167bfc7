"""The policy: parsed whole, refused with the field named, found for a consumer, and never given up for a bad one."""

import json
from datetime import timedelta
from typing import Any

import pytest

from stream_redrive.core.errors import PolicyInvalid
from stream_redrive.core.policy import Approval, Backoff, Breaker, Decoder, Policy, Rule, Verdict, parse_policy
from stream_redrive.core.policy_cache import PolicyCache
from tests.support.build import CONSUMER, STREAM_ARN
from tests.support.memory import START, MemoryPolicySource

WHOLE: dict[str, Any] = {
    "target": f"stream:{STREAM_ARN}",
    "shared_stream": "stream",
    "ordering": "per_key",
    "backoff": {"base_seconds": 5, "factor": 3, "max_seconds": 60},
    "max_attempts": 7,
    "max_wait_seconds": 3600,
    "decoder": "gzip+json",
    "schema": {"type": "object", "required": ["id"]},
    "rules": [{"id": "no-tail", "when": {"error_type": "KeyError"}, "then": "poison", "reason": "no tail number"}],
    "default": "held",
    "breaker": {"enabled": False, "failed_keys": 4, "window_seconds": 30, "open_seconds": 90},
    "stages": [2, "10 %", "100%"],
    "confirm_after_seconds": 60,
    "pace": 0.5,
    "approval": {
        "reminder_hours": 12,
        "expire_days": 7,
        "two_person": ["discard"],
        "approvers": ["role/on-call-*", "role/admin/*", "user/carol"],
    },
}


def policy(**fields: Any) -> str:
    return json.dumps({"default": fields})


def test_every_field_of_a_whole_policy_is_read() -> None:
    assert parse_policy(policy(**WHOLE), "3").default == Policy(
        target=f"stream:{STREAM_ARN}",
        shared_stream="stream",
        ordering="per_key",
        backoff=Backoff(5, 3, 60),
        max_attempts=7,
        max_wait_seconds=3600,
        decoder=Decoder.GZIP_JSON,
        schema={"type": "object", "required": ["id"]},
        rules=(Rule("no-tail", {"error_type": "KeyError"}, Verdict.POISON, "no tail number"),),
        default=Verdict.HELD,
        breaker=Breaker(enabled=False, failed_keys=4, window_seconds=30, open_seconds=90),
        stages=(2, "10 %", "100%"),
        confirm_after_seconds=60,
        pace=0.5,
        approval=Approval(12, 7, ("discard",), ("role/on-call-*", "role/admin/*", "user/carol")),
    )


def test_a_field_that_is_left_out_has_the_default_that_the_contract_names() -> None:
    default = parse_policy("{}", "1").default
    assert (default.target, default.shared_stream, default.ordering) == ("stream", "consumer", "none")
    assert default.backoff == Backoff(30, 2, 900)
    assert (default.max_attempts, default.max_wait_seconds, default.confirm_after_seconds) == (3, None, 300)
    assert (default.decoder, default.schema, default.rules, default.default) == ("auto", None, (), "transient")
    assert (default.stages, default.pace) == ((1, "5 %", "25 %", "100 %"), 0.25)
    assert default.approval == Approval(24, 14, ("edit", "discard"), ())


def test_the_version_is_what_verdicts_will_name() -> None:
    assert parse_policy("{}", "42").version == "42"


def test_a_consumers_fields_come_over_the_defaults() -> None:
    text = json.dumps({"default": {"max_attempts": 5, "decoder": "json"}, "consumers": {"orders": {"max_attempts": 1}}})
    orders = parse_policy(text, "1").policy_for(CONSUMER)
    assert (orders.max_attempts, orders.decoder) == (1, "json")


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ("orders", CONSUMER),
        ("orders", f"{CONSUMER}:live"),
        (CONSUMER, CONSUMER),
        (CONSUMER, f"{CONSUMER}:live"),
        ("orders:live", f"{CONSUMER}:live"),
        (f"{CONSUMER}:live", f"{CONSUMER}:live"),
        ("orders:$LATEST", f"{CONSUMER}:$LATEST"),
    ],
)
def test_a_consumer_is_found_by_arn_or_name_qualified_or_not(named: str, asked: str) -> None:
    book = parse_policy(json.dumps({"consumers": {named: {"max_attempts": 9}}}), "1")
    assert book.policy_for(asked).max_attempts == 9


@pytest.mark.parametrize(
    ("named", "asked"),
    [("orders:live", CONSUMER), ("orders:live", f"{CONSUMER}:test"), ("order", CONSUMER), (f"{CONSUMER}:1", CONSUMER)],
)
def test_another_consumers_policy_is_not_taken(named: str, asked: str) -> None:
    book = parse_policy(json.dumps({"consumers": {named: {"max_attempts": 9}}}), "1")
    assert book.policy_for(asked) == book.default


def test_the_more_exact_name_wins() -> None:
    names = ["orders", CONSUMER, "orders:live", f"{CONSUMER}:live"]
    for most_exact in range(1, len(names) + 1):
        consumers = {name: {"max_attempts": index} for index, name in enumerate(names[:most_exact])}
        book = parse_policy(json.dumps({"consumers": consumers}), "1")
        assert book.policy_for(f"{CONSUMER}:live").max_attempts == most_exact - 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 8000, "not JSON"),
        ('{"default": {"pace": NaN}}', "NaN"),
        ("[]", "policy must be object"),
        ('{"defaults": {}}', "defaults"),
        ('{"consumers": {"not a name": {}}}', "consumers"),
        ('{"consumers": {"orders": {"pace": 2}}}', "consumers.orders.pace"),
        (policy(colour="red"), "colour"),
        (policy(target="queue"), "default.target"),
        (policy(target="stream:orders"), "default.target"),
        (policy(shared_stream="both"), "default.shared_stream"),
        (policy(ordering="total"), "default.ordering"),
        (policy(backoff=30), "default.backoff"),
        (policy(backoff={"base_seconds": -1}), "default.backoff.base_seconds"),
        (policy(backoff={"factor": 0.5}), "default.backoff.factor"),
        (policy(backoff={"jitter": "full"}), "jitter"),
        (policy(max_attempts="3"), "default.max_attempts"),
        (policy(max_attempts=-1), "default.max_attempts"),
        (policy(max_attempts=1.5), "default.max_attempts"),
        (policy(max_attempts=True), "default.max_attempts"),
        (policy(max_wait_seconds=-5), "default.max_wait_seconds"),
        (policy(decoder="avro"), "default.decoder"),
        (policy(schema="object"), "default.schema"),
        (policy(rules={}), "default.rules"),
        (policy(rules=[{"id": "a", "when": {"attempt": 1}, "then": "poison"}]), "reason"),
        (policy(rules=[{"id": "A b", "when": {"attempt": 1}, "then": "poison", "reason": "r"}]), "rules[0].id"),
        (policy(rules=[{"id": "a", "when": {}, "then": "poison", "reason": "r"}]), "rules[0].when"),
        (policy(rules=[{"id": "a", "when": {"attempt": 1}, "then": "fatal", "reason": "r"}]), "rules[0].then"),
        (policy(default="retry"), "default.default"),
        (policy(breaker={"failed_keys": 1}), "default.breaker.failed_keys"),
        (policy(stages=[]), "default.stages"),
        (policy(stages=[0]), "default.stages[0]"),
        (policy(stages=["150 %"]), "default.stages[0]"),
        (policy(confirm_after_seconds=0), "default.confirm_after_seconds"),
        (policy(pace=0), "default.pace"),
        (policy(pace=1.1), "default.pace"),
        (policy(approval={"two_person": ["everything"]}), "default.approval.two_person"),
        (policy(approval={"expire_days": 0}), "default.approval.expire_days"),
        (policy(approval={"approvers": [""]}), "default.approval.approvers"),
        (policy(approval={"approvers": ["arn:aws:iam::123456789012:role/x"]}), "default.approval.approvers"),
        (policy(approval={"approvers": ["role/a/b/c"]}), "default.approval.approvers"),
        (policy(approval={"approvers": ["user/a/b"]}), "default.approval.approvers"),
        (policy(approval={"approvers": ["role/on-call"]}), "default: approval.approvers names one person only"),
    ],
)
def test_a_policy_that_breaks_its_schema_is_refused_with_the_field_named(text: str, what: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text, "7")
    assert what in str(caught.value)
    assert str(caught.value).startswith("policy 7: ")


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"decoder": "none", "schema": {"type": "object"}}, "decoder"),
        ({"backoff": {"base_seconds": 100, "max_seconds": 10}}, "backoff.base_seconds"),
        ({"backoff": {"max_seconds": 10}}, "backoff.base_seconds"),
        ({"rules": [{"id": "a", "when": {"attempt": 1}, "then": "held", "reason": "r"}] * 2}, "id 'a'"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(json.dumps({"consumers": {"orders": fields}}), "7")
    assert what in str(caught.value)
    assert "consumers.orders" in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nope"},
        {"pattern": "("},
        {"pattern": 5},
        {"properties": []},
        {"items": 5},
        {"allOf": 5},
        {"dependencies": 5},
        {"$ref": 5},
        {"$ref": "#/definitions/nowhere"},
        {"$ref": "other.json"},
    ],
    ids=str,
)
def test_a_schema_that_is_none_is_refused_where_it_is_written(schema: dict[str, Any]) -> None:
    with pytest.raises(PolicyInvalid, match="schema is no valid JSON Schema"):
        parse_policy(policy(schema=schema), "7")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/s.json", "https://127.0.0.1:9/s", "file:///etc/hostname"])
def test_a_schema_that_refers_to_another_place_is_refused_and_nothing_is_fetched(address: str) -> None:
    with pytest.raises(PolicyInvalid, match=r"schema is no valid JSON Schema: .* is outside the schema"):
        parse_policy(policy(schema={"$ref": address}), "7")


@pytest.mark.parametrize("schema", [True, {"$ref": "#/definitions/a", "definitions": {"a": {"type": "object"}}}, {}])
def test_a_schema_may_be_a_boolean_empty_or_refer_to_its_own_definitions(schema: Any) -> None:
    assert parse_policy(policy(schema=schema), "7").default.schema == schema


@pytest.mark.parametrize(("attempt", "ceiling"), [(0, 30), (1, 60), (4, 480), (5, 900), (10_000, 900)])
def test_the_backoff_grows_with_each_attempt_up_to_its_limit(attempt: int, ceiling: float) -> None:
    assert Backoff().ceiling(attempt) == ceiling


# The policy in force


class Cached:
    """A cache over versions of the policy, and the problems it reported."""

    def __init__(self, *texts: str) -> None:
        self.source = MemoryPolicySource(*texts)
        self.problems: list[str] = []
        self._cache = PolicyCache(self.source, lambda problem: self.problems.append(str(problem)))

    def attempts(self, seconds: float = 0) -> int:
        return self._cache.current(START + timedelta(seconds=seconds)).default.max_attempts

    def version(self, seconds: float = 0) -> str:
        return self._cache.current(START + timedelta(seconds=seconds)).version


def test_the_newest_version_is_in_force() -> None:
    cached = Cached(policy(max_attempts=2), policy(max_attempts=1))
    assert (cached.attempts(), cached.version(), cached.problems) == (2, "2", [])


@pytest.mark.parametrize(("seconds", "attempts"), [(59.9, 1), (60, 2)])
def test_a_change_comes_into_force_within_a_minute_and_is_not_asked_for_before(seconds: float, attempts: int) -> None:
    cached = Cached(policy(max_attempts=1))
    cached.attempts()
    cached.source.texts.insert(0, policy(max_attempts=2))
    assert cached.attempts(seconds) == attempts


def test_the_last_valid_version_stays_when_an_invalid_one_is_written_and_the_problem_is_reported() -> None:
    cached = Cached(policy(max_attempts=1))
    cached.attempts()
    cached.source.texts.insert(0, policy(pace=7))
    assert cached.attempts(60) == 1
    assert len(cached.problems) == 1
    assert "pace" in cached.problems[0]


def test_an_invalid_version_is_reported_at_every_reading_until_it_is_mended() -> None:
    cached = Cached("{", policy(max_attempts=1))
    for minute in range(3):
        cached.attempts(60 * minute)
        cached.attempts(60 * minute + 30)
    assert len(cached.problems) == 3
    cached.source.texts.insert(0, policy(max_attempts=4))
    assert cached.attempts(180) == 4
    assert len(cached.problems) == 3


def test_without_a_policy_in_hand_the_newest_valid_version_of_the_past_is_used() -> None:
    cached = Cached("{", "[]", policy(max_attempts=6), policy(max_attempts=5))
    assert (cached.attempts(), cached.version(), len(cached.problems)) == (6, "2", 2)


def test_when_no_version_was_ever_valid_the_built_in_policy_is_used() -> None:
    cached = Cached("{")
    assert (cached.version(), cached.attempts(), len(cached.problems)) == ("built-in", 3, 1)


def test_the_policy_in_force_stays_even_when_its_version_is_no_longer_kept() -> None:
    cached = Cached(policy(max_attempts=8))
    cached.attempts()
    cached.source.texts, cached.source.forgotten = ["{", "["], 1
    assert cached.attempts(60) == 8


def test_a_deeply_nested_policy_does_not_topple_the_one_in_force() -> None:
    cached = Cached(policy(max_attempts=8))
    cached.attempts()
    cached.source.texts.insert(0, "[" * 8000)
    assert cached.attempts(60) == 8


def test_a_consumers_nested_fields_come_over_the_defaults_one_by_one() -> None:
    document = {
        "default": {"backoff": {"base_seconds": 5, "max_seconds": 50}, "approval": {"expire_days": 2}},
        "consumers": {"orders": {"backoff": {"factor": 3}, "approval": {"reminder_hours": 1}}},
    }
    policy = parse_policy(json.dumps(document), "1").consumers["orders"]
    assert (policy.backoff.base_seconds, policy.backoff.factor, policy.backoff.max_seconds) == (5, 3, 50)
    assert (policy.approval.expire_days, policy.approval.reminder_hours) == (2, 1)
