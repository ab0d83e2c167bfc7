"""Puts use cases and adapters together: the only place that knows both."""

from collections.abc import Callable
from functools import cache

from aws_lambda_powertools.utilities.typing import LambdaContext

from stream_redrive.adapters import clients
from stream_redrive.adapters.clock import LambdaClock
from stream_redrive.adapters.dynamodb import DynamoLedger
from stream_redrive.adapters.kinesis import KinesisReader, KinesisWriter
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.adapters.sqs import SqsPoisonQueue
from stream_redrive.adapters.ssm import SsmPolicySource
from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions
from stream_redrive.core.capture import CaptureRecords
from stream_redrive.core.classify import ClassifyRecords
from stream_redrive.core.closing import CloseIncident, ParkIncident
from stream_redrive.core.policy_cache import PolicyCache
from stream_redrive.core.quarantine import QuarantineRecords
from stream_redrive.core.redrive import RedriveRecords
from stream_redrive.core.start import StartRedrive
from stream_redrive.observability import count, logger
from stream_redrive.settings import (
    CaptureRecordsSettings,
    ClassifyRecordsSettings,
    CloseIncidentSettings,
    ParkIncidentSettings,
    QuarantineRecordsSettings,
    RedriveRecordsSettings,
    StartRedriveSettings,
)


def start_redrive() -> StartRedrive:
    """The use case of StartRedrive."""
    settings = StartRedriveSettings.load()
    return StartRedrive(
        StepFunctionsExecutions(clients.stepfunctions(), settings.state_machine_arn),
        S3Vault(clients.s3(), settings.vault_bucket),
    )


def capture_records(context: LambdaContext) -> CaptureRecords:
    """The use case of CaptureRecords."""
    settings, clock = CaptureRecordsSettings.load(), _clock(context)
    return CaptureRecords(
        KinesisReader(clients.kinesis()),
        S3Vault(clients.s3(), settings.vault_bucket),
        DynamoLedger(clients.dynamodb(), settings.ledger_table, clock),
        clock,
    )


def classify_records(context: LambdaContext) -> ClassifyRecords:
    """The use case of ClassifyRecords."""
    settings, clock = ClassifyRecordsSettings.load(), _clock(context)
    policies = _policy_cache(settings.policy_parameter)
    return ClassifyRecords(S3Vault(clients.s3(), settings.vault_bucket), lambda: policies.current(clock.now()))


def quarantine_records(context: LambdaContext) -> QuarantineRecords:
    """The use case of QuarantineRecords."""
    settings, clock = QuarantineRecordsSettings.load(), _clock(context)
    return QuarantineRecords(
        S3Vault(clients.s3(), settings.vault_bucket),
        SqsPoisonQueue(clients.sqs(), settings.poison_queue_url, clock),
        DynamoLedger(clients.dynamodb(), settings.ledger_table, clock),
    )


def redrive_records(context: LambdaContext) -> RedriveRecords:
    """The use case of RedriveRecords."""
    settings, clock = RedriveRecordsSettings.load(), _clock(context)
    return RedriveRecords(
        S3Vault(clients.s3(), settings.vault_bucket),
        DynamoLedger(clients.dynamodb(), settings.ledger_table, clock),
        KinesisWriter(clients.kinesis_once()),
        KinesisReader(clients.kinesis()),
        clock,
        settings.settle_seconds,
    )


def close_incident() -> CloseIncident:
    """The use case of CloseIncident."""
    return CloseIncident(S3Vault(clients.s3(), CloseIncidentSettings.load().vault_bucket))


def park_incident(context: LambdaContext) -> ParkIncident:
    """The use case of ParkIncident."""
    settings = ParkIncidentSettings.load()
    queue = SqsPoisonQueue(clients.sqs(), settings.poison_queue_url, _clock(context))
    return ParkIncident(queue, settings.vault_bucket)


def _clock(context: LambdaContext) -> LambdaClock:
    remaining: Callable[[], int] = context.get_remaining_time_in_millis
    return LambdaClock(remaining)


@cache
def _policy_cache(parameter: str) -> PolicyCache:
    return PolicyCache(SsmPolicySource(clients.ssm(), parameter), _report_invalid_policy)


def _report_invalid_policy(problem: Exception) -> None:
    logger.error("the policy is invalid, an earlier version stays in force", extra={"problem": str(problem)})
    count(PolicyInvalid=1)
