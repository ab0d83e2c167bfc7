"""A function whose environment is incomplete says so, with all that is missing."""

import importlib
from dataclasses import fields
from typing import Any

import pytest

from stream_redrive import settings
from stream_redrive.core.errors import SettingsMissing
from tests.support import build
from tests.support.cloud import ENVIRONMENT, Context

INCIDENT = {"incident": build.incident(build.notice("1", "2", 2)).to_input()}
CASE = {"case_id": "0123456789abcdef-1"}
CHUNK = {"index": 0, "bucket": "vault", "key": "quarantine/0", "lines": None, "records": 1}
FUNCTIONS: dict[str, tuple[type[settings.Settings], set[str], dict[str, Any]]] = {
    "start_redrive": (
        settings.StartRedriveSettings,
        {"REDRIVE_STATE_MACHINE_ARN", "VAULT_BUCKET"},
        {"Records": [{"messageId": "m", "body": build.message(), "eventSource": "aws:sqs"}]},
    ),
    "capture_records": (settings.CaptureRecordsSettings, {"VAULT_BUCKET", "LEDGER_TABLE"}, INCIDENT),
    "classify_records": (
        settings.ClassifyRecordsSettings,
        {"VAULT_BUCKET", "LEDGER_TABLE", "POLICY_PARAMETER"},
        INCIDENT,
    ),
    "quarantine_records": (
        settings.QuarantineRecordsSettings,
        {"VAULT_BUCKET", "LEDGER_TABLE", "POISON_QUEUE_URL", "POLICY_PARAMETER"},
        {**INCIDENT, "execution_arn": "arn"},
    ),
    "open_cases": (settings.OpenCasesSettings, {"LEDGER_TABLE", "CASE_STATE_MACHINE_ARN"}, INCIDENT),
    "redrive_records": (
        settings.RedriveRecordsSettings,
        {"VAULT_BUCKET", "LEDGER_TABLE", "REDRIVE_SETTLE_SECONDS"},
        {**INCIDENT, "target": "stream"},
    ),
    "close_incident": (
        settings.CloseIncidentSettings,
        {"VAULT_BUCKET"},
        {**INCIDENT, "verdicts": {}, "redrive": {}, "quarantined": 0},
    ),
    **{
        name: (getattr(settings, f"{kind}Settings"), {"VAULT_BUCKET", "LEDGER_TABLE", *own}, event)
        for name, kind, own, event in (
            ("take_over_records", "TakeOverRecords", (), CASE),
            ("notify_approvers", "NotifyApprovers", ("POLICY_PARAMETER", "APPROVAL_TOPIC_ARN"), {**CASE, "token": "t"}),
            ("review_case", "ReviewCase", ("POLICY_PARAMETER",), CASE),
            ("redrive_chunk", "RedriveChunk", ("REDRIVE_SETTLE_SECONDS",), {**CASE, "chunk": CHUNK}),
            ("confirm_case", "ConfirmCase", ("POLICY_PARAMETER",), CASE),
            ("settle_case", "SettleCase", ("POISON_QUEUE_URL",), CASE),
            (
                "sweep_cases",
                "SweepCases",
                ("CASE_STATE_MACHINE_ARN", "REMINDER_GRACE_SECONDS", "APPROVAL_TOPIC_ARN"),
                {},
            ),
        )
    },
    "park_incident": (
        settings.ParkIncidentSettings,
        {"VAULT_BUCKET", "POISON_QUEUE_URL"},
        {**INCIDENT, "failure": {}, "execution_arn": "arn"},
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_names_every_variable_it_misses(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, variables, event = FUNCTIONS[function]
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    handler = importlib.import_module(f"stream_redrive.handlers.{function}").handler
    with pytest.raises(SettingsMissing) as raised:
        handler(event, Context(function))
    assert str(raised.value) == f"set these environment variables: {', '.join(sorted(variables))}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_complete_environment_is_read(function: str) -> None:
    kind, variables, _ = FUNCTIONS[function]
    loaded = kind.load(dict.fromkeys(variables, "7"))
    read = {entry.metadata["variable"]: getattr(loaded, entry.name) for entry in fields(loaded)}
    assert read == {name: 7.0 if name.endswith("SECONDS") else "7" for name in variables}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("empty", [True, False])
def test_one_variable_that_is_missing_or_empty_is_named_alone(function: str, empty: bool) -> None:
    kind, variables, _ = FUNCTIONS[function]
    for missing in variables:
        environment = dict.fromkeys(variables - {missing}, "7") | ({missing: ""} if empty else {})
        with pytest.raises(SettingsMissing, match=rf": {missing}$"):
            kind.load(environment)


@pytest.mark.parametrize("text", ["soon", "1,5", "15 s"])
def test_a_variable_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(SettingsMissing, match=r": REDRIVE_SETTLE_SECONDS$"):
        settings.RedriveRecordsSettings.load({"VAULT_BUCKET": "v", "LEDGER_TABLE": "t", "REDRIVE_SETTLE_SECONDS": text})


def test_no_wait_for_a_cut_call_is_a_number_too() -> None:
    loaded = settings.RedriveRecordsSettings.load(
        {"VAULT_BUCKET": "v", "LEDGER_TABLE": "t", "REDRIVE_SETTLE_SECONDS": "0"}
    )
    assert loaded.settle_seconds == 0
