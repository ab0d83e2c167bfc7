"""`redrive policy set`: validated whole, shown, agreed to, and never over a version that nobody saw."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from stream_redrive_cli.policy.parameter import MAX_REASON, PolicyParameter
from tests.support.cloud import Cloud
from tests.unit.cli_policy.conftest import PARAMETER, Redrive, stored, write

OLD = '{"default": {"max_attempts": 2, "pace": 0.5}}'
NEW = '{"default": {"max_attempts": 4, "decoder": "json"}}\n'
WHY = ("--reason", "orders are JSON since spring")
DIFFERENCE = [
    "- default.max_attempts: 2",
    "+ default.max_attempts: 4",
    '+ default.decoder: "json"',
    "- default.pace: 0.5",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(NEW)
    return path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A person at a terminal who answers."""

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    return lambda answer: monkeypatch.setattr("sys.stdin", Person(answer))


def newest(cloud: Cloud) -> dict[str, Any]:
    entries = cloud.client("ssm").get_parameter_history(Name=PARAMETER)["Parameters"]
    return max(entries, key=lambda entry: entry["Version"])


def test_the_difference_is_shown_and_the_file_becomes_a_new_version(
    service: Cloud, redrive: Redrive, file: Path
) -> None:
    write(service, OLD)
    done = redrive("policy", "set", file, "--yes", *WHY)
    assert done.code == 0
    assert done.out.splitlines() == ["--- version 2, in force", f"+++ {file}", *DIFFERENCE]
    assert "version 3 is written" in done.err
    assert stored(service) == NEW
    assert newest(service)["Tier"] == "Intelligent-Tiering"
    assert redrive("policy", "show", "--version", 2).out == OLD + "\n", "the old version is kept"


def test_the_reason_is_kept_with_its_version_and_with_no_other(service: Cloud, redrive: Redrive, file: Path) -> None:
    redrive("policy", "set", file, "--yes", *WHY)
    write(service, OLD)  # by other means, which leave the description as it was
    assert newest(service)["Description"].endswith(WHY[1])
    reasons = [redrive("policy", "show", "--version", n, "--output", "json").data["reason"] for n in (1, 2, 3)]
    assert reasons == [None, WHY[1], None]
    assert f"reason: {WHY[1]}" in redrive("policy", "show", "--version", 2).err


def test_json_tells_what_was_done(service: Cloud, redrive: Redrive, file: Path) -> None:
    write(service, OLD)
    done = redrive("policy", "set", file, "--yes", *WHY, "--output", "json")
    assert done.data == {
        "parameter": PARAMETER,
        "reason": WHY[1],
        "in_force_before": "version 2",
        "written": True,
        "version": 3,
        "changes": [
            {"field": "default.max_attempts", "before": 2, "after": 4},
            {"field": "default.decoder", "after": "json"},
            {"field": "default.pace", "before": 0.5},
        ],
    }
    assert DIFFERENCE[0] in done.err


def test_without_a_terminal_the_difference_is_shown_and_nothing_written(
    service: Cloud, redrive: Redrive, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    write(service, OLD)
    done = redrive("policy", "set", file, *WHY)
    assert done.code == 252
    assert done.out.splitlines()[2:] == DIFFERENCE
    assert "--yes" in done.err
    assert stored(service) == OLD


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 255), ("\n", 255), ("", 255)])
def test_a_person_is_asked(answer: str, code: int, service: Cloud, redrive: Redrive, file: Path, terminal: Any) -> None:
    terminal(answer)
    write(service, OLD)
    done = redrive("policy", "set", file, *WHY)
    assert done.code == code
    assert f"Write version 3 of {PARAMETER}? [y/N]" in done.err
    assert stored(service) == (OLD if code else NEW)


def test_an_invalid_policy_is_refused_before_anything_else(service: Cloud, redrive: Redrive, file: Path) -> None:
    file.write_text('{\n "default": {"pace": 7}}')
    done = redrive("policy", "set", file, "--yes", *WHY)
    assert (done.code, done.out) == (253, "")
    assert f"redrive: {file}, line 2: policy.default.pace" in done.err
    assert len(done.err.splitlines()) == 1
    assert newest(service)["Version"] == 1


def test_more_than_8_kb_is_refused(service: Cloud, redrive: Redrive, file: Path) -> None:
    file.write_text('{"consumers": {' + ",".join(f'"consumer-{n}": {{"pace": 0.5}}' for n in range(400)) + "}}")
    done = redrive("policy", "set", file, "--yes", *WHY)
    assert done.code == 253
    assert "a parameter holds at most 8192" in done.err


@pytest.mark.parametrize("same", [OLD, '{"default":\n\t{"pace": 0.5, "max_attempts": 2}}'])
def test_a_policy_that_says_the_same_makes_no_version(same: str, service: Cloud, redrive: Redrive, file: Path) -> None:
    write(service, OLD)
    file.write_text(same)
    done = redrive("policy", "set", file, "--yes", *WHY)
    assert (done.code, done.out) == (0, "")
    assert "nothing to change: version 2 says the same" in done.err
    told = redrive("policy", "set", file, "--yes", *WHY, "--output", "json").data
    assert (told["written"], told["version"], told["reason"]) == (False, 2, None)
    assert newest(service)["Version"] == 2


def test_an_invalid_newest_version_is_written_over_even_by_what_is_in_force(
    service: Cloud, redrive: Redrive, file: Path
) -> None:
    write(service, OLD, "{")
    file.write_text(OLD)
    done = redrive("policy", "set", file, "--yes", *WHY)
    assert done.code == 0
    assert "version 3 is invalid and not in force: not JSON" in done.err
    assert (newest(service)["Version"], stored(service)) == (4, OLD)


def test_the_difference_is_against_the_version_in_force(service: Cloud, redrive: Redrive, file: Path) -> None:
    write(service, OLD, "{")
    assert redrive("policy", "set", file, "--yes", *WHY).out.splitlines() == [
        "--- version 2, in force",
        f"+++ {file}",
        *DIFFERENCE,
    ]


def test_a_version_that_was_written_meanwhile_is_not_overwritten(
    service: Cloud, redrive: Redrive, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(question: str) -> bool:
        write(service, OLD)
        return True

    monkeypatch.setattr("stream_redrive_cli.policy.commands.agreed", ask)
    done = redrive("policy", "set", file, *WHY)
    assert done.code == 5
    assert "nothing was written: version 2" in done.err
    assert stored(service) == OLD


def test_a_write_at_the_same_moment_is_told(
    service: Cloud, redrive: Redrive, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = PolicyParameter.newest_number

    def look_then_lose(self: PolicyParameter) -> int:
        seen = look(self)
        write(service, OLD)
        return seen

    monkeypatch.setattr(PolicyParameter, "newest_number", look_then_lose)
    done = redrive("policy", "set", file, "--yes", *WHY)
    assert done.code == 3
    assert "version 3 is written and in force, but 2 was written by somebody else" in done.err
    assert stored(service) == NEW


@pytest.mark.parametrize(
    ("reason", "said"),
    [((), "--reason"), (("--reason", " "), "--reason is empty"), (("--reason", "x" * (MAX_REASON + 1)), "can be kept")],
)
def test_no_change_without_a_reason(
    reason: tuple[str, ...], said: str, service: Cloud, redrive: Redrive, file: Path
) -> None:
    done = redrive("policy", "set", file, "--yes", *reason)
    assert done.code == 252
    assert said in done.err
    assert newest(service)["Version"] == 1


def test_the_longest_reason_is_kept_whole(service: Cloud, redrive: Redrive, file: Path) -> None:
    assert redrive("policy", "set", file, "--yes", "--reason", "x" * MAX_REASON).code == 0
    assert len(newest(service)["Description"]) <= 1024
    assert redrive("policy", "show", "--output", "json").data["reason"] == "x" * MAX_REASON


def test_a_parameter_that_is_not_there_is_not_made(service: Cloud, redrive: Redrive, file: Path) -> None:
    done = redrive("policy", "set", file, "--yes", *WHY, "--parameter", "/redrive/polcy")
    assert done.code == 253
    assert "there is no parameter '/redrive/polcy'" in done.err


def test_what_is_shown_of_a_policy_drives_no_terminal(service: Cloud, redrive: Redrive, file: Path) -> None:
    rule = {"id": "a", "when": {"attempt": 1}, "then": "held", "reason": "\x1b[2J\u202e"}
    file.write_text(json.dumps({"default": {"rules": [rule]}}))
    done = redrive("policy", "set", file, "--yes", "--reason", "\x1b[31mred")
    assert done.code == 0
    assert "\\u001b[2J\\u202e" in done.out
    shown = redrive("policy", "show")
    assert "reason: \\u001b[31mred" in shown.err
    assert "\x1b" not in done.out + done.err + shown.out + shown.err
