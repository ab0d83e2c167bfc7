"""Least privilege: what each role may do is exactly what this table, written by hand, says it needs."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import get_session

from tests.infrastructure import apps
from tests.infrastructure.templates import REPOSITORY, SynthesisedStack, listed, readable

ADAPTERS = REPOSITORY / "functions" / "stream_redrive" / "adapters"

CAPTURED, INCIDENTS, QUARANTINE = "Vault/captured/*", "Vault/incidents/*", "Vault/quarantine/*"
CASES = "Vault/cases/*"
CASE_EXECUTIONS = "arn:AWS::Partition:states:AWS::Region:AWS::AccountId:execution:CasesCase:*"
MAP_RUNS = "arn:AWS::Partition:states:AWS::Region:AWS::AccountId:execution:CasesCase/*"
EXECUTIONS = "arn:AWS::Partition:states:AWS::Region:AWS::AccountId:execution:WorkflowRedrive:*"
POLICY = "arn:AWS::Partition:ssm:AWS::Region:AWS::AccountId:parameterPolicy"  # the name brings the slash
ORDERS_STREAM = "arn:aws:kinesis:us-east-1:111122223333:stream/orders"
REFUNDS_STREAM = "arn:aws:kinesis:us-east-1:111122223333:stream/refunds"
STREAMS = {ORDERS_STREAM, REFUNDS_STREAM}
ACCOUNT = "AWS::Region:AWS::AccountId"
CONSUMER_FUNCTIONS = {
    f"arn:AWS::Partition:lambda:{ACCOUNT}:function:{name}{qualifier}"
    for name in ("orders", "refunds")
    for qualifier in ("", ":*")
}
CONSUMER_LOGS = {
    f"arn:AWS::Partition:logs:{ACCOUNT}:log-group:{group}:*" for group in ("/aws/lambda/orders", "shop/refunds")
}
STREAM_KEY = {"arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000000"}

READ_POLICY = {"ssm:GetParameter": {POLICY}, "ssm:GetParameterHistory": {POLICY}}


def on_ledger(*operations: str) -> dict[str, set[str]]:
    return {f"dynamodb:{operation}": {"Ledger"} for operation in operations}


FUNCTIONS: dict[str, dict[str, set[str]]] = {
    "StartRedrive": {
        "states:StartExecution": {"WorkflowRedrive"},
        "states:DescribeExecution": {EXECUTIONS},
        "s3:PutObject": {INCIDENTS},
        "sqs:ReceiveMessage": {"IntakeQueue"},
        "sqs:DeleteMessage": {"IntakeQueue"},
        "sqs:GetQueueAttributes": {"IntakeQueue"},
    },
    "CaptureRecords": {
        "kinesis:GetShardIterator": STREAMS,
        "kinesis:GetRecords": STREAMS,
        "kinesis:ListShards": STREAMS,
        "kms:Decrypt": STREAM_KEY,
        "s3:PutObject": {CAPTURED, INCIDENTS},
        "s3:GetObject": {CAPTURED, INCIDENTS, QUARANTINE, CASES},
        "s3:ListBucket": {"Vault"},
        "dynamodb:PutItem": {"Ledger"},
        "dynamodb:GetItem": {"Ledger"},
        "dynamodb:BatchGetItem": {"Ledger"},
        "dynamodb:Query": {"Ledger"},
    },
    "ClassifyRecords": {
        "lambda:ListEventSourceMappings": {"*"},
        "dynamodb:Query": {"Ledger"},
        "lambda:GetFunctionConfiguration": CONSUMER_FUNCTIONS,
        "logs:FilterLogEvents": CONSUMER_LOGS,
        "dynamodb:PutItem": {"Ledger"},
        "lambda:InvokeFunction": {apps.REFUNDS, f"{apps.REFUNDS}:*"},
        "s3:GetObject": {CAPTURED, INCIDENTS},
        "s3:PutObject": {INCIDENTS},
        "ssm:GetParameter": {POLICY},
        "ssm:GetParameterHistory": {POLICY},
    },
    "QuarantineRecords": {
        "s3:GetObject": {CAPTURED, INCIDENTS, QUARANTINE},
        "s3:PutObject": {QUARANTINE, INCIDENTS},
        "sqs:SendMessage": {"PoisonQueue"},
        "dynamodb:Query": {"Ledger"},
        "dynamodb:GetItem": {"Ledger"},
        "dynamodb:BatchGetItem": {"Ledger"},
        "dynamodb:BatchWriteItem": {"Ledger"},
        "dynamodb:PutItem": {"Ledger"},
        "dynamodb:UpdateItem": {"Ledger"},
        "ssm:GetParameter": {POLICY},
        "ssm:GetParameterHistory": {POLICY},
    },
    "OpenCases": {
        "dynamodb:Query": {"Ledger"},
        "dynamodb:GetItem": {"Ledger"},
        "dynamodb:DeleteItem": {"Ledger"},
        "states:StartExecution": {"CasesCase"},
    },
    "RedriveRecords": {
        "s3:GetObject": {CAPTURED, INCIDENTS},
        "kinesis:PutRecords": STREAMS,
        "kinesis:ListShards": STREAMS,
        "kinesis:GetShardIterator": STREAMS,
        "kinesis:GetRecords": STREAMS,
        "kms:Decrypt": STREAM_KEY,
        "kms:GenerateDataKey": STREAM_KEY,
        "dynamodb:GetItem": {"Ledger"},
        "dynamodb:PutItem": {"Ledger"},
        "dynamodb:DeleteItem": {"Ledger"},
        "dynamodb:BatchGetItem": {"Ledger"},
        "dynamodb:BatchWriteItem": {"Ledger"},
    },
    "CloseIncident": {"s3:GetObject": {INCIDENTS}},
    "ParkIncident": {"sqs:SendMessage": {"PoisonQueue"}},
    "TakeOverRecords": {"s3:GetObject": {CASES}, **on_ledger("GetItem", "Query", "PutItem")},
    "NotifyApprovers": {
        "s3:GetObject": {QUARANTINE},
        "sns:Publish": {"CasesApprovalTopic"},
        "states:SendTaskSuccess": {"CasesCase"},
        **READ_POLICY,
        **on_ledger("GetItem", "Query", "PutItem", "DeleteItem"),
    },
    "ReviewCase": {**READ_POLICY, **on_ledger("GetItem", "PutItem", "DeleteItem")},
    "RedriveChunk": {
        "s3:GetObject": {QUARANTINE, CASES},
        "kinesis:PutRecords": STREAMS,
        "kinesis:ListShards": STREAMS,
        "kinesis:GetShardIterator": STREAMS,
        "kinesis:GetRecords": STREAMS,
        "kms:Decrypt": STREAM_KEY,
        "kms:GenerateDataKey": STREAM_KEY,
        **on_ledger("GetItem", "Query", "PutItem", "DeleteItem", "BatchGetItem", "BatchWriteItem"),
    },
    "ConfirmCase": {
        "s3:GetObject": {QUARANTINE, CASES},
        **READ_POLICY,
        **on_ledger("GetItem", "Query", "BatchGetItem", "PutItem"),
    },
    "SettleCase": {
        "s3:GetObject": {QUARANTINE, CASES},
        "sqs:ReceiveMessage": {"PoisonQueue"},
        "sqs:DeleteMessage": {"PoisonQueue"},
        "sqs:ChangeMessageVisibility": {"PoisonQueue"},
        "sqs:GetQueueAttributes": {"PoisonQueue"},
        **on_ledger("GetItem", "Query", "UpdateItem", "BatchWriteItem", "PutItem", "DeleteItem"),
    },
    "SweepCases": {
        "states:StartExecution": {"CasesCase"},
        "states:ListExecutions": {"CasesCase"},
        "states:DescribeExecution": {CASE_EXECUTIONS},
        "states:SendTaskSuccess": {"CasesCase"},
        "states:SendTaskFailure": {"CasesCase"},
        "sns:Publish": {"CasesApprovalTopic"},
        **on_ledger("GetItem", "Query", "BatchGetItem", "PutItem", "DeleteItem"),
    },
    "CasesApi": {
        "s3:GetObject": {QUARANTINE},
        "s3:ListBucket": {"Vault"},
        "s3:PutObject": {CASES},
        "states:SendTaskSuccess": {"CasesCase"},
        "sns:Publish": {"CasesApprovalTopic"},
        **READ_POLICY,
        **on_ledger("GetItem", "BatchGetItem", "Query", "PutItem", "DeleteItem"),
    },
}

# AWS has no resource-level permission for these groups.
LOG_DELIVERY = {  # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
TRACING = {  # https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
}
CALLED_BY_CASES = {
    "TakeOverRecords",
    "NotifyApprovers",
    "ReviewCase",
    "RedriveChunk",
    "ConfirmCase",
    "SettleCase",
}
CALLED_BY_MACHINE = set(FUNCTIONS) - CALLED_BY_CASES - {"StartRedrive", "SweepCases", "CasesApi"}
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
LISTING_MAPPINGS = {"lambda:ListEventSourceMappings"}
MACHINE = {
    "lambda:InvokeFunction": {f"Functions{name}" for name in CALLED_BY_MACHINE},
    **{action: {"*"} for action in LOG_DELIVERY | TRACING},
}
# The last three are for a Distributed Map, whose children are executions of the machine itself.
# https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
CASE_MACHINE = {
    "lambda:InvokeFunction": {f"Functions{name}" for name in CALLED_BY_CASES},
    **{action: {"*"} for action in LOG_DELIVERY | TRACING},
    "s3:GetObject": {CASES},
    "states:StartExecution": {"CasesCase"},
    "states:DescribeExecution": {MAP_RUNS},
    "states:StopExecution": {MAP_RUNS},
}

# What Lambda calls in the consumer's name. https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
POLL_STREAM = {
    "kinesis:DescribeStream",
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
}
TOPIC = {"sns:Publish": {"IntakeOnFailureTopic"}}
CONSUMERS = {
    "orders": {**{action: {ORDERS_STREAM} for action in POLL_STREAM}, **TOPIC},
    "refunds": {
        **{action: {REFUNDS_STREAM} for action in POLL_STREAM},
        **TOPIC,
        "kms:Decrypt": STREAM_KEY,
        "dynamodb:BatchWriteItem": {"Ledger"},
    },
}


def own_log(name: str) -> dict[str, set[str]]:
    return {f"logs:{action}": {f"Functions{name}Logs"} for action in ("CreateLogStream", "PutLogEvents")}


def test_each_role_may_do_exactly_what_its_table_says(plain: SynthesisedStack) -> None:
    expected = {f"Functions{name}Role": {**own_log(name), **actions} for name, actions in FUNCTIONS.items()}
    machines = {"WorkflowRedriveRole": MACHINE, "CasesCaseRole": CASE_MACHINE}
    assert plain.grants() == {**expected, **machines, **CONSUMERS}


def test_a_consumer_writes_its_own_reports_and_nothing_else(plain: SynthesisedStack) -> None:
    [statement] = [
        found for found in plain.statements() if found["Action"] == "dynamodb:BatchWriteItem" and "Condition" in found
    ]
    assert statement["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["REPORT#refunds#*"]},
    }


def test_no_role_gets_a_managed_or_inline_policy_besides(plain: SynthesisedStack) -> None:
    for role in plain.of_type("AWS::IAM::Role").values():
        assert role.keys() <= {"AssumeRolePolicyDocument", "Description"}


def test_a_star_stands_for_every_resource_only_where_aws_knows_no_narrower_one(plain: SynthesisedStack) -> None:
    everywhere = {
        action
        for statement in plain.statements()
        if "*" in listed(statement["Resource"])
        for action in listed(statement["Action"])
    }
    assert everywhere == LOG_DELIVERY | TRACING | LISTING_MAPPINGS


def test_no_action_is_a_pattern(plain: SynthesisedStack) -> None:
    assert not [a for statement in plain.statements() for a in listed(statement["Action"]) if "*" in a]


def test_the_capture_lists_captured_objects_and_the_api_quarantined_ones(plain: SynthesisedStack) -> None:
    conditions = [
        s["Condition"]["StringLike"]["s3:prefix"] for s in plain.statements() if s["Action"] == "s3:ListBucket"
    ]
    assert sorted(conditions) == ["captured/*", "quarantine/*"]


def test_each_role_is_assumed_by_the_one_service_that_runs_it(plain: SynthesisedStack) -> None:
    for name, role in plain.of_type("AWS::IAM::Role").items():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        is_machine = readable({"Ref": name}) in ("WorkflowRedriveRole", "CasesCaseRole")
        service = "states" if is_machine else "lambda"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}


# Several API operations are checked under the name of another.
CHECKED_AS = {
    "dynamodb:TransactWriteItems": "dynamodb:PutItem",
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
# Updates are parts of transactions only.
INSIDE_TRANSACTIONS = {"dynamodb:UpdateItem"}
# Adapters that are not named after their service.
SERVICE_OF = {"table": "dynamodb", "cases": "dynamodb", "mappings": "lambda", "consumer": "lambda"}
SERVICES = {"stepfunctions": "states"}
BY_LAMBDA_ITSELF = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}


def test_what_is_granted_is_what_the_adapters_call() -> None:
    granted = {action for actions in FUNCTIONS.values() for action in actions if not action.startswith("kms:")}
    assert {
        action for module in ADAPTERS.glob("*.py") for action in called_actions(module)
    } == granted - INSIDE_TRANSACTIONS


def called_actions(module: Path) -> set[str]:
    """Return the IAM actions behind the calls of an adapter's clients: `_client` is of the service that the module is
    named after, or stands for, any other is named after its own (`_lambda`).
    """
    own, calls = SERVICE_OF.get(module.stem, module.stem), set()
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=str(name))]):
                calls.add((own, name))
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=str(client)), attr=name)):
                calls.add((own if client == "_client" else client.removeprefix("_"), name))
    actions = {action for service, name in calls for action in actions_of(service, name)}
    return {CHECKED_AS.get(action, action) for action in actions}


def actions_of(service: str, call: str) -> Iterator[str]:
    """Yield the IAM action of a client's method; nothing for what is no service or no operation."""
    if service in get_session().get_available_services():
        for operation in get_session().get_service_model(service).operation_names:
            if xform_name(operation) == call:
                yield f"{SERVICES.get(service, service)}:{operation}"


@pytest.mark.parametrize(
    ("function", "actions"),
    [
        ("StartRedrive", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("CaptureRecords", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("ClassifyRecords", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("QuarantineRecords", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("OpenCases", {"kms:Decrypt"}),
        ("RedriveRecords", {"kms:Decrypt"}),
        ("CloseIncident", {"kms:Decrypt"}),
        ("ParkIncident", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("TakeOverRecords", {"kms:Decrypt"}),
        ("NotifyApprovers", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("ReviewCase", {"kms:Decrypt"}),
        ("RedriveChunk", {"kms:Decrypt"}),
        ("ConfirmCase", {"kms:Decrypt"}),
        ("SettleCase", {"kms:Decrypt"}),
        ("SweepCases", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("CasesApi", {"kms:Decrypt", "kms:GenerateDataKey"}),
    ],
)
def test_each_function_may_use_the_key_no_further_than_it_reads_and_writes(
    stacks: Mapping[str, SynthesisedStack], function: str, actions: set[str]
) -> None:
    grants = stacks["Encrypted"].grants()[f"RedriveFunctions{function}Role"]
    assert {action for action, resources in grants.items() if "Key" in resources} == actions


def test_the_key_of_the_stream_goes_to_who_reads_or_writes_the_stream(
    stacks: Mapping[str, SynthesisedStack],
) -> None:
    grants = stacks["Encrypted"].grants()
    uses = {
        (role, action)
        for role, actions in grants.items()
        for action, resources in actions.items()
        if "StreamKey" in resources
    }
    assert uses == {
        ("RedriveFunctionsCaptureRecordsRole", "kms:Decrypt"),
        ("RedriveFunctionsRedriveRecordsRole", "kms:Decrypt"),
        ("RedriveFunctionsRedriveRecordsRole", "kms:GenerateDataKey"),
        ("RedriveFunctionsRedriveChunkRole", "kms:Decrypt"),
        ("RedriveFunctionsRedriveChunkRole", "kms:GenerateDataKey"),
        ("OrdersServiceRole", "kms:Decrypt"),
    }
