"""cdk-nag (AwsSolutions) finds nothing but what is listed here with its reason."""

import json

import aws_cdk as cdk
import pytest
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct

from stream_redrive_cdk import Protection, StreamRedriveStack
from tests.infrastructure import apps

ROOT = "Nag/StreamRedrive"
BELOW_A_PREFIX = "object keys are not known beforehand; the prefix is the narrowest that S3 has"
PYTHON = "the Powertools layer and the tests are for Python 3.13, a supported runtime"

# Which functions' roles name a prefix of the vault.
PREFIXES = {
    "captured": ("CaptureRecords", "ClassifyRecords", "QuarantineRecords", "RedriveRecords"),
    "incidents": (
        "StartRedrive",
        "CaptureRecords",
        "ClassifyRecords",
        "QuarantineRecords",
        "RedriveRecords",
        "CloseIncident",
    ),
    "quarantine": (
        "CaptureRecords",
        "QuarantineRecords",
        "NotifyApprovers",
        "RedriveChunk",
        "ConfirmCase",
        "SettleCase",
        "CasesApi",
    ),
    "cases": ("CaptureRecords", "TakeOverRecords", "RedriveChunk", "ConfirmCase", "SettleCase", "CasesApi"),
}
FUNCTIONS = sorted(
    {*(name for names in PREFIXES.values() for name in names), "OpenCases", "ParkIncident", "ReviewCase", "SweepCases"}
)
EXECUTIONS = "Resource::arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution"
ACCEPTED = {
    ("AwsSolutions-S1", f"{ROOT}/Vault"): "who reads objects is for CloudTrail: access logs need a bucket of their own",
    ("AwsSolutions-SQS3", f"{ROOT}/PoisonQueue"): "it is the dead-letter queue",
    (
        f"AwsSolutions-IAM5[{EXECUTIONS}:<Machine>:*]",
        f"{ROOT}/Functions/StartRedriveRole/DefaultPolicy",
    ): "an execution is named after its incident; these are the executions of one machine",
    (
        f"AwsSolutions-IAM5[{EXECUTIONS}:<Cases>:*]",
        f"{ROOT}/Functions/SweepCasesRole/DefaultPolicy",
    ): "an execution is named after its case; these are the executions of one machine",
    (
        f"AwsSolutions-IAM5[{EXECUTIONS}:<Cases>/*]",
        f"{ROOT}/Cases/RunMaps",
    ): "Step Functions names the children of a Distributed Map; these are those of one machine",
    (
        "AwsSolutions-IAM5[Resource::*]",
        f"{ROOT}/Cases/CaseRole/DefaultPolicy",
    ): "AWS has no resource-level permission for log delivery and X-Ray",
    ("AwsSolutions-IAM5[Resource::<Vault>/cases/*]", f"{ROOT}/Cases/CaseRole/DefaultPolicy"): BELOW_A_PREFIX,
    (
        "AwsSolutions-IAM5[Resource::*]",
        f"{ROOT}/Workflow/RedriveRole/DefaultPolicy",
    ): "AWS has no resource-level permission for log delivery and X-Ray",
    (
        "AwsSolutions-IAM5[Resource::*]",
        f"{ROOT}/Functions/ClassifyRecordsRole/DefaultPolicy",
    ): "AWS has no resource-level permission for listing event source mappings",
    **{
        (f"AwsSolutions-IAM5[Resource::<Vault>/{prefix}/*]", f"{ROOT}/Functions/{function}Role/DefaultPolicy"): (
            BELOW_A_PREFIX
        )
        for prefix, functions in PREFIXES.items()
        for function in functions
    },
    **{
        (
            f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:{resource}:*]",
            f"{ROOT}/Functions/ClassifyRecordsRole/DefaultPolicy",
        ): "of one consumer: its versions and aliases, its log's streams"
        for resource in (
            "lambda:<AWS::Region>:<AWS::AccountId>:function:orders",
            "logs:<AWS::Region>:<AWS::AccountId>:log-group:/aws/lambda/orders",
        )
    },
    **{("AwsSolutions-L1", f"{ROOT}/Functions/{function}"): PYTHON for function in FUNCTIONS},
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """What cdk-nag has to say: rule and path, with readable names."""
    outdir = tmp_path_factory.mktemp("nag")
    app = cdk.App(outdir=str(outdir))
    role = "arn:aws:iam::111122223333:role/orders"
    stack = StreamRedriveStack(
        app,
        "Nag",
        protect=[Protection(consumer_arn=apps.ORDERS, consumer_role_arn=role, stream_arn=apps.ORDERS_STREAM)],
    )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    # The pack fails the synth when it finds anything; the report says what.
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    names = {
        f"<{stack.get_logical_id(element(construct))}.{attribute}>": readable
        for construct, attribute, readable in (
            (stack.redrive.vault, "Arn", "<Vault>"),
            (stack.redrive.state_machine, "Name", "<Machine>"),
            (stack.redrive.case_state_machine, "Name", "<Cases>"),
        )
    }
    found = set()
    for report in json.loads((outdir / "validation-report.json").read_text())["pluginReports"]:
        for violation in report["violations"]:
            rule = violation["ruleName"]
            for logical_id, readable in names.items():
                rule = rule.replace(logical_id, readable)
            found |= {
                (rule, construct["constructPath"].removesuffix("/Resource"))
                for construct in violation["violatingConstructs"]
            }
    return found


def element(construct: IConstruct) -> cdk.CfnElement:
    child = construct.node.default_child
    assert isinstance(child, cdk.CfnElement)
    return child


def test_nothing_is_found_but_what_is_accepted(findings: set[tuple[str, str]]) -> None:
    assert not findings - ACCEPTED.keys()


def test_nothing_is_accepted_that_is_not_found(findings: set[tuple[str, str]]) -> None:
    assert not ACCEPTED.keys() - findings
