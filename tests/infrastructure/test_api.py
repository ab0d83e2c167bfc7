"""The cases API: a route for each that its function answers, signed by all who call, and IAM says by whom."""

import json
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from stream_redrive_cdk import StreamRedrive
from tests.infrastructure.templates import REPOSITORY, SynthesisedStack, readable

DESCRIBED = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())["paths"]
ROUTES = {f"{method.upper()} {path}" for path, methods in DESCRIBED.items() for method in methods}
GETS = {route for route in ROUTES if route.startswith("GET ")}


def test_the_routes_are_those_that_the_function_answers(plain: SynthesisedStack) -> None:
    assert {route["RouteKey"] for route in plain.of_type("AWS::ApiGatewayV2::Route").values()} == ROUTES


def test_every_route_asks_iam_who_calls(plain: SynthesisedStack) -> None:
    assert {r["AuthorizationType"] for r in plain.of_type("AWS::ApiGatewayV2::Route").values()} == {"AWS_IAM"}


def test_the_api_allows_no_browser_of_another_origin(plain: SynthesisedStack) -> None:
    assert "CorsConfiguration" not in plain.one("AWS::ApiGatewayV2::Api")


def test_calls_are_logged_and_throttled(plain: SynthesisedStack) -> None:
    stage = plain.one("AWS::ApiGatewayV2::Stage")
    assert readable(stage["AccessLogSettings"]["DestinationArn"]) == "ApiAccessLog"
    logged = json.loads(stage["AccessLogSettings"]["Format"])
    assert logged["caller"] == "$context.identity.userArn"
    assert stage["DefaultRouteSettings"] == {"ThrottlingBurstLimit": 40, "ThrottlingRateLimit": 20}


def test_the_function_answers_before_the_api_gives_up(plain: SynthesisedStack) -> None:
    assert plain.functions()["cases_api"]["Timeout"] < 30


def test_the_stack_says_where_the_api_is(plain: SynthesisedStack) -> None:
    assert "ApiUrl" in plain.template["Outputs"]


def granted(grant: str) -> set[str]:
    """The routes that a grantee may call."""
    stack = cdk.Stack(cdk.App(), "Stack")
    role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
    getattr(StreamRedrive(stack, "Redrive"), grant)(role)
    [policy] = (
        Template.from_stack(stack)
        .find_resources("AWS::IAM::Policy", {"Properties": {"Roles": [stack.resolve(role.role_name)]}})
        .values()
    )
    found: set[str] = set()
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        assert statement["Action"] == "execute-api:Invoke"
        resources = statement["Resource"]
        found |= {route_of(r) for r in (resources if isinstance(resources, list) else [resources])}
    return found


def route_of(arn: Any) -> str:
    """ "…/*/GET/cases/*/records" as "GET /cases/{case_id}/records"."""
    text = arn["Fn::Join"][1][-1]
    _, _, method, *path = text.split("/")
    return f"{method} /" + "/".join("{case_id}" if part == "*" else part for part in path)


def test_a_viewer_may_look_and_do_nothing_else() -> None:
    assert granted("grant_viewer") == GETS


def test_an_operator_may_call_every_route() -> None:
    assert granted("grant_operator") == ROUTES


def test_nobody_is_granted_a_call_who_was_not_named(plain: SynthesisedStack) -> None:
    assert not [s for s in plain.statements() if "execute-api:Invoke" in str(s["Action"])]
