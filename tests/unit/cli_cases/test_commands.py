"""`redrive cases`: what is shown is harmless, what is decided is what was seen, each refusal has its exit code."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_redrive.core.cases import CaseStatus
from stream_redrive.core.ports import CaseChange
from stream_redrive_cli.cases import following
from tests.support.deciding import CASE, new_case, record
from tests.unit.cli_cases.conftest import Redrive, Reply, Wire

WHY = ("--reason", "the producer sent the old code")
PATCH = '[{"op": "add", "path": "/n", "value": 1}]'


def plan(redrive: Redrive, *options: str) -> Any:
    done = redrive("cases", "plan", CASE, *options, "--output", "json")
    assert done.code == 0, done.err
    return done.data


def propose(redrive: Redrive) -> str:
    digest: str = plan(redrive, "--action", "discard")["digest"]
    done = redrive("cases", "decide", CASE, "--action", "discard", "--digest", digest, *WHY, "--yes")
    assert done.code == 4, done.err
    return digest


def close(wire: Wire, **outcome: int) -> None:
    """The workflow carries the decision out."""
    case = wire.store.case(CASE)
    assert case is not None
    closed = replace(case, revision=case.revision + 1, status=CaseStatus.CLOSED, outcome=outcome)
    assert wire.store.commit(CaseChange(closed))


def test_cases_are_listed_in_a_line_each(wire: Wire, redrive: Redrive) -> None:
    done = redrive("cases", "list")
    assert done.code == 0
    [head, line] = done.out.splitlines()
    assert head.split() == ["case", "age", "records", "failure", "status", "expires", "in"]
    assert CASE in line
    assert "open" in line
    assert redrive("cases", "list", "--output", "json").out.count("\n") == 1


def test_every_page_of_the_list_is_fetched(wire: Wire, redrive: Redrive, monkeypatch: pytest.MonkeyPatch) -> None:
    second = new_case(id="fedcba9876543210-1", fingerprint="fedcba9876543210")
    assert wire.store.commit(CaseChange(second))
    monkeypatch.setattr("stream_redrive_cli.cases.api._LARGEST_PAGE", 1)
    assert len(redrive("cases", "list", "--output", "json").data["cases"]) == 2


def test_a_case_is_shown_without_a_value_of_its_records(wire: Wire, redrive: Redrive) -> None:
    done = redrive("cases", "show", CASE)
    assert done.code == 0
    assert record(1) in done.out
    assert "SECRET" not in done.out
    assert not [event for event in wire.store.events(CASE) if event.kind == "viewed"]


def test_payloads_are_shown_harmless_and_who_looked_is_kept(wire: Wire, redrive: Redrive) -> None:
    done = redrive("cases", "show", CASE, "--payloads", "--records", 2)
    assert done.out.count("SECRET") == 2
    assert "\x1b" not in done.out
    assert [event.kind for event in wire.store.events(CASE)] == ["viewed", "viewed"]


def test_what_people_write_reaches_no_terminal_unseen(wire: Wire, redrive: Redrive) -> None:
    wire.instead = Reply(409, {"error": "AlreadyDecided", "message": "\x1b[2J eve has decided"})
    done = redrive("cases", "show", CASE)
    assert done.code == 254
    assert done.err == "redrive: \\u001b[2J eve has decided (AlreadyDecided)\n"


def test_the_plan_names_the_command_that_decides_just_so(wire: Wire, redrive: Redrive) -> None:
    options = ("--action", "redrive", "--except", record(1), "--except", record(2))
    done = redrive("cases", "plan", CASE, *options)
    assert "redrive 1 record of case" in done.out
    assert "left over: 2" in done.out
    [line] = [line for line in done.out.splitlines() if line.startswith("decide: ")]
    command = shlex.split(line.removeprefix("decide: "))
    assert command[0] == "redrive"
    decided = redrive(*command[1:], "--yes", "--output", "json")
    assert decided.code == 0, decided.err
    assert decided.data["decision"]["records"] == 1


def test_two_people_are_needed_and_the_second_is_told_how(wire: Wire, redrive: Redrive) -> None:
    digest = propose(redrive)
    again = redrive("cases", "decide", CASE, "--approve", "--digest", digest, *WHY, "--yes")
    assert again.code == 254
    assert "SelfApproval" in again.err
    wire.user = "bob"
    done = redrive("cases", "decide", CASE, "--approve", "--digest", digest, *WHY, "--yes")
    assert done.code == 0, done.err
    case = wire.store.case(CASE)
    assert case is not None
    assert case.status is CaseStatus.DECIDED


def test_an_edit_is_a_patch_from_a_file_or_a_record_from_a_file(wire: Wire, redrive: Redrive, tmp_path: Path) -> None:
    file = tmp_path / "patch.json"
    file.write_text(PATCH)
    by_file = plan(redrive, "--action", "edit", "--patch", str(file), "--only", record(2))
    assert by_file["digest"] == plan(redrive, "--action", "edit", "--patch", PATCH, "--only", record(2))["digest"]
    file.write_text("anything")
    replaced = plan(redrive, "--action", "edit", "--replace", f"{record(3)}={file}")
    assert replaced["records"]["eligible"] == 1
    assert replaced["samples"][0]["bytes_after"] == len("anything")


def test_a_stale_plan_has_an_exit_code_of_its_own(wire: Wire, redrive: Redrive) -> None:
    done = redrive("cases", "decide", CASE, "--action", "redrive", "--digest", "0" * 64, *WHY, "--yes")
    assert (done.code, "plan again" in done.err) == (5, True)
    done = redrive("cases", "decide", CASE, "--approve", "--digest", "0" * 64, *WHY, "--yes")
    assert done.code == 5


def test_nothing_is_decided_unasked_without_a_terminal(wire: Wire, redrive: Redrive) -> None:
    digest = plan(redrive, "--action", "redrive")["digest"]
    done = redrive("cases", "decide", CASE, "--action", "redrive", "--digest", digest, *WHY)
    assert done.code == 252
    case = wire.store.case(CASE)
    assert case is not None
    assert case.status is CaseStatus.OPEN


@pytest.mark.parametrize(
    "options",
    [
        ("--action", "edit"),
        ("--action", "redrive", "--patch", PATCH),
        ("--action", "redrive", "--only", record(1), "--except", record(2)),
        ("--action", "edit", "--replace", record(1)),
        ("--action", "edit", "--patch", "no-such-file"),
        ("--action", "edit", "--patch", "[no JSON"),
        (),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anybody_is_asked(
    wire: Wire, redrive: Redrive, options: tuple[str, ...]
) -> None:
    assert redrive("cases", "plan", CASE, *options).code == 252
    assert wire.sent == []


@pytest.mark.parametrize(("outcome", "code"), [({"redriven": 3, "failed_again": 0}, 0), ({"failed_again": 1}, 3)])
def test_a_redrive_is_followed_until_it_is_certain_what_came_of_it(
    wire: Wire, redrive: Redrive, monkeypatch: pytest.MonkeyPatch, outcome: dict[str, int], code: int
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0)
    digest = plan(redrive, "--action", "redrive")["digest"]
    looks: list[str] = []

    def carry_out(path: str) -> None:
        looks.append(path)
        if looks.count(f"/cases/{CASE}") == 2:
            close(wire, **outcome)

    wire.before = carry_out
    done = redrive("cases", "decide", CASE, "--action", "redrive", "--digest", digest, *WHY, "--yes", "--wait")
    assert done.code == code, done.err
    assert "closed: " in done.err


def test_whoever_waits_in_vain_is_told_how_to_look_later(wire: Wire, redrive: Redrive) -> None:
    digest = plan(redrive, "--action", "redrive")["digest"]
    options = ("--action", "redrive", "--digest", digest, *WHY, "--yes", "--output", "json", "--wait", "--timeout", "0")
    done = redrive("cases", "decide", CASE, *options)
    assert (done.code, done.data["status"]) == (3, "decided")
    assert f"redrive cases show {CASE}" in done.err
    assert "closed" not in done.err


def test_a_decision_that_nobody_heard_says_so(wire: Wire, redrive: Redrive) -> None:
    digest = plan(redrive, "--action", "redrive")["digest"]
    done = redrive("cases", "decide", CASE, "--action", "redrive", "--digest", digest, *WHY, "--yes")
    assert done.code == 0
    assert "tells it later" in done.err


def test_a_stranger_is_told_what_is_missing(wire: Wire, redrive: Redrive) -> None:
    wire.instead = Reply(403, {"message": "Forbidden"})
    done = redrive("cases", "list")
    assert done.code == 254
    assert "grant_operator" in done.err


def test_an_unknown_case_a_note_and_an_answer_that_is_no_json(wire: Wire, redrive: Redrive) -> None:
    assert redrive("cases", "show", "ffffffffffffffff-1").code == 254
    assert redrive("cases", "note", CASE, "called the producer").code == 0
    assert [note.text for note in wire.store.notes(CASE)] == ["called the producer"]
    wire.instead = Reply(200, b"<html>")
    assert redrive("cases", "list").code == 254


def test_requests_are_signed_for_the_api(wire: Wire, redrive: Redrive) -> None:
    redrive("cases", "list")
    [request] = wire.sent
    signature = request.headers["Authorization"]
    assert "/us-east-1/execute-api/aws4_request" in (signature if isinstance(signature, str) else signature.decode())
