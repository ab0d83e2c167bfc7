"""Sets through the API what the local CloudFormation drops from the deployed templates, or what a scenario needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from stream_redrive_cli.lab.aws import LabClients

Properties = dict[str, Any]

# A notice that StartRedrive could not handle comes back after this, in place of the stack's six minutes.
INTAKE_VISIBILITY_SECONDS = 10


def restore(clients: LabClients, stacks: list[str]) -> None:
    """Bring the deployed resources to what their templates say; every event source mapping ends up disabled."""
    for stack in stacks:
        for kind, physical_id, properties in _resources(clients, stack):
            if kind in _RESTORERS:
                _RESTORERS[kind](clients, physical_id, properties)


def shorten_intake(clients: LabClients, queue_url: str) -> None:
    clients.sqs.set_queue_attributes(
        QueueUrl=queue_url, Attributes={"VisibilityTimeout": str(INTAKE_VISIBILITY_SECONDS)}
    )


def switch_off_bisection(clients: LabClients, stream_arn: str) -> None:
    """Let a batch of the stream's mapping fail whole, as mappings do that the service's stack didn't make."""
    listed = clients.lambda_.list_event_source_mappings(EventSourceArn=stream_arn)["EventSourceMappings"]
    for mapping in listed:
        clients.lambda_.update_event_source_mapping(
            UUID=mapping["UUID"], BisectBatchOnFunctionError=False, Enabled=False
        )


def let_tasks_be_answered(clients: LabClients, stack: str) -> None:
    """Let those who may answer for a task of a state machine do so.

    AWS finds the state machine by the task token; the local cloud doesn't, and asks for a permission on everything.
    """
    for kind, _, properties in _resources(clients, stack):
        if kind != "AWS::IAM::Policy":
            continue
        statements = properties["PolicyDocument"]["Statement"]
        actions = {
            action for s in statements for action in _listed(s["Action"]) if action.startswith("states:SendTask")
        }
        if actions:
            statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": "*"}
            document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            for role in properties["Roles"]:
                name = clients.cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=role["Ref"])
                clients.iam.put_role_policy(
                    RoleName=name["StackResourceDetail"]["PhysicalResourceId"],
                    PolicyName="lab-answers-tasks",
                    PolicyDocument=document,
                )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _resources(clients: LabClients, stack: str) -> Iterator[tuple[str, str, Properties]]:
    template: Any = clients.cloudformation.get_template(StackName=stack)["TemplateBody"]
    declared = template["Resources"]
    for page in clients.cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
        for resource in page["StackResourceSummaries"]:
            properties = declared[resource["LogicalResourceId"]].get("Properties", {})
            yield resource["ResourceType"], resource["PhysicalResourceId"], properties


def _mapping(clients: LabClients, physical_id: str, _: Properties) -> None:
    # The lab's own pollers take over: the emulator's know neither bisection nor batches over 10 messages.
    clients.lambda_.update_event_source_mapping(UUID=physical_id, Enabled=False)


def _function(clients: LabClients, physical_id: str, properties: Properties) -> None:
    if (reserved := properties.get("ReservedConcurrentExecutions")) is not None:
        clients.lambda_.put_function_concurrency(FunctionName=physical_id, ReservedConcurrentExecutions=int(reserved))


def _table(clients: LabClients, physical_id: str, properties: Properties) -> None:
    if expiry := properties.get("TimeToLiveSpecification"):
        clients.dynamodb.update_time_to_live(TableName=physical_id, TimeToLiveSpecification=expiry)
    if (recovery := properties.get("PointInTimeRecoverySpecification")) is not None:
        clients.dynamodb.update_continuous_backups(TableName=physical_id, PointInTimeRecoverySpecification=recovery)


def _bucket(clients: LabClients, physical_id: str, properties: Properties) -> None:
    if encryption := properties.get("BucketEncryption"):
        rules: Any = [
            {
                "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
            }
            for rule in encryption["ServerSideEncryptionConfiguration"]
        ]
        clients.s3.put_bucket_encryption(Bucket=physical_id, ServerSideEncryptionConfiguration={"Rules": rules})
    if lifecycle := properties.get("LifecycleConfiguration"):
        clients.s3.put_bucket_lifecycle_configuration(
            Bucket=physical_id,
            LifecycleConfiguration={"Rules": [_lifecycle_rule(rule) for rule in lifecycle["Rules"]]},
        )


def _lifecycle_rule(rule: Properties) -> Any:
    """A CloudFormation lifecycle rule in the API's shape."""
    translated: Properties = {
        "ID": rule.get("Id", rule.get("Prefix", "all")),
        "Status": rule["Status"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
    }
    if "ExpirationInDays" in rule:
        translated["Expiration"] = {"Days": rule["ExpirationInDays"]}
    if expiration := rule.get("NoncurrentVersionExpiration"):
        translated["NoncurrentVersionExpiration"] = {"NoncurrentDays": expiration["NoncurrentDays"]}
    if abort := rule.get("AbortIncompleteMultipartUpload"):
        translated["AbortIncompleteMultipartUpload"] = abort
    return translated


_RESTORERS: dict[str, Callable[[LabClients, str, Properties], None]] = {
    "AWS::Lambda::EventSourceMapping": _mapping,
    "AWS::Lambda::Function": _function,
    "AWS::DynamoDB::Table": _table,
    "AWS::S3::Bucket": _bucket,
}
