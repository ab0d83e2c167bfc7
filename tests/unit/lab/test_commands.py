"""The `redrive` command without a lab: what it says, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from stream_redrive_cli import main as command
from stream_redrive_cli.lab.directory import LabDirectory


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["redrive", *arguments])
    return command._exit_code()


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def stop(_: object) -> None:
        raise error

    monkeypatch.setattr(LabDirectory, "stop", stop)


def test_help_shows_the_lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "lab" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [("lab", "rnu"), ("lab", "run"), ("lab", "run", "nope"), ("lab", "run", "flights", "--records", "0")],
)
def test_wrong_usage_is_252(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 252
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_an_unknown_scenario_names_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "lab", "run", "nope")
    assert "choose one of flights, no-poison-pill" in capsys.readouterr().err


def test_a_foreign_directory_is_253(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(monkeypatch, "lab", "up", "--dir", str(tmp_path)) == 253
    assert "choose another directory with --dir" in capsys.readouterr().err


def test_without_a_cdk_cli_up_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stream_redrive_cli.__file__", str(tmp_path / "cli" / "stream_redrive_cli" / "__init__.py"))
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert run(monkeypatch, "lab", "up", "--dir", str(tmp_path / ".lab")) == 253
    assert "make install" in capsys.readouterr().err
    assert not (tmp_path / ".lab").exists()


def test_without_the_packages_of_the_lab_up_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(monkeypatch, "lab", "up", "--dir", str(tmp_path / ".lab")) == 253
    assert "pip install 'stream-redrive[lab]'" in capsys.readouterr().err
    assert not (tmp_path / ".lab").exists()


def test_the_command_loads_without_the_packages_of_the_lab() -> None:
    script = (
        "import sys\n"
        "for name in ('ministack', 'aws_cdk', 'cryptography', 'aws_lambda_powertools'):\n"
        "    sys.modules[name] = None\n"
        "import stream_redrive_cli.main"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr


def test_a_refusing_service_is_254_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, EndpointConnectionError(endpoint_url="https://127.0.0.1:1"))
    assert run(monkeypatch, "lab", "down") == 254
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert run(monkeypatch, "lab", "down") == 130


def test_an_unforeseen_error_is_255_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    assert run(monkeypatch, "lab", "down") == 255
    assert capsys.readouterr().err == "redrive: ZeroDivisionError: division by zero\n"


def test_down_without_a_lab_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "lab", "down", "--dir", str(tmp_path / ".lab")) == 0
    assert "no lab in" in capsys.readouterr().err
