"""The policy's parameter: its versions, who wrote them and why, and a write that notices another writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stream_redrive.adapters.faults import error_code, faults_of
from stream_redrive.core.policy import PolicyBook, parse_policy
from stream_redrive_cli.errors import ConfigurationError, UsageError
from stream_redrive_cli.policy.document import InvalidDocument, check_document

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
_MAX_DESCRIPTION = 1024
_DESCRIPTION = "redrive policy set, version {}: "
MAX_REASON = _MAX_DESCRIPTION - len(_DESCRIPTION.format(10**9))


@dataclass(frozen=True)
class StoredVersion:
    """A version of the parameter. written_by: the ARN that SSM names; reason: None where `policy set` wrote none."""

    number: int
    text: str
    written_at: datetime | None
    written_by: str | None
    reason: str | None
    tier: str | None

    @property
    def fault(self) -> InvalidDocument | None:
        """What is wrong with the document; None when it is valid."""
        try:
            self.book()
        except InvalidDocument as exc:
            return exc
        return None

    def book(self) -> PolicyBook:
        """The parsed policy. Raises InvalidDocument."""
        return check_document(self.text, str(self.number))


class PolicyParameter:
    """The SSM parameter of one service."""

    def __init__(self, client: SSMClient, name: str) -> None:
        self._client = client
        self.name = name

    def history(self) -> Sequence[StoredVersion]:
        """The versions that SSM keeps (the last 100), newest first. Raises ConfigurationError: no such parameter."""
        with faults_of("ssm:GetParameterHistory"):
            try:
                pages = self._client.get_paginator("get_parameter_history").paginate(Name=self.name)
                entries = [entry for page in pages for entry in page["Parameters"]]
            except ClientError as exc:
                raise self._missing(exc) from exc
        versions = [
            StoredVersion(
                number=entry["Version"],
                text=entry["Value"],
                written_at=entry.get("LastModifiedDate"),
                written_by=entry.get("LastModifiedUser"),
                reason=_reason(entry.get("Description", ""), entry["Version"]),
                tier=entry.get("Tier"),
            )
            for entry in entries
        ]
        return sorted(versions, key=lambda version: version.number, reverse=True)

    def newest_number(self) -> int:
        """The number of the version that is there now."""
        with faults_of("ssm:GetParameter"):
            try:
                return self._client.get_parameter(Name=self.name)["Parameter"]["Version"]
            except ClientError as exc:
                raise self._missing(exc) from exc

    def write(self, text: str, reason: str, number: int) -> int:
        """Write the text as the version of this number; the number that it got, a higher one when another writer
        came first: SSM knows no conditional write.
        """
        with faults_of("ssm:PutParameter"):
            reply = self._client.put_parameter(
                Name=self.name,
                Value=text,
                Description=_DESCRIPTION.format(number) + reason,
                Type="String",
                Tier="Intelligent-Tiering",
                Overwrite=True,
            )
        return reply["Version"]

    def _missing(self, exc: ClientError) -> Exception:
        if error_code(exc) == "ParameterNotFound":
            return ConfigurationError(f"there is no parameter {self.name!r} in {self._client.meta.region_name}")
        return exc


def in_force(history: Sequence[StoredVersion]) -> StoredVersion | None:
    """The newest valid version; None where the service's own defaults are in force."""
    return next((version for version in history if version.fault is None), None)


def book_in_force(version: StoredVersion | None) -> PolicyBook:
    """The policy of in_force's result."""
    return version.book() if version else parse_policy("{}", "built-in")


def version_of(history: Sequence[StoredVersion], number: int) -> StoredVersion:
    """One version. Raises UsageError when it isn't kept."""
    for version in history:
        if version.number == number:
            return version
    kept = f"{history[-1].number} to {history[0].number}"
    raise UsageError(f"there is no version {number}: the parameter keeps {kept}")


def _reason(description: str, number: int) -> str | None:
    # A write without a description keeps the one before it: only one that names its own version is this version's.
    prefix = _DESCRIPTION.format(number)
    return description.removeprefix(prefix) if description.startswith(prefix) else None
