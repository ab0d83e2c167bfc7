"""Settings: one frozen class for each Lambda, read from its environment, every missing variable named at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from stream_redrive.core.errors import SettingsMissing


def _variable(name: str) -> Any:
    return field(metadata={"variable": name})


@dataclass(frozen=True, slots=True)
class Settings:
    """Base: reads each field from the variable that its metadata names."""

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises:
            SettingsMissing: naming every variable that is missing or empty, or holds no number where one belongs.
        """
        values: dict[str, Any] = {}
        wrong: list[str] = []
        for entry in fields(cls):
            name = entry.metadata["variable"]
            text = environment.get(name, "")
            try:
                values[entry.name] = float(text) if entry.type in (float, "float") else text
            except ValueError:
                text = ""
            if not text:
                wrong.append(name)
        if wrong:
            raise SettingsMissing(f"set these environment variables: {', '.join(sorted(wrong))}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StartRedriveSettings(Settings):
    """Settings of StartRedrive."""

    state_machine_arn: str = _variable("REDRIVE_STATE_MACHINE_ARN")
    vault_bucket: str = _variable("VAULT_BUCKET")


@dataclass(frozen=True, slots=True)
class CaptureRecordsSettings(Settings):
    """Settings of CaptureRecords."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")


@dataclass(frozen=True, slots=True)
class ClassifyRecordsSettings(Settings):
    """Settings of ClassifyRecords."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    policy_parameter: str = _variable("POLICY_PARAMETER")


@dataclass(frozen=True, slots=True)
class QuarantineRecordsSettings(Settings):
    """Settings of QuarantineRecords."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    poison_queue_url: str = _variable("POISON_QUEUE_URL")
    policy_parameter: str = _variable("POLICY_PARAMETER")


@dataclass(frozen=True, slots=True)
class OpenCasesSettings(Settings):
    """Settings of OpenCases."""

    ledger_table: str = _variable("LEDGER_TABLE")
    state_machine_arn: str = _variable("CASE_STATE_MACHINE_ARN")


@dataclass(frozen=True, slots=True)
class RedriveRecordsSettings(Settings):
    """Settings of RedriveRecords."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    settle_seconds: float = _variable("REDRIVE_SETTLE_SECONDS")


@dataclass(frozen=True, slots=True)
class CloseIncidentSettings(Settings):
    """Settings of CloseIncident."""

    vault_bucket: str = _variable("VAULT_BUCKET")


@dataclass(frozen=True, slots=True)
class ParkIncidentSettings(Settings):
    """Settings of ParkIncident."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    poison_queue_url: str = _variable("POISON_QUEUE_URL")


@dataclass(frozen=True, slots=True)
class TakeOverRecordsSettings(Settings):
    """Settings of TakeOverRecords."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")


@dataclass(frozen=True, slots=True)
class NotifyApproversSettings(Settings):
    """Settings of NotifyApprovers."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    policy_parameter: str = _variable("POLICY_PARAMETER")
    approval_topic_arn: str = _variable("APPROVAL_TOPIC_ARN")


@dataclass(frozen=True, slots=True)
class ReviewCaseSettings(Settings):
    """Settings of ReviewCase."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    policy_parameter: str = _variable("POLICY_PARAMETER")


@dataclass(frozen=True, slots=True)
class RedriveChunkSettings(Settings):
    """Settings of RedriveChunk."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    settle_seconds: float = _variable("REDRIVE_SETTLE_SECONDS")


@dataclass(frozen=True, slots=True)
class ConfirmCaseSettings(Settings):
    """Settings of ConfirmCase."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    policy_parameter: str = _variable("POLICY_PARAMETER")


@dataclass(frozen=True, slots=True)
class SettleCaseSettings(Settings):
    """Settings of SettleCase."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    poison_queue_url: str = _variable("POISON_QUEUE_URL")


@dataclass(frozen=True, slots=True)
class SweepCasesSettings(Settings):
    """Settings of SweepCases."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    state_machine_arn: str = _variable("CASE_STATE_MACHINE_ARN")
    grace_seconds: float = _variable("REMINDER_GRACE_SECONDS")
    approval_topic_arn: str = _variable("APPROVAL_TOPIC_ARN")


@dataclass(frozen=True, slots=True)
class CasesApiSettings(Settings):
    """Settings of CasesApi."""

    vault_bucket: str = _variable("VAULT_BUCKET")
    ledger_table: str = _variable("LEDGER_TABLE")
    policy_parameter: str = _variable("POLICY_PARAMETER")
    approval_topic_arn: str = _variable("APPROVAL_TOPIC_ARN")
