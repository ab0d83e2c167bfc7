"""What the functions print: logs without a payload, and metrics that cost one dimension."""

import base64
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.handlers.sandbox import GOOD, MARK, POISON
from tests.support.cloud import ENVIRONMENT

ROOT = Path(__file__).parents[2]
COUNTED = {
    "NoticesReceived",
    "NoticesMalformed",
    "IncidentsStarted",
    "RecordsCaptured",
    "RecordsExpired",
    "RecordsAmbiguous",
    "RecordsTransient",
    "RecordsPoison",
    "RecordsHeld",
    "RecordsNeedingAttention",
    "ConsumerLogUnreadable",
    "RecordsQuarantined",
    "RecordsTakenOver",
    "ApproversNotified",
    "RecordsRedriven",
    "IncidentsParked",
    "PolicyInvalid",
}


@dataclass(frozen=True)
class Output:
    """What a sandbox printed on a day, and what it did."""

    stdout: str
    stderr: str
    summary: dict[str, Any]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def logs(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "_aws" not in line]

    def metrics(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "_aws" in line]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    summary = tmp_path_factory.mktemp("sandbox") / "summary.json"
    run = subprocess.run(
        [sys.executable, "-m", "tests.handlers.sandbox", str(summary)],
        env={**os.environ, **ENVIRONMENT, "PYTHONWARNINGS": "default"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return Output(run.stdout, run.stderr, json.loads(summary.read_text()))


def test_the_day_brought_what_it_should(output: Output) -> None:
    assert output.summary["statuses"] == ["SUCCEEDED"]
    assert output.summary["failed"] == ["m-3", "m-4", "m-5", "m-6", "m-7"]
    assert output.summary["unfinished"] == [True, True]


def test_every_line_is_an_object_of_json(output: Output) -> None:
    assert all(isinstance(line, dict) for line in output.lines())
    assert len(output.logs()) > 10


def traces(texts: Sequence[bytes]) -> set[str]:
    """What of these bytes would show in a text, also inside base64, where they may begin at any of three places."""
    found: set[str] = set()
    for text in texts:
        found |= {text.decode(errors="ignore"), base64.b64encode(text).decode()}
        found |= {base64.b64encode(b"_" * shift + text).decode()[4:-4] for shift in range(3)}
    return found


def test_no_payload_and_no_partition_key_is_printed(output: Output) -> None:
    hidden = traces([MARK.encode(), *(data for _, data in GOOD + POISON), *(key.encode() for key, _ in GOOD + POISON)])
    assert min(map(len, hidden)) > 10
    for trace in hidden:
        assert trace not in output.stdout
        assert trace not in output.stderr


def test_each_line_of_a_step_carries_its_incident(output: Output) -> None:
    intake = {"malformed notice", "incidents started", "incident not started"}
    steps = [line for line in output.logs() if line["message"] not in intake]
    assert {line["correlation_id"] for line in steps} == {*output.summary["incidents"], *output.summary["cases"]}
    said = {line["message"] for line in steps}
    assert {
        "captured",
        "classified",
        "quarantined",
        "cases opened",
        "redriven",
        "incident closed",
        "incident parked",
    } <= said


def test_the_intake_names_the_incidents_and_the_messages_that_are_no_notices(output: Output) -> None:
    [started] = [line for line in output.logs() if line["message"] == "incidents started"]
    assert started["incidents"] == output.summary["incidents"][:1]
    malformed = [line for line in output.logs() if line["message"] == "malformed notice"]
    assert [line["message_id"] for line in malformed] == output.summary["failed"]
    assert all(line["level"] == "ERROR" and line["problem"] for line in malformed)


def test_an_invalid_policy_is_reported(output: Output) -> None:
    problems = [line["problem"] for line in output.logs() if "policy is invalid" in line["message"]]
    assert problems
    assert all("policy.default.decoder" in problem for problem in problems)


def test_metrics_have_one_namespace_and_one_dimension(output: Output) -> None:
    for line in output.metrics():
        [directive] = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "StreamRedrive"
        assert directive["Dimensions"] == [["service"]]
        assert line["service"] == ENVIRONMENT["POWERTOOLS_SERVICE_NAME"]
        assert {metric["Unit"] for metric in directive["Metrics"]} == {"Count"}
        assert set(line) == {"_aws", "service", *(metric["Name"] for metric in directive["Metrics"])}


def test_metrics_count_what_happened_each_thing_once(output: Output) -> None:
    counted: Counter[str] = Counter()
    for line in output.metrics():
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
            counted[metric["Name"]] += sum(line[metric["Name"]])
    assert set(counted) == COUNTED
    assert counted == {
        "NoticesReceived": 8,
        "NoticesMalformed": 5,
        "IncidentsStarted": 1,
        "RecordsCaptured": 10 + 4,
        "RecordsExpired": 2,
        "RecordsAmbiguous": 4,
        "RecordsTransient": 4 + 4 + 2,
        "RecordsPoison": 2,
        "RecordsHeld": 2,
        "RecordsNeedingAttention": 0,
        "ConsumerLogUnreadable": 0,
        "RecordsQuarantined": 4,
        "RecordsTakenOver": 0,
        "ApproversNotified": 3,
        "RecordsRedriven": 4 + 4 + 2,
        "IncidentsParked": 1,
        "PolicyInvalid": 1,
    }


def test_nothing_warns(output: Output) -> None:
    assert "Warning" not in output.stderr
