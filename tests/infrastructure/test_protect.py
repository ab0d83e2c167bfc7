"""What `protect` promises: a mapping that loses nothing, and the permissions that it needs, wherever things live."""

from collections.abc import Mapping

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Annotations, Match, Template

from stream_redrive_cdk import Protection, StreamRedrive
from tests.infrastructure import apps
from tests.infrastructure.templates import SynthesisedStack, readable

MAPPING = "AWS::Lambda::EventSourceMapping"


def test_a_failed_batch_is_split_retried_a_few_times_and_reported_to_us(plain: SynthesisedStack) -> None:
    Template.from_json(plain.template).has_resource_properties(
        MAPPING,
        {
            "FunctionName": apps.ORDERS,
            "EventSourceArn": apps.ORDERS_STREAM,
            "BatchSize": 100,
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": 3,
            "MaximumRecordAgeInSeconds": 6 * 3600,
            "ParallelizationFactor": 1,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "DestinationConfig": {"OnFailure": {"Destination": {"Ref": Match.string_like_regexp("OnFailureTopic")}}},
            "StartingPosition": "TRIM_HORIZON",
            "FilterCriteria": Match.absent(),
        },
    )


def test_every_setting_of_a_mapping_can_be_chosen(plain: SynthesisedStack) -> None:
    [mapping] = [found for found in plain.of_type(MAPPING).values() if found["FunctionName"] == apps.REFUNDS]
    assert {
        name: mapping.get(name) for name in mapping.keys() - {"DestinationConfig", "FunctionName", "EventSourceArn"}
    } == {
        "BatchSize": 500,
        "BisectBatchOnFunctionError": True,
        "MaximumBatchingWindowInSeconds": 5,
        "MaximumRetryAttempts": 7,
        "MaximumRecordAgeInSeconds": 120,
        "ParallelizationFactor": 4,
        "FilterCriteria": {"Filters": [{"Pattern": '{"data":{"kind":["refund"]}}'}]},
        "StartingPosition": "LATEST",
    }


def test_the_alias_of_an_imported_consumer_is_kept(plain: SynthesisedStack) -> None:
    assert apps.ORDERS.endswith(":live")
    assert apps.ORDERS in {readable(found["FunctionName"]) for found in plain.of_type(MAPPING).values()}


def test_the_consumers_role_is_ready_before_lambda_checks_it(plain: SynthesisedStack) -> None:
    for name, resource in plain.template["Resources"].items():
        if resource["Type"] == MAPPING and "Consumers" in name:
            [policy] = resource["DependsOn"]
            assert plain.template["Resources"][policy]["Type"] == "AWS::IAM::Policy"


def test_an_imported_consumer_without_a_role_comes_with_the_permissions_to_add(
    stacks: Mapping[str, SynthesisedStack],
) -> None:
    [warning] = stacks["Unknown"].messages
    assert warning.startswith("warning: ")
    for part in (
        apps.ORDERS,
        "kinesis:GetRecords, kinesis:GetShardIterator, kinesis:ListShards",
        apps.ORDERS_STREAM,
        "sns:Publish on the topic (output OnFailureTopicArn)",
    ):
        assert part in warning


def test_two_consumers_of_one_stream_are_two_mappings_and_one_grant(stacks: Mapping[str, SynthesisedStack]) -> None:
    twice = stacks["Twice"]
    consumers = {
        readable(found["FunctionName"]) for name, found in twice.of_type(MAPPING).items() if "FirstConsumers" in name
    }
    assert consumers == {"Orders", "Refunds"}
    reads = [statement["Resource"] for statement in twice.statements() if "kinesis:PutRecords" in statement["Action"]]
    assert [readable(stream) for stream in reads] == ["Stream"] * 4, "two readers of each of the two constructs"


def test_a_mapping_of_your_own_reports_to_us_once_its_stream_is_watched(
    stacks: Mapping[str, SynthesisedStack],
) -> None:
    twice = stacks["Twice"]
    destination = twice.one(MAPPING, "HandMade")["DestinationConfig"]["OnFailure"]["Destination"]
    assert readable(destination) == "SecondIntakeOnFailureTopic"
    grants = twice.grants()
    assert grants["ReturnsServiceRole"]["sns:Publish"] == {"SecondIntakeOnFailureTopic"}
    assert grants["SecondFunctionsCaptureRecordsRole"]["kinesis:GetRecords"] == {"Stream"}
    assert grants["SecondFunctionsRedriveRecordsRole"]["kinesis:PutRecords"] == {"Stream"}


def test_a_consumer_of_another_stack_depends_on_nothing_of_ours(stacks: Mapping[str, SynthesisedStack]) -> None:
    theirs, ours = stacks["Theirs"], stacks["Ours"]
    assert "Theirs" in ours.depends_on
    assert "Ours" not in theirs.depends_on
    assert not theirs.of_type(MAPPING)
    assert [name for name in ours.of_type(MAPPING) if "Consumers" in name]


def test_protecting_a_consumer_on_a_stream_twice_is_refused() -> None:
    stack = cdk.Stack(cdk.App(), "Stack")
    redrive = StreamRedrive(stack, "Redrive")
    orders, stream = apps.consumer(stack, "Orders"), kinesis.Stream(stack, "Stream")
    redrive.protect(consumer=orders, stream=stream)
    with pytest.raises(ValueError, match="Stack/Orders is already protected on Stack/Stream"):
        redrive.protect(consumer=orders, stream=stream)


def test_a_mapping_keeps_its_name_whatever_is_protected_before_it() -> None:
    def names(*consumers: str) -> dict[str, str]:
        stack = cdk.Stack(cdk.App(), "Stack")
        redrive = StreamRedrive(stack, "Redrive")
        stream = kinesis.Stream(stack, "Stream")
        return {
            name: redrive.protect(consumer=apps.consumer(stack, name), stream=stream).node.path for name in consumers
        }

    assert names("Orders", "Refunds") == names("Refunds", "Orders")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "missing in a protection: consumer_arn, stream_arn"),
        ({"consumer_arn": apps.ORDERS}, "missing in a protection: stream_arn"),
        (
            {"consumer_arn": apps.ORDERS, "stream_arn": apps.ORDERS_STREAM, "retries": 3},
            "unknown in a protection: retries; known: .*retry_attempts",
        ),
        ("orders", "a protection is a JSON object"),
        (
            {"consumer_arn": apps.ORDERS, "stream_arn": apps.ORDERS_STREAM, "starting_position": "START"},
            "starting_position is 'START', not TRIM_HORIZON or LATEST",
        ),
        (
            {"consumer_arn": apps.ORDERS_STREAM, "stream_arn": apps.ORDERS},
            "consumer_arn is no ARN of a Lambda function",
        ),
    ],
)
def test_a_protection_that_is_wrong_says_what(document: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Protection.from_json(document)


def test_a_consumer_of_ones_own_is_told_where_its_reports_go() -> None:
    app = cdk.App(analytics_reporting=False)
    stack = cdk.Stack(app, "Reports")
    redrive = StreamRedrive(stack, "Redrive")
    orders = apps.consumer(stack, "Orders")
    redrive.accept_reports(orders)
    redrive.accept_reports(orders)
    template = Template.from_stack(stack)
    template.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": "index.handler",
            "Environment": {
                "Variables": {"STREAM_REDRIVE_LEDGER_TABLE": {"Ref": Match.string_like_regexp("RedriveLedger")}}
            },
        },
    )


def test_an_imported_consumer_that_reports_gets_a_word_on_what_to_set(plain: SynthesisedStack) -> None:
    [hint] = [message for message in plain.messages if "STREAM_REDRIVE_LEDGER_TABLE" in message]
    assert apps.REFUNDS in hint


VARIABLE = "STREAM_REDRIVE_LEDGER_TABLE"


def test_the_function_behind_an_alias_is_told_where_its_reports_go() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Reports")
    StreamRedrive(stack, "Redrive").accept_reports(apps.consumer(stack, "Orders").add_alias("live"))
    Template.from_stack(stack).has_resource_properties(
        "AWS::Lambda::Function",
        {"Handler": "index.handler", "Environment": {"Variables": {VARIABLE: Match.any_value()}}},
    )


def test_a_consumer_of_another_stack_that_reports_gets_a_word_and_still_depends_on_nothing_of_ours() -> None:
    app = cdk.App(analytics_reporting=False)
    theirs, ours = cdk.Stack(app, "Theirs"), cdk.Stack(app, "Ours")
    orders, stream = apps.consumer(theirs, "Orders"), kinesis.Stream(theirs, "Stream")
    redrive = StreamRedrive(ours, "Redrive")
    redrive.protect(consumer=orders, stream=stream)
    redrive.accept_reports(orders)
    Annotations.from_stack(ours).has_info("*", Match.string_like_regexp(f"Set {VARIABLE} .* Theirs/Orders"))
    app.synth()
    assert ours not in theirs.dependencies


def test_an_unknown_role_comes_with_the_narrow_permission_to_add() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Reports")
    orders = lambda_.Function.from_function_arn(stack, "Orders", apps.ORDERS)
    StreamRedrive(stack, "Redrive", encryption_key=kms.Key(stack, "Key")).accept_reports(orders)
    for part in ("dynamodb:BatchWriteItem on the ledger", "REPORT#<function name>#", "kms:GenerateDataKey"):
        Annotations.from_stack(stack).has_warning("*", Match.string_like_regexp(part))


def log_grants(stack: cdk.Stack) -> dict[str, set[str]]:
    """What the service may do with consumers' logs."""
    synthesised = SynthesisedStack(template=Template.from_stack(stack).to_json(), messages=(), depends_on=())
    [grants] = [found for role, found in synthesised.grants().items() if role.endswith("ClassifyRecordsRole")]
    return {
        action: grants[action] for action in ("logs:FilterLogEvents", "lambda:GetFunctionConfiguration") & grants.keys()
    }


def test_the_log_of_a_protected_consumer_may_be_read(stacks: Mapping[str, SynthesisedStack]) -> None:
    grants = stacks["Twice"].grants()["FirstFunctionsClassifyRecordsRole"]
    where = "arn:AWS::Partition:{}:AWS::Region:AWS::AccountId:{}"
    assert grants["logs:FilterLogEvents"] == {
        where.format("logs", f"log-group:/aws/lambda/{name}:*") for name in ("Orders", "Refunds")
    }
    assert grants["lambda:GetFunctionConfiguration"] == {
        where.format("lambda", f"function:{name}{qualifier}")
        for name in ("Orders", "Refunds")
        for qualifier in ("", ":*")
    }


def test_a_consumer_with_a_mapping_of_its_own_lets_its_log_be_read_when_told(
    stacks: Mapping[str, SynthesisedStack],
) -> None:
    [group] = stacks["Twice"].grants()["SecondFunctionsClassifyRecordsRole"]["logs:FilterLogEvents"]
    assert group.endswith("log-group:/aws/lambda/Returns:*")


def test_the_alias_of_a_consumer_logs_where_its_function_does(stacks: Mapping[str, SynthesisedStack]) -> None:
    grants = stacks["Ours"].grants()["RedriveFunctionsClassifyRecordsRole"]
    [group] = grants["logs:FilterLogEvents"]
    # The import's name: the ARN of the alias in the other stack.
    assert group.startswith("arn:AWS::Partition:logs:AWS::Region:AWS::AccountId:log-group:/aws/lambda/Theirs:")


def test_a_group_of_ones_own_is_read_and_no_other() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Logs")
    group = logs.LogGroup(stack, "Shop")
    StreamRedrive(stack, "Redrive").protect(
        consumer=apps.consumer(stack, "Orders"), stream=kinesis.Stream(stack, "Stream"), log_group=group
    )
    assert log_grants(stack)["logs:FilterLogEvents"] == {
        "arn:AWS::Partition:logs:AWS::Region:AWS::AccountId:log-group:Shop:*"
    }


def test_no_log_is_read_that_nobody_wants_read() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Logs")
    StreamRedrive(stack, "Redrive").protect(
        consumer=apps.consumer(stack, "Orders"), stream=kinesis.Stream(stack, "Stream"), read_log=False
    )
    assert log_grants(stack) == {}


def test_reading_a_log_brings_no_custom_resource(stacks: Mapping[str, SynthesisedStack]) -> None:
    types = {resource["Type"] for resource in stacks["Twice"].template["Resources"].values()}
    assert not [name for name in types if name.startswith("Custom::")]


def test_a_consumer_on_two_streams_is_granted_once() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Logs")
    redrive, orders = StreamRedrive(stack, "Redrive"), apps.consumer(stack, "Orders")
    for name in ("First", "Second"):
        redrive.protect(consumer=orders, stream=kinesis.Stream(stack, name))
    template = Template.from_stack(stack).to_json()
    statements = SynthesisedStack(template=template, messages=(), depends_on=()).statements()
    [resource] = [found["Resource"] for found in statements if found["Action"] == "logs:FilterLogEvents"]
    assert isinstance(resource, dict), "one, not a list"


def probed(stack: cdk.Stack) -> set[str]:
    """What the service may invoke besides its own functions."""
    policies = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    statements = [s for policy in policies for s in policy["Properties"]["PolicyDocument"]["Statement"]]
    return {
        name
        for statement in statements
        if statement["Action"] == "lambda:InvokeFunction"
        for arn in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
        if not (name := readable(arn)).startswith("RedriveFunctions")
    }


def test_no_consumer_is_invoked_unless_that_is_allowed() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Probes")
    redrive = StreamRedrive(stack, "Redrive")
    redrive.protect(consumer=apps.consumer(stack, "Orders"), stream=kinesis.Stream(stack, "Stream"))
    assert probed(stack) == set()


def test_a_function_may_be_probed_with_its_versions_and_an_alias_alone() -> None:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "Probes")
    redrive = StreamRedrive(stack, "Redrive")
    orders, refunds = apps.consumer(stack, "Orders"), apps.consumer(stack, "Refunds").add_alias("live")
    imported = lambda_.Function.from_function_attributes(stack, "Imported", function_arn=apps.ORDERS)
    for consumer in (orders, refunds, imported, orders):
        redrive.allow_probe(consumer)
    assert probed(stack) == {"Orders", "Orders:*", "RefundsAliaslive", apps.ORDERS}
