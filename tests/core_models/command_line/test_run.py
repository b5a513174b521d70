"""How commands begin and end, asked of real programs in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core_models.checkpoint import load, locate, shipped_checkpoints
from core_models.command_line.run import choose_command, program_version, run_cli
from core_models.errors import CheckpointError, DiskError, Exit, UsageError

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **more
    )


def test_an_error_is_a_sentence_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A TrackerError goes to standard error as it is, brackets and all, and its code is returned."""

    def fail() -> None:
        raise DiskError("There is no room in [tmp].")

    assert run_cli(fail) == Exit.DISK
    assert capsys.readouterr() == ("", "There is no room in [tmp].\n")


def test_ctrl_c_has_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130, in silence unless there is something to say."""

    def wait() -> None:
        signal.raise_signal(signal.SIGINT)

    assert run_cli(wait) == Exit.INTERRUPTED
    assert capsys.readouterr() == ("", "")
    assert run_cli(wait, interrupted="Kept.") == Exit.INTERRUPTED
    assert capsys.readouterr().err == "Kept.\n"


def test_a_command_is_chosen_wherever_options_stand() -> None:
    """Options before the command are its options; a command that is missing or wrong is told with the closest."""
    commands = {"list": "show", "delete": "remove"}
    assert choose_command("p", "", commands, ["--journal", "x", "delete", "a"]) == ("delete", ["--journal", "x", "a"])
    with pytest.raises(UsageError, match="Did you mean delete"):
        choose_command("p", "", commands, ["delte", "a"])
    with pytest.raises(UsageError, match="A command is missing"):
        choose_command("p", "", commands, [])


def test_a_reader_that_has_gone_is_no_error() -> None:
    """`python -m core_models.assets list | head -0` ends with 0 and without a word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "core_models.assets", "list"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == Exit.OK


@pytest.mark.parametrize("program", ["train", "core_models.assets"])
def test_a_wrong_command_is_two_lines(program: str) -> None:
    """Real programs end with 2 and one sentence, and know their version."""
    wrong = run(program, "lst")
    assert wrong.returncode == Exit.USAGE
    assert wrong.stdout == ""
    assert len(wrong.stderr.splitlines()) == 1
    known = run(program, "--version")
    assert known.stdout == f"python -m {program} {program_version()}\n"
    assert known.returncode == Exit.OK


def test_only_dialogue_models_are_offered_as_checkpoints() -> None:
    """A name that does not exist is answered by those that do: no adapter, no head; and by the closest of them."""
    assert {"default", "default-small"} <= set(shipped_checkpoints())
    with pytest.raises(CheckpointError) as refused:
        locate("defualt")
    assert "Did you mean default?" in str(refused.value)
    assert not any(other in str(refused.value) for other in ("voice-", "text-", "face-"))
    with pytest.raises(CheckpointError, match="voice-base holds .* so it is not a dialogue model"):
        load("voice-base")
