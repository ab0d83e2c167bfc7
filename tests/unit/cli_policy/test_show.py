"""`redrive policy show`: what is stored, who wrote it, whether it holds, and what it comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_redrive_cli.policy.difference import fields
from tests.support.cloud import Cloud
from tests.unit.cli_policy.conftest import PARAMETER, REGION, Redrive, write

POLICY = '{"default": {"max_attempts": 5,\n "backoff": {"factor": 3}}, "consumers": {"orders": {"pace": 0.5}}}'
ARN = "arn:aws:lambda:us-east-1:123456789012:function:"


def values(data: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    return {name: (field["value"], field["from"]) for name, field in data["fields"].items()}


def test_the_document_is_shown_as_it_is_stored(service: Cloud, redrive: Redrive) -> None:
    write(service, POLICY)
    shown = redrive("policy", "show")
    assert shown.code == 0
    assert shown.out == POLICY + "\n"
    assert f"{PARAMETER}, version 2, written " in shown.err
    assert "valid" in shown.err
    assert "in force: this version" in shown.err


def test_json_holds_all_that_is_known_of_a_version(service: Cloud, redrive: Redrive) -> None:
    write(service, POLICY, '{"default": {}}')
    data = redrive("policy", "show", "--version", 2, "--output", "json").data
    assert data.pop("written_at")
    assert data == {
        "parameter": PARAMETER,
        "version": 2,
        "written_by": "N/A",  # all that moto knows
        "reason": None,
        "tier": "Standard",
        "valid": True,
        "problem": None,
        "line": None,
        "in_force": 3,
        "document": json.loads(POLICY),
        "text": POLICY,
    }


def test_an_invalid_version_says_what_is_wrong_and_which_is_in_force(service: Cloud, redrive: Redrive) -> None:
    write(service, POLICY, '{"default":\n {"pace": 7}}', "{")
    shown = redrive("policy", "show")
    assert shown.code == 0
    assert "INVALID: version 4, line 1: not JSON" in shown.err
    assert "in force: version 2" in shown.err
    third = redrive("policy", "show", "--version", 3, "--output", "json").data
    assert (third["valid"], third["line"], third["in_force"]) == (False, 2, 2)
    assert "default.pace" in third["problem"]


def test_without_any_valid_version_the_defaults_are_in_force(service: Cloud, redrive: Redrive) -> None:
    service.client("ssm").delete_parameter(Name=PARAMETER)
    write(service, "no policy")
    assert "in force: the built-in defaults" in redrive("policy", "show").err
    effective = redrive("policy", "show", "--consumer", "orders", "--output", "json").data
    assert effective["version"] is None
    assert {source for _, source in values(effective).values()} == {"built-in"}


def test_a_consumers_policy_says_where_each_field_comes_from(service: Cloud, redrive: Redrive) -> None:
    write(service, POLICY)
    data = redrive("policy", "show", "--consumer", "orders", "--output", "json").data
    assert (data["version"], data["entry"]) == (2, "orders")
    found = values(data)
    assert found["pace"] == (0.5, "consumers.orders")
    assert found["max_attempts"] == (5, "default")
    assert found["backoff.factor"] == (3, "default")
    assert found["backoff.max_seconds"] == (900, "built-in")
    assert found["approval.two_person"] == (["edit", "discard"], "built-in")


def test_a_consumers_policy_is_that_in_force_not_the_newest_invalid_one(service: Cloud, redrive: Redrive) -> None:
    write(service, POLICY, "{")
    assert redrive("policy", "show", "--consumer", "orders", "--output", "json").data["version"] == 2
    asked = redrive("policy", "show", "--consumer", "orders", "--version", 3)
    assert (asked.code, asked.out) == (253, "")
    assert "version 3, line 1" in asked.err


@pytest.mark.parametrize(
    ("consumer", "entry"),
    [
        ("orders", f"{ARN}orders"),
        (f"{ARN}orders", f"{ARN}orders"),
        (f"{ARN}orders:live", f"{ARN}orders:live"),
        ("orders:live", f"{ARN}orders:live"),
        ("bills", "bills"),
        ("bills:live", "bills"),
        (f"{ARN}bills", "bills"),
        ("others", None),
    ],
)
def test_a_consumer_is_found_as_the_service_finds_it(
    consumer: str, entry: str | None, service: Cloud, redrive: Redrive
) -> None:
    write(service, json.dumps({"consumers": {f"{ARN}orders": {}, f"{ARN}orders:live": {}, "bills": {}}}))
    assert redrive("policy", "show", "--consumer", consumer, "--output", "json").data["entry"] == entry


def test_a_name_that_stands_for_two_entries_is_refused(service: Cloud, redrive: Redrive) -> None:
    write(service, json.dumps({"consumers": {f"{ARN}orders": {}, "orders": {}}}))
    shown = redrive("policy", "show", "--consumer", "orders")
    assert shown.code == 252
    assert "by its ARN" in shown.err


def test_the_table_of_a_consumer_has_every_field(service: Cloud, redrive: Redrive) -> None:
    write(service, POLICY)
    shown = redrive("policy", "show", "--consumer", "orders")
    data = redrive("policy", "show", "--consumer", "orders", "--output", "json").data
    assert dict(fields(json.loads(POLICY)))  # the sample sets something
    assert all(f" {name} " in shown.out for name in data["fields"])
    assert "consumers.orders" in shown.out


def test_what_somebody_wrote_into_the_parameter_drives_no_terminal(service: Cloud, redrive: Redrive) -> None:
    evil = '{"default": {"rules": [{"id": "a", "when": {"attempt": 1}, "then": "held", "reason": "\x9b2J\u202e\x7f"}]}}'
    write(service, evil)
    shown = redrive("policy", "show").out
    assert "\\u009b2J\\u202e\\u007f" in shown
    assert json.loads(shown) == json.loads(evil)
    for output in ("table", "json"):
        out = redrive("policy", "show", "--consumer", "orders", "--output", output).out
        assert not set(out) & {"\x9b", "\u202e", "\x7f"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--version", "9"), 252, "there is no version 9: the parameter keeps 1 to 1"),
        (("--version", "0"), 252, ""),
        (("--consumer", "no name"), 252, "neither the name of a function nor its ARN"),
        (("--parameter", "/nowhere"), 253, f"there is no parameter '/nowhere' in {REGION}"),
        (("--stack", "Other"), 253, "there is no stack 'Other'"),
        (("--profile", "nobody-has-this"), 253, "nobody-has-this"),
    ],
)
def test_what_can_not_be_shown_ends_in_one_line(
    arguments: tuple[str, ...], code: int, said: str, service: Cloud, redrive: Redrive
) -> None:
    shown = redrive("policy", "show", *arguments)
    assert (shown.code, shown.out) == (code, "")
    assert said in shown.err
    assert len(shown.err.splitlines()) == 1 or not said


def test_a_parameter_can_be_named_without_any_stack(cloud: Cloud, redrive: Redrive) -> None:
    assert redrive("policy", "show", "--parameter", PARAMETER).out == "{}\n"


def test_a_stack_of_somebody_else_has_no_policy(service: Cloud, redrive: Redrive) -> None:
    body = json.dumps({"Resources": {"Any": {"Type": "AWS::SNS::Topic"}}})
    service.client("cloudformation").create_stack(StackName="Other", TemplateBody=body)
    shown = redrive("policy", "show", "--stack", "Other")
    assert shown.code == 253
    assert "has no output PolicyParameterName" in shown.err


def test_no_credentials_are_253(service: Cloud, redrive: Redrive, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    shown = redrive("policy", "show")
    assert (shown.code, shown.err) == (253, "redrive: Unable to locate credentials\n")


def test_no_region_is_253(service: Cloud, redrive: Redrive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert redrive("policy", "show").code == 253
    assert redrive("policy", "show", "--region", REGION).code == 0
