"""The lab's directory."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream_redrive_cli.errors import ConfigurationError
from stream_redrive_cli.lab.directory import LabDirectory, LabState

STATE = LabState("https://127.0.0.1:1", "/ca.crt", "test", "s3cret", 1, 2, {"VaultBucketName": "vault"})


def test_a_directory_with_files_of_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    lab = LabDirectory(tmp_path)
    with pytest.raises(ConfigurationError, match="--dir"):
        lab.create()
    lab.stop()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_stopping_removes_the_directory(tmp_path: Path) -> None:
    lab = LabDirectory(tmp_path / ".lab")
    lab.create()
    lab.write_state(STATE)
    lab.stop()
    assert not lab.path.exists()


def test_stopping_where_nothing_is_does_nothing(tmp_path: Path) -> None:
    LabDirectory(tmp_path / ".lab").stop()
    assert list(tmp_path.iterdir()) == []


def test_a_state_whose_processes_are_gone_is_no_running_lab(tmp_path: Path) -> None:
    lab = LabDirectory(tmp_path / ".lab")
    lab.create()
    lab.write_state(STATE)
    assert not lab.running
    with pytest.raises(ConfigurationError, match="redrive lab up"):
        lab.read_state()


def test_starting_afresh_clears_what_an_earlier_lab_left(tmp_path: Path) -> None:
    lab = LabDirectory(tmp_path / ".lab")
    lab.create()
    lab.write_state(STATE)
    (lab.tmp_path / "worker").mkdir()
    lab.start_afresh()
    assert not lab.state_path.exists()
    assert list(lab.tmp_path.iterdir()) == []


def test_two_commands_do_not_work_in_one_directory(tmp_path: Path) -> None:
    second = LabDirectory(tmp_path / ".lab").exclusive()
    with LabDirectory(tmp_path / ".lab").exclusive(), pytest.raises(ConfigurationError, match="another lab command"):
        second.__enter__()


def test_what_holds_the_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    lab = LabDirectory(tmp_path / ".lab")
    lab.create()
    lab.write_state(STATE)
    for path in (lab.path, lab.env_path, lab.state_path):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_environment_file_exports_what_an_aws_client_needs(tmp_path: Path) -> None:
    lab = LabDirectory(tmp_path / ".lab")
    lab.create()
    lab.write_state(STATE)
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lab.env_path.read_text().splitlines())
    assert exported["AWS_ENDPOINT_URL"] == "https://127.0.0.1:1"
    assert {"AWS_CA_BUNDLE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= exported.keys()
