"""Step Functions: executions of a state machine, and the tasks in them that wait for an answer."""

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

    def running(self) -> set[str]:
        """ListExecutions, all pages; the service's answer may be a little behind."""
        with faults_of("states:ListExecutions"):
            pages = self._client.get_paginator("list_executions").paginate(
                stateMachineArn=self._state_machine_arn, statusFilter="RUNNING"
            )
            return {execution["name"] for page in pages for execution in page["executions"]}


# What the service says of a token whose task has ended, by time or otherwise, or has been tried again.
_DEAD = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})


class StepFunctionsTaskTokens:
    """Tokens of tasks; no error names one, since errors are logged."""

    def __init__(self, client: "SFNClient") -> None:
        self._client = client

    def succeed(self, token: str, output: str) -> bool:
        """SendTaskSuccess."""
        with faults_of("states:SendTaskSuccess"):
            try:
                self._client.send_task_success(taskToken=token, output=output)
            except ClientError as exc:
                if error_code(exc) in _DEAD:
                    return False
                raise
        return True

    def fail(self, token: str, error: str) -> bool:
        """SendTaskFailure."""
        with faults_of("states:SendTaskFailure"):
            try:
                self._client.send_task_failure(taskToken=token, error=error)
            except ClientError as exc:
                if error_code(exc) in _DEAD:
                    return False
                raise
        return True
