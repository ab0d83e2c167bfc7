"""SSM Parameter Store: the policy document and its versions."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stream_redrive.adapters.faults import faults_of

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class SsmPolicySource:
    """The policy in a parameter. Its history serves when the current version is no valid policy."""

    def __init__(self, client: "SSMClient", parameter: str) -> None:
        self._client = client
        self._parameter = parameter

    def versions(self) -> Iterable[tuple[str, str]]:
        """The current version first; older ones are asked for only when somebody goes on reading."""
        with faults_of("ssm:GetParameter"):
            current = self._client.get_parameter(Name=self._parameter)["Parameter"]
        yield str(current["Version"]), current["Value"]
        with faults_of("ssm:GetParameterHistory"):
            pages = self._client.get_paginator("get_parameter_history").paginate(Name=self._parameter)
            older = [entry for page in pages for entry in page["Parameters"] if entry["Version"] < current["Version"]]
        for entry in sorted(older, key=lambda entry: entry["Version"], reverse=True):
            yield str(entry["Version"]), entry["Value"]
