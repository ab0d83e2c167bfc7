"""A policy that the functions would refuse is refused at synth, with a message that says where and what."""

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk.assertions import Template

from stream_redrive.core.errors import PolicyInvalid
from stream_redrive.core.policy import Approval, Backoff, parse_policy
from stream_redrive_cdk import InvalidPolicyError, StreamRedrive
from stream_redrive_cdk.policy import DEFAULT_APPROVAL, DEFAULT_BACKOFF, MAX_POLICY_BYTES, policy_document

RULE = {"id": "late", "when": {"attempt": 3}, "then": "held", "reason": "seen too often"}
WRONG = [
    ({"defaults": {}}, r"policy: .*defaults"),
    ({"default": {"max_attempts": "three"}}, r"policy\.default\.max_attempts: must be integer"),
    ({"default": {"max_attempt": 3}}, r"policy\.default: .*max_attempt"),
    ({"default": {"target": "queue"}}, r"policy\.default\.target: must match pattern"),
    ({"consumers": {"orders": {"pace": 2}}}, r"policy\.consumers\.orders\.pace: must be smaller than or equal to 1"),
    ({"default": {"rules": [{"id": "late"}]}}, r"policy\.default\.rules\.0: must contain .*reason"),
    ({"default": {"rules": [RULE, RULE]}}, r"policy\.default\.rules: the id 'late' stands more than once"),
    ({"default": {"backoff": {"base_seconds": 1000}}}, r"policy\.default\.backoff: base_seconds is more than"),
    (
        {"default": {"decoder": "none"}, "consumers": {"orders": {"schema": {"type": "object"}}}},
        r"policy\.consumers\.orders\.schema: needs a decoder",
    ),
    (
        {"default": {"approval": {"approvers": ["on-call"]}}},
        r"policy\.default\.approval\.approvers\.0: must match pattern",
    ),
    ({"default": {"approval": {"approvers": ["role/ops"]}}}, r"policy\.default\.approval\.approvers: names one person"),
    (
        {
            "default": {"approval": {"approvers": ["role/ops"], "two_person": []}},
            "consumers": {"orders": {"approval": {"two_person": ["discard"]}}},
        },
        r"policy\.consumers\.orders\.approval\.approvers: names one person only",
    ),
    ({"default": {"approval": {"approvers": ["role/o", "role/o/*"]}}}, r"approval\.approvers: names one person only"),
    ({"default": {"schema": {"type": "objekt"}}}, r"policy\.default\.schema: not a JSON Schema"),
    ({"default": {"schema": {"pattern": "("}}}, r"policy\.default\.schema: not a JSON Schema"),
    ({"default": {"schema": {"$ref": "file:///etc/hosts"}}}, r"policy\.default\.schema: not a JSON Schema"),
]
RIGHT: list[dict[str, Any]] = [
    {},
    {"default": {}},
    {"default": {"approval": {"approvers": ["role/ops"], "two_person": []}}},
    {"default": {"approval": {"approvers": ["role/ops/*"]}}},
    {"default": {"approval": {"approvers": ["role/ops", "user/carol"]}}},
    {"default": {"max_attempts": 5, "rules": [RULE], "stages": [1, "5 %"]}, "consumers": {"orders": {"pace": 0.5}}},
    {"consumers": {"arn:aws:lambda:us-east-1:111122223333:function:orders:live": {"schema": {"required": ["id"]}}}},
]


@pytest.mark.parametrize(("policy", "problem"), WRONG)
def test_a_wrong_policy_is_refused_with_its_place(policy: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidPolicyError, match=problem):
        policy_document(policy)


@pytest.mark.parametrize("policy", [policy for policy, _ in WRONG])
def test_what_is_refused_here_the_functions_refuse_as_well(policy: dict[str, Any]) -> None:
    with pytest.raises(PolicyInvalid):
        parse_policy(json.dumps(policy), "1")


@pytest.mark.parametrize("policy", RIGHT)
def test_what_is_accepted_here_the_functions_can_read(policy: dict[str, Any]) -> None:
    parse_policy(policy_document(policy), "1")


def test_without_a_policy_the_functions_defaults_are_in_force() -> None:
    assert parse_policy(policy_document(None), "1") == parse_policy("{}", "1")


def test_the_backoff_that_a_policy_leaves_out_is_that_of_the_functions() -> None:
    assert {"base_seconds": Backoff().base_seconds, "max_seconds": Backoff().max_seconds} == DEFAULT_BACKOFF


def test_the_approval_that_a_policy_leaves_out_is_that_of_the_functions() -> None:
    assert {"two_person": Approval().two_person, "approvers": Approval().approvers} == DEFAULT_APPROVAL


def test_approvers_may_be_roles_of_the_app() -> None:
    stack = cdk.Stack(cdk.App(), "Stack")
    roles = [iam.Role(stack, name, assumed_by=iam.AccountRootPrincipal()) for name in ("One", "Two")]
    patterns = [f"role/{role.role_name}" for role in roles]
    assert policy_document({"default": {"approval": {"approvers": patterns}}})
    with pytest.raises(InvalidPolicyError, match="names one person only"):
        policy_document({"default": {"approval": {"approvers": patterns[:1]}}})


def test_a_policy_larger_than_a_parameter_is_refused_with_its_size() -> None:
    policy = {"default": {"schema": {"description": "é" * (MAX_POLICY_BYTES // 2)}}}
    with pytest.raises(InvalidPolicyError, match=r"8\d{3} bytes long, and the parameter store takes at most 8192"):
        policy_document(policy)


def test_a_policy_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidPolicyError, match="policy: not JSON"):
        policy_document({"default": {"pace": float("nan")}})


def test_names_of_the_apps_own_resources_may_stand_in_a_policy() -> None:
    stack = cdk.Stack(cdk.App(), "Stack")
    spare = kinesis.Stream(stack, "Spare")
    StreamRedrive(
        stack,
        "Redrive",
        policy={
            "default": {"target": f"stream:{spare.stream_arn}"},
            "consumers": {cdk.Fn.import_value("orders"): {}, cdk.Fn.import_value("refunds"): {}},
        },
    )
    [parameter] = Template.from_stack(stack).find_resources("AWS::SSM::Parameter").values()
    text = "".join(part for part in parameter["Properties"]["Value"]["Fn::Join"][1] if isinstance(part, str))
    assert text == '{"default":{"target":"stream:"},"consumers":{"":{},"":{}}}'
