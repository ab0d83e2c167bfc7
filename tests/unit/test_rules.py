"""Rules: what matches what, the order, and that nothing a user or a payload brings stops them."""

import json
import time
from typing import Any

import pytest

from stream_redrive.core.errors import PolicyInvalid
from stream_redrive.core.fingerprint import error_fingerprint
from stream_redrive.core.known_errors import KnownError
from stream_redrive.core.policy import Rule, Verdict, parse_policy
from stream_redrive.core.rules import Evidence, RuleSet, default_rules


def evidence(document: object = None, **fields: Any) -> Evidence:
    known: dict[str, Any] = {"condition": "RetryAttemptsExhausted", "batch_size": 3, "attempt": 1}
    told = [fields.pop(name, None) for name in ("error_type", "message")]
    error = KnownError(told[0] or "", told[1] or "", "report") if told != [None, None] else None
    age = fields.pop("age_seconds", None)
    return Evidence(
        format=lambda: "json",
        document=lambda: document,
        find_error=lambda: error,
        find_age=lambda: age,
        **{**known, **fields},
    )


def matches(when: dict[str, Any], known: Evidence) -> bool:
    return RuleSet([Rule("r", when, Verdict.HELD, "why")]).first(known) is not None


@pytest.mark.parametrize(
    ("when", "known"),
    [
        ({"error_type": "Key*"}, {"error_type": "KeyError"}),
        ({"error_type": ["X", "KeyError"]}, {"error_type": "KeyError"}),
        ({"message": "*(Throttling*)*"}, {"message": "An error occurred (ThrottlingException) when\ncalling"}),
        ({"condition": "RecordAge*"}, {"condition": "RecordAgeExceeded"}),
        ({"attempt": 1}, {}),
        ({"attempt": {"at_least": 1}}, {}),
        ({"attempt": {"at_most": 1}, "batch_size": {"at_least": 2, "at_most": 3}}, {}),
        ({"format": ["json", "text"]}, {}),
        ({"invoke_count": {"at_least": 4}}, {"invoke_count": 4}),
        ({"age_seconds": {"at_most": 60}}, {"age_seconds": 59.5}),
        ({"function_error": "Unhandled"}, {"function_error": "Unhandled"}),
        ({"same_error": False}, {"error_type": "KeyError"}),
        ({"same_error": True}, {"error_type": "A", "last_error": error_fingerprint("A", "")}),
        ({"field": "status == 'closed'"}, {"document": {"status": "closed"}}),
        ({"field": "lines[?quantity < `0`]"}, {"document": {"lines": [{"quantity": 1}, {"quantity": -1}]}}),
    ],
)
def test_a_rule_matches(when: dict[str, Any], known: dict[str, Any]) -> None:
    assert matches(when, evidence(**known))


@pytest.mark.parametrize(
    ("when", "known"),
    [
        ({"error_type": "Key*"}, {"error_type": "ValueError"}),
        ({"error_type": "*"}, {}),
        ({"error_type": "KeyError", "attempt": 2}, {"error_type": "KeyError"}),
        ({"attempt": {"at_least": 2}}, {}),
        ({"attempt": {"at_most": 0}}, {}),
        ({"invoke_count": {"at_most": 4}}, {}),
        ({"age_seconds": {"at_most": 60}}, {}),
        ({"function_error": "*"}, {}),
        ({"same_error": True}, {"error_type": "A", "last_error": error_fingerprint("B", "")}),
        ({"format": ["binary"]}, {}),
        ({"field": "status"}, {"document": {"status": ""}}),
        ({"field": "status"}, {"document": None}),
        ({"field": "length(status) > `3`"}, {"document": {"status": 17}}),
        ({"field": "sum(prices) > `3`"}, {"document": {"prices": ["a"]}}),
    ],
)
def test_a_rule_does_not_match(when: dict[str, Any], known: dict[str, Any]) -> None:
    assert not matches(when, evidence(**known))


def test_the_first_rule_that_matches_decides() -> None:
    rules = [
        Rule("late", {"attempt": 9}, Verdict.POISON, ""),
        Rule("mine", {"attempt": 1}, Verdict.HELD, ""),
        Rule("all", {"attempt": {"at_least": 0}}, Verdict.POISON, ""),
    ]
    found = RuleSet(rules).first(evidence())
    assert found is not None
    assert found.id == "mine"


def test_no_pattern_runs_for_long() -> None:
    began = time.process_time()
    assert not matches({"message": "*" + "a*" * 90 + "b"}, evidence(message="a" * 100_000))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"when": {"error": "x"}}, "when"),
        ({"when": {}}, "when"),
        ({"when": {"field": "a["}}, "field is no JMESPath expression"),
        ({"when": {"format": ["xml"]}}, "format"),
        ({"when": {"attempt": {"at_least": -1}}}, "attempt"),
        ({"when": {"error_type": []}}, "error_type"),
        ({"when": {"attempt": 1}, "then": "retry"}, "then"),
        ({"when": {"attempt": 1}, "alarm": "yes"}, "alarm"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_its_fault(rule: dict[str, Any], problem: str) -> None:
    whole = {"id": "mine", "then": "held", "reason": "why", **rule}
    with pytest.raises(PolicyInvalid, match=problem):
        parse_policy(json.dumps({"default": {"rules": [whole]}}), "1")


def test_the_default_rules_are_a_valid_policy_of_their_own() -> None:
    rules = [
        {"id": r.id, "when": r.when, "then": r.then.value, "reason": r.reason, "alarm": r.alarm}
        for r in default_rules()
    ]
    assert parse_policy(json.dumps({"default": {"rules": rules}}), "1").default.rules == default_rules()


USUAL = [
    ("ClientError", "An error occurred (ProvisionedThroughputExceededException) when calling PutItem", "throttled"),
    ("ClientError", "An error occurred (ThrottlingException) when calling the PutItem operation: Rate", "throttled"),
    ("ClientError", "An error occurred (InternalServerError) when calling the PutItem operation", "server-error"),
    ("HTTPError", "503 Server Error: Service Unavailable for url: https://x", "server-error"),
    ("HTTPError", "HTTP Error 502: Bad Gateway", "server-error"),
    ("ReadTimeoutError", "Read timeout on endpoint URL", "unreachable"),
    ("ConnectTimeout", "timed out", "unreachable"),
    ("ConnectionRefusedError", "[Errno 111] Connection refused", "unreachable"),
    ("gaierror", "[Errno -2] Name or service not known", "unreachable"),
    ("OperationalError", "server closed the connection unexpectedly", "unreachable"),
    ("ClientError", "An error occurred (AccessDeniedException) when calling PutItem: not", "permission-missing"),
    ("ClientError", "An error occurred (ExpiredTokenException) when calling PutItem", "credentials-expired"),
    ("NoCredentialsError", "Unable to locate credentials", "no-credentials"),
    ("ResourceNotFoundException", "An error occurred (ResourceNotFoundException) when", "resource-missing"),
    ("ModuleNotFoundError", "No module named 'pandas'", "deployment-broken"),
    ("NameError", "name 'x' is not defined", "deployment-broken"),
    ("JSONDecodeError", "Expecting value: line 1 column 1 (char 0)", "undecodable"),
    ("UnicodeDecodeError", "'utf-8' codec can't decode byte 0xff", "undecodable"),
    ("KeyError", "'air_time'", "logic-error"),
    ("Runtime.OutOfMemory", "Memory Size: 128 MB Max Memory Used: 128 MB", "consumer-killed"),
    ("Sandbox.Timedout", "Task timed out after 3.00 seconds", "timed-out"),
    ("TypeError", "unsupported operand type(s) for /: 'NoneType' and 'int'", "logic-error"),
    ("ValidationError", "1 validation error for Order", "invalid"),
    ("SchemaValidationError", "Failed schema validation", "invalid"),
    ("IntegrityError", "UNIQUE constraint failed: orders.id", "duplicate"),
    ("ClientError", "An error occurred (ConditionalCheckFailedException) when", "condition-failed"),
    ("ClientError", "An error occurred (ValidationException) ...: Item size has exceeded", "record-too-large"),
]


@pytest.mark.parametrize(("error_type", "message", "expected"), USUAL)
def test_the_usual_errors_of_the_field_are_known(error_type: str, message: str, expected: str) -> None:
    known = evidence(error_type=error_type, message=message)
    found = RuleSet(default_rules()).first(known)
    assert found is not None
    assert found.id == expected


def test_every_default_rule_is_met_by_a_usual_error() -> None:
    assert {expected for *_, expected in USUAL} | {"kills-the-consumer"} == {rule.id for rule in default_rules()}


def test_what_kills_the_consumer_is_poison_only_alone_and_again() -> None:
    told = {"error_type": "Runtime.ExitError", "message": "signal: killed"}
    again = error_fingerprint(*told.values())
    for known, expected in [
        ({"batch_size": 1, "attempt": 1, "last_error": again}, "kills-the-consumer"),
        ({"batch_size": 1, "attempt": 0}, "consumer-killed"),
        ({"batch_size": 2, "attempt": 1, "last_error": again}, "consumer-killed"),
        ({"batch_size": 1, "attempt": 1, "last_error": "another"}, "consumer-killed"),
    ]:
        found = RuleSet(default_rules()).first(evidence(**told, **known))
        assert found is not None
        assert found.id == expected


def test_whatever_a_person_must_mend_alarms_and_blames_no_record() -> None:
    alarming = {rule.id for rule in default_rules() if rule.alarm}
    assert alarming == {
        "permission-missing",
        "credentials-expired",
        "no-credentials",
        "resource-missing",
        "deployment-broken",
    }
    assert all(rule.then is Verdict.TRANSIENT for rule in default_rules() if rule.alarm)
