"""What `cdk deploy` takes from its context."""

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

import app
from tests.infrastructure.apps import ORDERS, ORDERS_STREAM, REFUNDS, REFUNDS_STREAM, STREAM_KEY
from tests.infrastructure.templates import SynthesisedStack

PAIR = {"stream_arn": ORDERS_STREAM, "consumer_arn": ORDERS}
PAIRS = [PAIR, {"stream_arn": REFUNDS_STREAM, "consumer_arn": REFUNDS, "batch_size": 7}]


def synthesise(outdir: Path, **context: Any) -> SynthesisedStack:
    """Synthesise the stack with a context, as the CDK CLI hands it to the app."""
    cdk_app = cdk.App(context=context, outdir=str(outdir))
    app.build(cdk_app)
    cdk_app.synth()
    template = json.loads((outdir / "StreamRedrive.template.json").read_text())
    return SynthesisedStack(template=template, messages=(), depends_on=())


def consumers(stack: SynthesisedStack) -> set[str]:
    mappings = stack.of_type("AWS::Lambda::EventSourceMapping")
    return {found["FunctionName"] for name, found in mappings.items() if "Consumers" in name}


def test_nothing_at_all_deploys_the_service_alone(tmp_path: Path) -> None:
    assert consumers(synthesise(tmp_path)) == set()


def test_a_pair_a_policy_and_a_topic_can_be_given(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": {"max_attempts": 5}}')
    stack = synthesise(
        tmp_path,
        **PAIR,
        consumer_role_arn="arn:aws:iam::111122223333:role/orders",
        stream_key_arn=STREAM_KEY,
        policy=str(policy),
        alarm_topic_arn="arn:aws:sns:us-east-1:111122223333:on-call",
    )
    assert consumers(stack) == {ORDERS}
    assert stack.grants()["orders"]["kms:Decrypt"] == {STREAM_KEY}
    assert stack.one("AWS::SSM::Parameter")["Value"] == '{"default":{"max_attempts":5}}'
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == ["arn:aws:sns:us-east-1:111122223333:on-call"]


@pytest.mark.parametrize("listed", [PAIRS, json.dumps(PAIRS)], ids=["cdk.json", "command line"])
def test_several_pairs_can_be_listed(listed: Any) -> None:
    found = app.protections(cdk.App(context={"protect": listed}))
    assert [(each.consumer_arn, each.stream_arn, each.batch_size) for each in found] == [
        (ORDERS, ORDERS_STREAM, 100),
        (REFUNDS, REFUNDS_STREAM, 7),
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"stream_arn": ORDERS_STREAM}, "pass -c consumer_arn=arn:aws:… as well"),
        ({"consumer_arn": ORDERS}, "pass -c stream_arn=arn:aws:… as well"),
        ({**PAIR, "protect": PAIRS}, "either -c protect=… or one pair"),
        ({"protect": "[{"}, r"-c protect=… is a JSON list: .*; it can't be read as JSON"),
        ({"protect": PAIR}, "-c protect=… is a JSON list"),
        ({"protect": [{"stream_arn": ORDERS_STREAM}]}, "missing in a protection: consumer_arn"),
    ],
)
def test_context_that_is_wrong_says_what_to_pass(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        app.build(cdk.App(context=values))


@pytest.mark.parametrize("content", [None, "{", '{"default": {"pace": 2}}'], ids=["missing", "broken", "invalid"])
def test_a_policy_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None) -> None:
    policy = tmp_path / "policy.json"
    if content is not None:
        policy.write_text(content)
    with pytest.raises(ValueError, match="policy"):
        app.build(cdk.App(context={"policy": str(policy)}))
