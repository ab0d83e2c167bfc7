"""`redrive policy test`: what a policy would have made of records, and nothing done about it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stream_redrive.adapters import clients
from stream_redrive.adapters.dynamodb import report_pk, report_sk
from stream_redrive.adapters.s3 import S3Vault
from stream_redrive.core import chunks
from stream_redrive.core.chunks import VaultKeys
from stream_redrive.core.incident import Incident
from stream_redrive.core.manifest import CaptureManifest
from stream_redrive.core.reports import FailureReport
from tests.support.build import CONSUMER, FAILED, incident, notice_of
from tests.support.cloud import TABLE, VAULT, Cloud
from tests.unit.cli_policy.conftest import Redrive, classified, write

LAX = '{"default": {"decoder": "auto"}}'
STRICT = '{"default": {"decoder": "json", "schema": {"type": "object", "required": ["tail"]}}}'
PAYLOADS = (b'{"tail": "N1"}', b"{}", b"no json", b'{"tail": "N2"}')


@pytest.fixture
def lax(tmp_path: Path) -> Path:
    (tmp_path / "lax.json").write_text(LAX)
    return tmp_path / "lax.json"


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    (tmp_path / "strict.json").write_text(STRICT)
    return tmp_path / "strict.json"


def vault() -> S3Vault:
    return S3Vault(clients.s3(), VAULT)


def everything(cloud: Cloud) -> Any:
    """All that the service keeps, to see that a trial leaves it alone."""
    s3, dynamodb = cloud.client("s3"), cloud.client("dynamodb")
    objects = s3.list_object_versions(Bucket=VAULT).get("Versions", [])
    return [(o["Key"], o["ETag"], o["VersionId"]) for o in objects], dynamodb.scan(TableName=TABLE)["Items"]


def chunk_uri(failed: Incident, index: int = 0) -> str:
    return f"s3://{VAULT}/{VaultKeys(failed).captured_chunk(index)}"


def moved(data: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(then, now): n for then, row in data["matrix"].items() for now, n in row.items() if n}


def test_a_past_incident_shows_what_would_change(service: Cloud, redrive: Redrive, strict: Path) -> None:
    write(service, LAX)
    failed = classified(service, *PAYLOADS)
    before = everything(service)
    tried = redrive("policy", "test", strict, "--incident", failed.id, "--output", "json")
    assert tried.code == 0
    assert moved(tried.data) == {("transient", "transient"): 2, ("transient", "poison"): 2}
    assert (tried.data["records"], tried.data["other_verdict"], tried.data["other_reason"]) == (4, 2, 0)
    assert tried.data["consumer"] == CONSUMER
    assert [(c["then"]["rule"], c["now"]["rule"]) for c in tried.data["changes"]] == [
        ("default", "payload-schema"),
        ("default", "payload-decode"),
    ]
    assert everything(service) == before


def test_the_policy_that_gave_the_verdicts_changes_none(service: Cloud, redrive: Redrive, strict: Path) -> None:
    write(service, STRICT)
    failed = classified(service, *PAYLOADS)
    data = redrive("policy", "test", strict, "--incident", failed.id, "--output", "json").data
    assert moved(data) == {("transient", "transient"): 2, ("poison", "poison"): 2}
    assert data["changes"] == []


@pytest.mark.parametrize("suffix", ["", "-r2"])
def test_an_incident_goes_by_its_executions_name_too(suffix: str, service: Cloud, redrive: Redrive, lax: Path) -> None:
    failed = classified(service, b"{}")
    assert redrive("policy", "test", lax, "--incident", failed.id + suffix).code == 0


def test_the_consumers_own_entry_is_tried(service: Cloud, redrive: Redrive, tmp_path: Path) -> None:
    failed = classified(service, b"{}")
    policy = tmp_path / "policy.json"
    policy.write_text('{"consumers": {"orders": {"default": "held"}, "other": {"default": "poison"}}}')
    data = redrive("policy", "test", policy, "--incident", failed.id, "--output", "json").data
    assert (data["entry"], moved(data)) == ("orders", {("transient", "held"): 1})
    other = redrive("policy", "test", policy, "--incident", failed.id, "--consumer", "other", "--output", "json").data
    assert (other["entry"], moved(other)) == ("other", {("transient", "poison"): 1})


def test_a_reason_that_changes_without_the_verdict_is_told_apart(
    service: Cloud, redrive: Redrive, tmp_path: Path
) -> None:
    failed = classified(service, b"{}")
    policy = tmp_path / "policy.json"
    rule = {"id": "mine", "when": {"batch_size": 1}, "then": "transient", "reason": "because"}
    policy.write_text(json.dumps({"default": {"rules": [rule]}}))
    data = redrive("policy", "test", policy, "--incident", failed.id, "--output", "json").data
    assert (data["other_verdict"], data["other_reason"]) == (0, 1)
    assert data["changes"][0]["now"] == {"class": "transient", "rule": "mine", "reason": "because"}


def test_one_chunk_of_the_vault_is_judged_as_a_part_of_its_incident(
    service: Cloud, redrive: Redrive, strict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_RECORDS", 3)
    failed = classified(service, *PAYLOADS)
    assert len(CaptureManifest.load(vault(), failed.id).chunks) == 2
    first, second = (
        redrive("policy", "test", strict, "--chunk", chunk_uri(failed, index), "--output", "json").data
        for index in (0, 1)
    )
    assert moved(first) == {("transient", "transient"): 1, ("transient", "poison"): 2}
    assert moved(second) == {("transient", "transient"): 1}


def test_an_ambiguous_range_stays_held_whatever_the_policy(service: Cloud, redrive: Redrive, strict: Path) -> None:
    records = service.produce([(f"k{n}", b"{}") for n in range(5)])
    failed = incident(notice_of(records, size=3))
    for step in ("CaptureRecords", "ClassifyRecords"):
        service.call(step, {"incident": failed.to_input()})
    data = redrive("policy", "test", strict, "--incident", failed.id, "--output", "json").data
    assert moved(data) == {("held", "held"): 3, ("transient", "poison"): 2}


def test_a_stranger_is_not_judged_at_all(service: Cloud, redrive: Redrive, strict: Path) -> None:
    records = service.produce([("k", b"{}"), ("k", b"{}"), ("k", b"{}")])
    failed = incident(notice_of(records, size=2))
    for step in ("CaptureRecords", "ClassifyRecords"):
        service.call(step, {"incident": failed.to_input()})
    data = redrive("policy", "test", strict, "--incident", failed.id, "--output", "json").data
    assert (data["records"], moved(data)) == (2, {("transient", "poison"): 2})


def test_a_quarantined_chunk_is_judged_by_the_evidence_that_its_lines_carry(
    service: Cloud, redrive: Redrive, strict: Path, lax: Path, tmp_path: Path
) -> None:
    write(service, STRICT)
    failed = classified(service, *PAYLOADS)
    service.call("QuarantineRecords", {"incident": failed.to_input(), "execution_arn": "arn"})
    key = VaultKeys(failed).quarantine_chunk(0)
    same = redrive("policy", "test", strict, "--chunk", f"s3://{VAULT}/{key}", "--output", "json").data
    assert moved(same) == {("poison", "poison"): 2}
    assert same["changes"] == []
    local = tmp_path / "chunk.ndjson.gz"
    local.write_bytes(vault().get(key))
    assert moved(redrive("policy", "test", lax, "--chunk", local, "--output", "json").data) == {
        ("poison", "transient"): 2
    }


def report(service: Cloud, failed: Incident, error: Exception) -> None:
    """The consumer reports each record of the incident."""
    made = FailureReport.of(error, FAILED)
    for notice in failed.load_notices(vault()):
        service.client("dynamodb").put_item(
            TableName=TABLE,
            Item={
                "pk": {"S": report_pk(chunks.function_name(CONSUMER), "orders-stream", failed.shard.shard_id)},
                "sk": {"S": report_sk(notice.start)},
                **{name: {"S": getattr(made, name)} for name in FailureReport.__dataclass_fields__},
            },
        )


RULE_ON_VALUE = {"id": "mine", "when": {"message": "*order 4711*"}, "then": "held", "reason": "that order again"}


@pytest.fixture
def reported(service: Cloud) -> Incident:
    [record] = service.produce([("k", b"{}")])
    failed = incident(notice_of([record]))
    report(service, failed, KeyError("order 4711"))
    for step in ("CaptureRecords", "ClassifyRecords"):
        service.call(step, {"incident": failed.to_input()})
    return failed


def test_what_the_consumer_reported_counts(
    service: Cloud, reported: Incident, redrive: Redrive, lax: Path, tmp_path: Path
) -> None:
    data = redrive("policy", "test", lax, "--incident", reported.id, "--output", "json").data
    assert (moved(data), data["changes"], data["notes"]) == ({("poison", "poison"): 1}, [], [])
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"default": {"rules": [RULE_ON_VALUE]}}))
    tried = redrive("policy", "test", policy, "--incident", reported.id, "--output", "json").data
    assert moved(tried) == {("poison", "held"): 1}


def test_a_report_that_is_forgotten_lives_on_in_the_verdict(
    service: Cloud, reported: Incident, redrive: Redrive, lax: Path
) -> None:
    dynamodb = service.client("dynamodb")
    for item in dynamodb.scan(TableName=TABLE)["Items"]:
        if item["pk"]["S"].startswith("REPORT#"):
            dynamodb.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})
    data = redrive("policy", "test", lax, "--incident", reported.id, "--output", "json").data
    assert (moved(data), data["changes"]) == ({("poison", "poison"): 1}, [])
    assert "of 1 records the consumer's message is known only without its values" in data["notes"][0]


def test_a_named_vault_without_a_ledger_needs_no_stack(cloud: Cloud, redrive: Redrive, lax: Path) -> None:
    failed = classified(cloud, b"{}")
    assert redrive("policy", "test", lax, "--incident", failed.id, "--vault", VAULT).code == 0
    assert redrive("policy", "test", lax, "--incident", failed.id).code == 253


def test_many_quarantined_records_of_one_error_in_a_file_are_no_outage(
    service: Cloud, redrive: Redrive, lax: Path, tmp_path: Path
) -> None:
    lines = []
    for number in range(20):
        line = chunk_line(str(number + 1))
        evidence = {"condition": "RetryAttemptsExhausted", "batch_size": 1, "attempt": 0}
        evidence |= {"error_type": "KeyError", "message": "<value>"}
        verdict = {"class": "poison", "rule": "logic-error", "reason": "r", "policy_version": "1"}
        lines.append(json.dumps({**line, "verdict": {**verdict, "evidence": evidence}}))
    (tmp_path / "records").write_text("\n".join(lines))
    data = redrive("policy", "test", lax, "--records", tmp_path / "records", "--output", "json").data
    assert moved(data) == {("poison", "poison"): 20}


def chunk_line(number: str = "7", key: str | None = "k", data: str = "e30=") -> dict[str, Any]:
    return {
        "stream_arn": "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream",
        "shard_id": "shardId-000000000000",
        "sequence_number": number,
        "partition_key": key,
        "arrived_at": FAILED,
        "data": data,
        "sha256": "",
        "lineage": {"origin": {"shard_id": "shardId-000000000000", "sequence_number": number}, "attempt": 0},
    }


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_records_needs_no_aws(
    packed: bool, redrive: Redrive, strict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    body = "".join(json.dumps(chunk_line(str(n))) + "\n\n" for n in (1, 2)).encode()
    (tmp_path / "records").write_bytes(gzip.compress(body) if packed else body)
    data = redrive("policy", "test", strict, "--records", tmp_path / "records", "--output", "json").data
    assert moved(data) == {("none", "poison"): 2}
    assert data["without_verdict"] == 2
    assert data["changes"][0]["then"] is None


def test_plain_payloads_go_one_a_line(redrive: Redrive, strict: Path, tmp_path: Path) -> None:
    (tmp_path / "payloads").write_bytes(b"\n".join(PAYLOADS) + b"\n\n\xff\xfe")
    arguments = ("--records", tmp_path / "payloads", "--plain", "--consumer", "orders")
    data = redrive("policy", "test", strict, *arguments, "--output", "json").data
    assert moved(data) == {("none", "transient"): 2, ("none", "poison"): 4}
    assert [c["sequence_number"] for c in data["changes"] if c["now"]["class"] == "transient"] == ["1", "4"]
    assert (data["consumer"], data["notes"]) == ("orders", [])


def test_an_empty_file_has_nothing_to_judge(redrive: Redrive, strict: Path, tmp_path: Path) -> None:
    (tmp_path / "records").touch()
    tried = redrive("policy", "test", strict, "--records", tmp_path / "records")
    assert tried.code == 0
    assert "0 records" in tried.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "line 2: no line of a chunk"),
        ("{}", "field 'data' is missing"),
        ('{"a"', "line 2: no line of a chunk"),
        (json.dumps(chunk_line(data="!")), "line 2: no line of a chunk"),
        (json.dumps(chunk_line(number="seven")), "sequence_number is of the wrong shape"),
        (json.dumps({**chunk_line(), "partition_key": {"\x1b": 1}}), "partition_key is of the wrong shape"),
        (json.dumps({**chunk_line(), "verdict": {"class": "nonsense"}}), "line 2: no line of a chunk"),
    ],
)
def test_a_line_that_is_no_record_is_named(
    line: str, said: str, redrive: Redrive, strict: Path, tmp_path: Path
) -> None:
    (tmp_path / "records").write_text(json.dumps(chunk_line()) + "\n" + line)
    tried = redrive("policy", "test", strict, "--records", tmp_path / "records")
    assert (tried.code, tried.out) == (252, "")
    assert said in tried.err
    assert len(tried.err.splitlines()) == 1


def test_examples_show_each_kind_of_change_and_no_payload(service: Cloud, redrive: Redrive, strict: Path) -> None:
    failed = classified(service, *PAYLOADS, b"{}", b"{}", b'{"secret": 1}', key="k\x1b[2J\u202e")
    tried = redrive("policy", "test", strict, "--incident", failed.id, "--examples", 2)
    assert tried.code == 0
    lines = tried.out.splitlines()
    assert "7 records; 5 of 7 would get another verdict; 0 the same for another rule or reason" in lines
    kinds = [line for line in lines if "->" in line]
    assert kinds == [
        "transient (default) -> poison (payload-schema), records like this: 4",
        "transient (default) -> poison (payload-decode), records like this: 1",
    ]
    assert "3 more: --examples N, or all of them with --output json" in lines
    assert "key k\\u001b[2J\\u202e, redriven 0 times" in tried.out
    assert "  then: no evidence against the record: the policy's default decides" in lines
    assert not {"\x1b", "\u202e"} & set(tried.out)
    assert "secret" not in tried.out
    complete = redrive("policy", "test", strict, "--incident", failed.id, "--output", "json")
    assert len(complete.data["changes"]) == 5
    assert "secret" not in complete.out


def test_the_matrix_counts_every_record(service: Cloud, redrive: Redrive, strict: Path) -> None:
    failed = classified(service, *PAYLOADS)
    out = redrive("policy", "test", strict, "--incident", failed.id).out
    [row] = [line for line in out.splitlines() if "transient" in line and "│" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["transient", "2", "2", "0"]


def test_an_incident_of_which_nothing_was_left_has_nothing_to_judge(
    service: Cloud, redrive: Redrive, strict: Path
) -> None:
    [record] = service.produce([("k", b"{}")])
    gone = incident(notice_of([record], size=1))
    service.client("kinesis").delete_stream(StreamName="orders-stream")
    service.client("kinesis").create_stream(StreamName="orders-stream", ShardCount=1)
    service.call("CaptureRecords", {"incident": gone.to_input()})
    tried = redrive("policy", "test", strict, "--incident", gone.id, "--output", "json")
    assert (tried.code, tried.data["records"]) == (0, 0)
    assert "there is no record to judge" in tried.data["notes"][0]


def test_a_chunk_that_was_never_classified_had_no_verdicts(service: Cloud, redrive: Redrive, strict: Path) -> None:
    [record] = service.produce([("k", b"{}")])
    failed = incident(notice_of([record]))
    service.call("CaptureRecords", {"incident": failed.to_input()})
    data = redrive("policy", "test", strict, "--incident", failed.id, "--output", "json").data
    assert moved(data) == {("none", "poison"): 1}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 252, "one of --incident, --chunk, --records"),
        (("--incident", "0" * 32, "--chunk", "x"), 252, "one of --incident, --chunk, --records"),
        (("--incident", "nonsense"), 252, "'nonsense' is no incident"),
        (("--incident", "0" * 32), 254, "no such incident"),
        (("--incident", "0" * 32, "--plain"), 252, "--plain is for --records"),
        (("--chunk", "s3://bucket"), 252, "no address of an object"),
        (("--chunk", f"s3://{VAULT}/quarantine/none"), 254, "is not there"),
        (("--chunk", "not-here.gz"), 252, "not-here.gz can't be read"),
        (("--records", "not-here"), 252, "not-here can't be read"),
        (("--records", "not-here", "--consumer", "no name"), 252, "neither the name of a function nor its ARN"),
    ],
)
def test_what_can_not_be_tried_ends_in_one_line(
    arguments: tuple[str, ...], code: int, said: str, service: Cloud, redrive: Redrive, strict: Path
) -> None:
    tried = redrive("policy", "test", strict, *arguments)
    assert (tried.code, tried.out) == (code, "")
    assert said in tried.err
    assert len(tried.err.splitlines()) == 1


def test_an_invalid_policy_is_not_tried(redrive: Redrive, strict: Path, tmp_path: Path) -> None:
    strict.write_text('{"default":\n{"decoder": "xml"}}')
    (tmp_path / "records").touch()
    tried = redrive("policy", "test", strict, "--records", tmp_path / "records")
    assert tried.code == 253
    assert "line 2: policy.default.decoder" in tried.err
