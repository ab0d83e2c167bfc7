"""Puts use cases and adapters together: the only place that knows both.

Each function imports what its Lambda needs and no more: a cold start compiles whatever is imported, since Lambda's
file system keeps no bytecode.
"""

from functools import cache
from typing import TYPE_CHECKING

from stream_redrive import settings
from stream_redrive.adapters import clients
from stream_redrive.adapters.clock import LambdaClock

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from stream_redrive.core.approval import NotifyApprovers, ReviewCase
    from stream_redrive.core.capture import CaptureRecords
    from stream_redrive.core.classify import ClassifyRecords
    from stream_redrive.core.closing import CloseIncident, ParkIncident
    from stream_redrive.core.deciding import CaseDesk
    from stream_redrive.core.handing_over import HandOvers
    from stream_redrive.core.opening import OpenCases
    from stream_redrive.core.policy_cache import PolicyCache
    from stream_redrive.core.ports import CaseStore
    from stream_redrive.core.quarantine import QuarantineRecords
    from stream_redrive.core.redrive import RedriveRecords
    from stream_redrive.core.redrive_case import ConfirmCase, RedriveChunk
    from stream_redrive.core.settling import SettleCase
    from stream_redrive.core.sources import Sources
    from stream_redrive.core.start import StartRedrive
    from stream_redrive.core.sweeping import SweepCases
    from stream_redrive.core.taking_over import TakeOverRecords


def start_redrive() -> "StartRedrive":
    """The use case of StartRedrive."""
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions
    from stream_redrive.core.start import StartRedrive

    own = settings.StartRedriveSettings.load()
    return StartRedrive(
        StepFunctionsExecutions(clients.stepfunctions(), own.state_machine_arn),
        S3Vault(clients.s3(), own.vault_bucket),
    )


def capture_records(context: "LambdaContext") -> "CaptureRecords":
    """The use case of CaptureRecords."""
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.kinesis import KinesisReader
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.capture import CaptureRecords

    own, clock = settings.CaptureRecordsSettings.load(), _clock(context)
    return CaptureRecords(
        KinesisReader(clients.kinesis()),
        S3Vault(clients.s3(), own.vault_bucket),
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        clock,
    )


def classify_records(context: "LambdaContext") -> "ClassifyRecords":
    """The use case of ClassifyRecords."""
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.classify import ClassifyRecords

    own, clock = settings.ClassifyRecordsSettings.load(), _clock(context)
    policies = policy_cache(own.policy_parameter)
    return ClassifyRecords(
        S3Vault(clients.s3(), own.vault_bucket),
        lambda: policies.current(clock.now()),
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        sources(),
        clock,
    )


@cache
def sources() -> "Sources":
    """Where evidence comes from. A sandbox keeps what it has learned of each consumer's log."""
    from stream_redrive.adapters.consumer import LambdaConsumer
    from stream_redrive.adapters.logs import CloudWatchConsumerLog
    from stream_redrive.adapters.mappings import LambdaMappings
    from stream_redrive.adapters.time_limit import CpuTimeLimit
    from stream_redrive.core.sources import Sources

    return Sources(
        CloudWatchConsumerLog(clients.logs(), clients.lambda_()),
        LambdaMappings(clients.lambda_()),
        LambdaConsumer(clients.lambda_once()),
        CpuTimeLimit(),
    )


def quarantine_records(context: "LambdaContext") -> "QuarantineRecords":
    """The use case of QuarantineRecords."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.adapters.sqs import SqsPoisonQueue
    from stream_redrive.core.quarantine import QuarantineRecords

    own, clock = settings.QuarantineRecordsSettings.load(), _clock(context)
    policies = policy_cache(own.policy_parameter)
    return QuarantineRecords(
        S3Vault(clients.s3(), own.vault_bucket),
        SqsPoisonQueue(clients.sqs(), own.poison_queue_url, clock),
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock),
        lambda: policies.current(clock.now()),
        clock,
    )


def open_cases(context: "LambdaContext") -> "OpenCases":
    """The use case of OpenCases."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions
    from stream_redrive.core.opening import OpenCases

    own, clock = settings.OpenCasesSettings.load(), _clock(context)
    return OpenCases(
        DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock),
        StepFunctionsExecutions(clients.stepfunctions(), own.state_machine_arn),
        clock,
    )


def redrive_records(context: "LambdaContext") -> "RedriveRecords":
    """The use case of RedriveRecords."""
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.kinesis import KinesisReader, KinesisWriter
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.redrive import RedriveRecords
    from stream_redrive.core.sending import Sender

    own, clock = settings.RedriveRecordsSettings.load(), _clock(context)
    send = Sender(
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        KinesisWriter(clients.kinesis_once()),
        KinesisReader(clients.kinesis()),
        clock,
        own.settle_seconds,
    )
    return RedriveRecords(S3Vault(clients.s3(), own.vault_bucket), send)


def close_incident() -> "CloseIncident":
    """The use case of CloseIncident."""
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.closing import CloseIncident

    return CloseIncident(S3Vault(clients.s3(), settings.CloseIncidentSettings.load().vault_bucket))


def park_incident(context: "LambdaContext") -> "ParkIncident":
    """The use case of ParkIncident."""
    from stream_redrive.adapters.sqs import SqsPoisonQueue
    from stream_redrive.core.closing import ParkIncident

    own = settings.ParkIncidentSettings.load()
    return ParkIncident(SqsPoisonQueue(clients.sqs(), own.poison_queue_url, _clock(context)), own.vault_bucket)


def take_over_records(context: "LambdaContext") -> "TakeOverRecords":
    """The use case of TakeOverRecords."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.taking_over import TakeOverRecords

    own, clock = settings.TakeOverRecordsSettings.load(), _clock(context)
    return TakeOverRecords(
        DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock), S3Vault(clients.s3(), own.vault_bucket), clock
    )


def notify_approvers(context: "LambdaContext") -> "NotifyApprovers":
    """The use case of NotifyApprovers."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.adapters.sns import SnsApproverTopic
    from stream_redrive.adapters.stepfunctions import StepFunctionsTaskTokens
    from stream_redrive.core.approval import NotifyApprovers
    from stream_redrive.core.handing_over import HandingOver

    own, clock = settings.NotifyApproversSettings.load(), _clock(context)
    cases = DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock)
    policies = policy_cache(own.policy_parameter)
    return NotifyApprovers(
        cases,
        S3Vault(clients.s3(), own.vault_bucket),
        SnsApproverTopic(clients.sns(), own.approval_topic_arn),
        HandingOver(cases, StepFunctionsTaskTokens(clients.stepfunctions()), own.vault_bucket),
        lambda: policies.current(clock.now()),
        clock,
    )


def review_case(context: "LambdaContext") -> "ReviewCase":
    """The use case of ReviewCase."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.core.approval import ReviewCase

    own, clock = settings.ReviewCaseSettings.load(), _clock(context)
    policies = policy_cache(own.policy_parameter)
    return ReviewCase(
        DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock),
        own.vault_bucket,
        lambda: policies.current(clock.now()),
        clock,
    )


def redrive_chunk(context: "LambdaContext") -> "RedriveChunk":
    """The use case of RedriveChunk."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.kinesis import KinesisReader, KinesisWriter
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.redrive_case import RedriveChunk
    from stream_redrive.core.sending import Sender

    own, clock = settings.RedriveChunkSettings.load(), _clock(context)
    send = Sender(
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        KinesisWriter(clients.kinesis_once()),
        KinesisReader(clients.kinesis()),
        clock,
        own.settle_seconds,
    )
    cases = DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock)
    return RedriveChunk(S3Vault(clients.s3(), own.vault_bucket), cases, send)


def confirm_case(context: "LambdaContext") -> "ConfirmCase":
    """The use case of ConfirmCase."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.redrive_case import ConfirmCase

    own, clock = settings.ConfirmCaseSettings.load(), _clock(context)
    policies = policy_cache(own.policy_parameter)
    return ConfirmCase(
        S3Vault(clients.s3(), own.vault_bucket),
        DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock),
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        lambda: policies.current(clock.now()),
        clock,
    )


def settle_case(context: "LambdaContext") -> "SettleCase":
    """The use case of SettleCase."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.dynamodb import DynamoLedger
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.adapters.sqs import SqsPoisonQueue
    from stream_redrive.core.settling import SettleCase

    own, clock = settings.SettleCaseSettings.load(), _clock(context)
    return SettleCase(
        S3Vault(clients.s3(), own.vault_bucket),
        DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock),
        DynamoLedger(clients.dynamodb(), own.ledger_table, clock),
        SqsPoisonQueue(clients.sqs(), own.poison_queue_url, clock),
        clock,
    )


def sweep_cases(context: "LambdaContext") -> "SweepCases":
    """The use case of SweepCases."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.stepfunctions import StepFunctionsExecutions, StepFunctionsTaskTokens
    from stream_redrive.core.sweeping import SweepCases

    own, clock = settings.SweepCasesSettings.load(), _clock(context)
    cases = DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock)
    return SweepCases(
        cases,
        StepFunctionsExecutions(clients.stepfunctions(), own.state_machine_arn),
        StepFunctionsTaskTokens(clients.stepfunctions()),
        _hand_overs(cases, own, clock),
        clock,
        own.grace_seconds,
        _report_not_told,
    )


def cases_api(context: "LambdaContext") -> "CaseDesk":
    """The use cases of CasesApi."""
    from stream_redrive.adapters.cases import DynamoCaseStore
    from stream_redrive.adapters.s3 import S3Vault
    from stream_redrive.core.deciding import CaseDesk

    own, clock = settings.CasesApiSettings.load(), _clock(context)
    cases = DynamoCaseStore(clients.dynamodb(), own.ledger_table, clock)
    policies = policy_cache(own.policy_parameter)
    return CaseDesk(
        cases,
        S3Vault(clients.s3(), own.vault_bucket),
        lambda: policies.current(clock.now()),
        _hand_overs(cases, own, clock),
        clock,
        _report_not_told,
    )


def _hand_overs(
    cases: "CaseStore", own: "settings.SweepCasesSettings | settings.CasesApiSettings", clock: LambdaClock
) -> "HandOvers":
    from stream_redrive.adapters.sns import SnsApproverTopic
    from stream_redrive.adapters.stepfunctions import StepFunctionsTaskTokens
    from stream_redrive.core.handing_over import AnnouncingProposal, HandingOver
    from stream_redrive.core.ports import HandOver

    tokens = StepFunctionsTaskTokens(clients.stepfunctions())
    return {
        HandOver.DECIDED: HandingOver(cases, tokens, own.vault_bucket),
        HandOver.PROPOSED: AnnouncingProposal(cases, SnsApproverTopic(clients.sns(), own.approval_topic_arn), clock),
    }


def _report_not_told(case_id: str, problem: Exception) -> None:
    from stream_redrive.observability import count, logger

    what = {"case_id": case_id, "error": type(problem).__name__, "problem": str(problem)}
    logger.error("a hand-over failed; the sweep tries again", extra=what)
    count(HandOversFailed=1)


def _clock(context: "LambdaContext") -> LambdaClock:
    return LambdaClock(context.get_remaining_time_in_millis)


@cache
def policy_cache(parameter: str) -> "PolicyCache":
    """The policy that a sandbox keeps from one invocation to the next."""
    from stream_redrive.adapters.ssm import SsmPolicySource
    from stream_redrive.core.policy_cache import PolicyCache

    return PolicyCache(SsmPolicySource(clients.ssm(), parameter), _report_invalid_policy)


def _report_invalid_policy(problem: Exception) -> None:
    from stream_redrive.observability import count, logger

    logger.error("the policy is invalid, an earlier version stays in force", extra={"problem": str(problem)})
    count(PolicyInvalid=1)
