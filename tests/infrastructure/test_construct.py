"""What the construct promises about queues, vault, ledger, topic, functions and outputs."""

from collections.abc import Mapping

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Match, Template

from stream_redrive_cdk import StreamRedrive
from tests.infrastructure.templates import SynthesisedStack, readable

QUEUE, POLICY = "AWS::SQS::Queue", "AWS::SQS::QueuePolicy"


@pytest.fixture(scope="module")
def template(plain: SynthesisedStack) -> Template:
    return Template.from_json(plain.template)


def test_every_queue_keeps_its_messages_for_14_days(plain: SynthesisedStack) -> None:
    queues = plain.of_type(QUEUE)
    assert len(queues) == 3
    assert {queue["MessageRetentionPeriod"] for queue in queues.values()} == {14 * 24 * 3600}


def test_every_queue_is_encrypted_without_a_key_of_your_own(plain: SynthesisedStack) -> None:
    assert all(queue["SqsManagedSseEnabled"] for queue in plain.of_type(QUEUE).values())


@pytest.mark.parametrize("resource_type", ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::S3::BucketPolicy"])
def test_queues_topic_and_vault_speak_tls_only(plain: SynthesisedStack, resource_type: str) -> None:
    policies = plain.of_type(resource_type)
    protected = {"AWS::SQS::QueuePolicy": 3, "AWS::SNS::TopicPolicy": 2, "AWS::S3::BucketPolicy": 1}
    assert len(policies) == protected[resource_type]
    for policy in policies.values():
        assert [
            statement
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Deny"
            and statement["Principal"] in ("*", {"AWS": "*"})
            and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        ]


def test_notices_go_from_the_topic_to_the_queue_as_they_are(template: Template, plain: SynthesisedStack) -> None:
    subscription = plain.one("AWS::SNS::Subscription")
    assert subscription["Protocol"] == "sqs"
    assert subscription["RawMessageDelivery"] is True
    assert readable(subscription["TopicArn"]) == "IntakeOnFailureTopic"
    assert readable(subscription["Endpoint"]) == "IntakeQueue"
    assert readable(subscription["RedrivePolicy"]["deadLetterTargetArn"]) == "IntakeDeadLetterQueue"
    template.has_resource_properties(
        POLICY,
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [
                        Match.object_like(
                            {
                                "Action": "sqs:SendMessage",
                                "Effect": "Allow",
                                "Principal": {"Service": "sns.amazonaws.com"},
                                "Condition": {"ArnEquals": {"aws:SourceArn": Match.any_value()}},
                            }
                        )
                    ]
                )
            }
        },
    )


def test_a_notice_refused_three_times_goes_to_the_intake_dlq(plain: SynthesisedStack) -> None:
    redrive_policy = plain.one(QUEUE, "IntakeQueue")["RedrivePolicy"]
    assert redrive_policy["maxReceiveCount"] == 3
    assert readable(redrive_policy["deadLetterTargetArn"]) == "IntakeDeadLetterQueue"


def test_the_intake_gathers_a_window_of_notices_into_few_calls(plain: SynthesisedStack) -> None:
    mapping = plain.one("AWS::Lambda::EventSourceMapping", "IntakeMapping")
    assert mapping["BatchSize"] == 10_000
    assert mapping["MaximumBatchingWindowInSeconds"] == 20
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert readable(mapping["FunctionName"]) == "FunctionsStartRedrive"


def test_a_notice_stays_hidden_for_longer_than_start_redrive_may_take(plain: SynthesisedStack) -> None:
    window = plain.one("AWS::Lambda::EventSourceMapping", "IntakeMapping")["MaximumBatchingWindowInSeconds"]
    visibility = plain.one(QUEUE, "IntakeQueue")["VisibilityTimeout"]
    assert visibility >= window + plain.functions()["start_redrive"]["Timeout"]


def test_a_step_that_runs_again_sends_no_poison_message_twice(plain: SynthesisedStack) -> None:
    queue = plain.one(QUEUE, "PoisonQueue")
    assert queue["FifoQueue"] is True
    assert queue["DeduplicationScope"] == "messageGroup"
    assert queue["FifoThroughputLimit"] == "perMessageGroupId"
    assert not queue.get("ContentBasedDeduplication")


def test_the_vault_is_versioned_private_and_encrypted(template: Template) -> None:
    template.has_resource_properties(
        "AWS::S3::Bucket",
        {
            "VersioningConfiguration": {"Status": "Enabled"},
            "PublicAccessBlockConfiguration": dict.fromkeys(
                ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
            ),
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        },
    )


def test_the_quarantine_outlives_the_capture(plain: SynthesisedStack) -> None:
    rules = plain.one("AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules} == {
        "captured/": 90,
        "incidents/": 90,
        "quarantine/": 365,
        "cases/": 365,
    }
    assert all(rule["Status"] == "Enabled" and rule["NoncurrentVersionExpiration"] for rule in rules)


def test_the_ledger_forgets_by_itself_and_can_be_brought_back(template: Template) -> None:
    template.has_resource_properties(
        "AWS::DynamoDB::Table",
        {
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
            "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "DeletionProtectionEnabled": True,
        },
    )


KEPT = ("AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup")


def test_deleting_the_stack_deletes_no_record(plain: SynthesisedStack) -> None:
    resources = [found for found in plain.template["Resources"].values() if found["Type"] in KEPT]
    assert {(found["DeletionPolicy"], found["UpdateReplacePolicy"]) for found in resources} == {("Retain", "Retain")}


def test_a_trial_can_be_deleted_whole(stacks: Mapping[str, SynthesisedStack]) -> None:
    short = stacks["Short"]
    resources = [found for found in short.template["Resources"].values() if found["Type"] in KEPT]
    assert {found["DeletionPolicy"] for found in resources} == {"Delete"}
    assert short.one("AWS::DynamoDB::Table")["DeletionProtectionEnabled"] is False
    assert short.one("AWS::Lambda::EventSourceMapping")["MaximumBatchingWindowInSeconds"] == 1


def test_the_machine_traces_and_logs_everything_but_data(template: Template, plain: SynthesisedStack) -> None:
    template.has_resource_properties(
        "AWS::StepFunctions::StateMachine",
        {
            "TracingConfiguration": {"Enabled": True},
            "LoggingConfiguration": {"Level": "ALL", "IncludeExecutionData": False},
        },
    )
    for machine in plain.of_type("AWS::StepFunctions::StateMachine").values():
        assert machine["TracingConfiguration"] == {"Enabled": True}
        assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False, "a case's data holds its task token"
        assert "StateMachineType" not in machine, "standard, not express"


OF_NO_FUNCTION = {"WorkflowRedriveLogs", "CasesCaseLogs", "ApiAccessLog"}


def test_every_log_group_is_ours_unnamed_and_forgets(plain: SynthesisedStack) -> None:
    groups = plain.of_type("AWS::Logs::LogGroup")
    assert list(groups.values()) == [{"RetentionInDays": 30}] * (len(plain.functions()) + len(OF_NO_FUNCTION))
    used = {readable(function["LoggingConfig"]["LogGroup"]) for function in plain.functions().values()}
    assert len(used) == len(plain.functions())
    assert {readable({"Ref": name}) for name in groups} - used == OF_NO_FUNCTION


def test_the_long_steps_may_run_as_long_as_lambda_lets_them(plain: SynthesisedStack) -> None:
    assert {name: found["Timeout"] for name, found in plain.functions().items()} == {
        "start_redrive": 60,
        "capture_records": 900,
        "classify_records": 900,
        "quarantine_records": 900,
        "open_cases": 900,
        "redrive_records": 900,
        "close_incident": 60,
        "park_incident": 60,
        "take_over_records": 900,
        "notify_approvers": 60,
        "review_case": 60,
        "redrive_chunk": 900,
        "confirm_case": 900,
        "settle_case": 900,
        "sweep_cases": 300,
        "cases_api": 29,
    }


def test_every_function_runs_the_same_way(plain: SynthesisedStack) -> None:
    for name, function in plain.functions().items():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        # The API has 29 seconds; with this much memory Lambda gives it a whole CPU.
        assert 512 <= function["MemorySize"] <= (1769 if name == "cases_api" else 1024)
        [layer] = function["Layers"]
        assert "AWSLambdaPowertoolsPythonV3-python313-arm64" in readable(layer)


def test_the_stack_says_where_everything_is(plain: SynthesisedStack) -> None:
    assert {name: readable(output["Value"]) for name, output in plain.template["Outputs"].items()} == {
        "OnFailureTopicArn": "IntakeOnFailureTopic",
        "IntakeQueueUrl": "IntakeQueue",
        "RedriveStateMachineArn": "WorkflowRedrive",
        "VaultBucketName": "Vault",
        "PoisonQueueUrl": "PoisonQueue",
        "LedgerTableName": "Ledger",
        "PolicyParameterName": "Policy",
        "CaseStateMachineArn": "CasesCase",
        "ApprovalTopicArn": "CasesApprovalTopic",
        "ApiUrl": "Api",
    }


def test_one_key_encrypts_everything_that_holds_records_or_notices(stacks: Mapping[str, SynthesisedStack]) -> None:
    encrypted = stacks["Encrypted"]
    assert {readable(queue["KmsMasterKeyId"]) for queue in encrypted.of_type(QUEUE).values()} == {"Key"}
    assert {readable(topic["KmsMasterKeyId"]) for topic in encrypted.of_type("AWS::SNS::Topic").values()} == {"Key"}
    assert readable(encrypted.one("AWS::DynamoDB::Table")["SSESpecification"]["KMSMasterKeyId"]) == "Key"
    [rule] = encrypted.one("AWS::S3::Bucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert readable(rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]) == "Key"
    assert rule["BucketKeyEnabled"] is True


def test_sns_may_write_to_the_encrypted_intake(stacks: Mapping[str, SynthesisedStack]) -> None:
    key = stacks["Encrypted"].one("AWS::KMS::Key", "Key")
    [statement] = [
        found for found in key["KeyPolicy"]["Statement"] if found["Principal"] == {"Service": "sns.amazonaws.com"}
    ]
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_an_imported_key_comes_with_a_warning_about_its_policy(stacks: Mapping[str, SynthesisedStack]) -> None:
    [warning] = [message for message in stacks["Own"].messages if "encryption key" in message]
    assert "sns.amazonaws.com use kms:Decrypt and kms:GenerateDataKey" in warning
    assert not [message for message in stacks["Encrypted"].messages if "encryption key" in message]


def test_your_own_bucket_topic_and_names_are_used(stacks: Mapping[str, SynthesisedStack]) -> None:
    own = stacks["Own"]
    assert len(own.of_type("AWS::S3::Bucket")) == 1
    environment = own.functions()["redrive_records"]["Environment"]["Variables"]
    assert readable(environment["VAULT_BUCKET"]) == "Bucket"
    assert environment["POWERTOOLS_SERVICE_NAME"] == "payments-redrive"
    assert environment["REDRIVE_SETTLE_SECONDS"] == "2"
    assert {readable({"Ref": name}) for name in own.of_type("AWS::SNS::Topic")} == {
        "Notices",
        "OnCall",
        "Approvers",
    }
    assert readable(own.one("AWS::SNS::Subscription")["TopicArn"]) == "Notices"
    assert own.one("AWS::SSM::Parameter")["Value"] == '{"default":{"max_attempts":5}}'


def test_keys_of_your_own_bucket_and_topic_are_granted_to_who_uses_them(
    stacks: Mapping[str, SynthesisedStack],
) -> None:
    grants = stacks["Own"].grants()
    assert "VaultKey" in grants["RedriveFunctionsCloseIncidentRole"]["kms:Decrypt"]
    assert "VaultKey" in grants["RedriveFunctionsCaptureRecordsRole"]["kms:GenerateDataKey"]
    assert grants["OrdersServiceRole"]["kms:GenerateDataKey"] == {"TopicKey"}
    assert "kms:GenerateDataKey" not in grants["RedriveFunctionsRedriveRecordsRole"]


def test_two_in_one_stack_share_nothing(stacks: Mapping[str, SynthesisedStack]) -> None:
    twice = stacks["Twice"]
    names = {
        found["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for found in twice.of_type("AWS::Lambda::Function").values()
        if found["Handler"].startswith("stream_redrive.")
    }
    assert len(names) == 2
    parameters = {found["Name"] for found in twice.of_type("AWS::SSM::Parameter").values()}
    assert len(parameters) == 2
    for resource_type in ("AWS::S3::Bucket", "AWS::DynamoDB::Table"):
        assert len(twice.of_type(resource_type)) == 2
    assert len(twice.of_type("AWS::StepFunctions::StateMachine")) == 4
    physical_names = {"QueueName", "TopicName", "BucketName", "TableName", "LogGroupName", "FunctionName", "RoleName"}
    for found in twice.template["Resources"].values():
        if found["Type"] not in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"):
            assert not physical_names & found.get("Properties", {}).keys()


def test_no_resource_that_the_local_cloud_refuses_and_no_custom_resource(
    stacks: Mapping[str, SynthesisedStack],
) -> None:
    types = {found["Type"] for stack in stacks.values() for found in stack.template["Resources"].values()}
    assert not types & {
        "AWS::CloudWatch::CompositeAlarm",
        "AWS::Events::Archive",
        "AWS::CloudFormation::CustomResource",
    }
    assert not [name for name in types if name.startswith("Custom::")]


@pytest.mark.parametrize("seconds", [0, 301])
def test_an_intake_window_that_aws_refuses_is_refused_at_once(seconds: int) -> None:
    stack = cdk.Stack(cdk.App(), "Stack")
    with pytest.raises(ValueError, match=f"intake_window is {seconds} s; an SQS mapping takes 1 to 300 s"):
        StreamRedrive(stack, "Redrive", intake_window=cdk.Duration.seconds(seconds))


def test_a_stack_that_protects_nothing_says_how_to_begin(stacks: Mapping[str, SynthesisedStack]) -> None:
    assert [message for message in stacks["Bare"].messages if "-c stream_arn=" in message]
    assert not [message for message in stacks["Plain"].messages if "-c stream_arn=" in message]
