"""Step Functions: executions of the redrive machine."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.core.ports import ExecutionExists

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


class StepFunctionsExecutions:
    """Executions of one state machine."""

    def __init__(self, client: "SFNClient", state_machine_arn: str) -> None:
        self._client = client
        self._state_machine_arn = state_machine_arn

    def start(self, name: str, body: str) -> None:
        """StartExecution. While an execution of this name and input runs, the service answers with that one."""
        with faults_of("states:StartExecution"):
            try:
                self._client.start_execution(stateMachineArn=self._state_machine_arn, name=name, input=body)
            except ClientError as exc:
                if error_code(exc) == "ExecutionAlreadyExists":
                    raise ExecutionExists(name) from exc
                raise

    def status(self, name: str) -> str:
        """DescribeExecution."""
        arn = self._state_machine_arn.replace(":stateMachine:", ":execution:", 1) + f":{name}"
        with faults_of("states:DescribeExecution"):
            return self._client.describe_execution(executionArn=arn)["status"]
