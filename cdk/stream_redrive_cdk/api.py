"""The HTTP API at which people look at cases and decide: every call is signed, and IAM says who may make it."""

import json
from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stream_redrive_cdk import permissions as may
from stream_redrive_cdk.functions import RedriveFunctions
from stream_redrive_cdk.workflow import Resources

_GET, _POST = apigateway.HttpMethod.GET, apigateway.HttpMethod.POST
LOOKS = ((_GET, "/cases"), (_GET, "/cases/{case_id}"), (_GET, "/cases/{case_id}/records"))
ACTS = (
    (_POST, "/cases/{case_id}/views"),
    (_POST, "/cases/{case_id}/plans"),
    (_POST, "/cases/{case_id}/decisions"),
    (_POST, "/cases/{case_id}/notes"),
)
# People type, and page through lists; whoever asks faster than this is no person.
_REQUESTS_A_SECOND, _BURST = 20, 40
_ACCESS_LOG = {
    "time": "$context.requestTime",
    "request": "$context.requestId",
    "route": "$context.routeKey",
    "path": "$context.path",
    "status": "$context.status",
    "caller": "$context.identity.userArn",
    "address": "$context.identity.sourceIp",
    "refused": "$context.authorizer.error",
}


class CasesApi(Construct):
    """The API and its function."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: RedriveFunctions,
        resources: Resources,
        case_machine: sfn.IStateMachine,
        topic: sns.ITopic,
        log_retention: logs.RetentionDays,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = _function(functions, resources, case_machine, topic)
        self._api = apigateway.HttpApi(
            self,
            "Api",
            description="stream-redrive: cases of records in quarantine",
            default_authorizer=authorizers.HttpIamAuthorizer(),
            create_default_stage=False,
        )
        access_log = logs.LogGroup(self, "AccessLog", retention=log_retention, removal_policy=removal_policy)
        self._stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=self._api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=_REQUESTS_A_SECOND, burst_limit=_BURST),
        )
        stage = self._stage.node.default_child
        assert isinstance(stage, apigateway.CfnStage)
        stage.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=access_log.log_group_arn, format=json.dumps(_ACCESS_LOG)
        )
        integration = integrations.HttpLambdaIntegration("Cases", self.function)
        for method, path in (*LOOKS, *ACTS):
            self._api.add_routes(path=path, methods=[method], integration=integration)

    @property
    def url(self) -> str:
        """Where the API is, without a slash at the end."""
        return self._api.api_endpoint

    def grant_look(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` see cases and their records, masked."""
        self._grant(grantee, LOOKS)

    def grant_act(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` see payloads, plan, write notes and ask to decide; the policy's approvers may do that."""
        self._grant(grantee, ACTS)

    def _grant(self, grantee: iam.IGrantable, routes: Sequence[tuple[apigateway.HttpMethod, str]]) -> None:
        # A route's own grant ends at its first parameter: whoever may write notes could decide.
        arns = [
            self._api.arn_for_execute_api(method.value, path.replace("{case_id}", "*"), self._stage.stage_name)
            for method, path in routes
        ]
        iam.Grant.add_to_principal(grantee=grantee, actions=["execute-api:Invoke"], resource_arns=arns)


def _function(
    functions: RedriveFunctions, have: Resources, case_machine: sfn.IStateMachine, topic: sns.ITopic
) -> lambda_.Function:
    return functions.create(
        "CasesApi",
        "shows cases to people, and takes their decisions",
        environment={
            "VAULT_BUCKET": have.vault.bucket_name,
            "LEDGER_TABLE": have.ledger.table_name,
            "POLICY_PARAMETER": have.policy_parameter.parameter_name,
            "APPROVAL_TOPIC_ARN": topic.topic_arn,
        },
        permissions=[
            may.read_objects(have.vault, "quarantine/"),
            may.list_objects(have.vault, "quarantine/"),
            may.write_objects(have.vault, "cases/"),
            may.use_ledger(have.ledger, "GetItem", "BatchGetItem", "Query", "PutItem", "DeleteItem"),
            may.read_policy(have.policy_parameter),
            may.allow(["states:SendTaskSuccess"], case_machine.state_machine_arn),
            may.allow(["sns:Publish"], topic.topic_arn),
            *may.encrypt(have.vault_key, have.encryption_key),
        ],
        # An HTTP API waits 30 s for its function.
        timeout=Duration.seconds(29),
        # One whole CPU: a plan of an edit decodes, patches, checks and writes every record.
        memory_mib=1769,
    )
