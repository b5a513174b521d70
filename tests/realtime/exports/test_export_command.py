"""`python -m realtime.export`: what it applies, writes and refuses."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core_models.errors import Exit
from realtime.export import main
from realtime.review.conversation import Conversation


def test_corrections_and_names_are_applied(told: Conversation) -> None:
    """An utterance has the emotion that a person gave it, and still says what the model judged; names are shown."""
    (corrected,) = [one for one in told.utterances if one.corrected]
    assert corrected.emotion != corrected.judged
    assert set(told.names) == {'Anna "A" <&> K.', "ben"}
    assert [one.start_ms for one in told.utterances] == sorted(one.start_ms for one in told.utterances)


def test_the_program_writes_files_for_their_owner_only(journal: Path, tmp_path: Path) -> None:
    """`--output` makes a file that others cannot read; without it the export goes to standard output."""
    target = tmp_path / "call.csv"
    command = [sys.executable, "-m", "realtime.export", str(journal), "--format", "csv"]
    subprocess.run([*command, "--output", str(target)], check=True)
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o600
    assert subprocess.run(command, check=True, capture_output=True).stdout == target.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["latest", "--journal", "nowhere"], 2, b"no journals"),
        (["{journal}", "--output", "/proc/nowhere/x.html"], 8, b"cannot be written"),
        (["{damaged}"], 8, b"does not begin with session.created"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_sentence(
    journal: Path, tmp_path: Path, arguments: list[str], code: int, said: bytes
) -> None:
    """Missing, damaged and unwritable each end with their exit code and one sentence."""
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))
    filled = [argument.format(journal=journal, damaged=damaged) for argument in arguments]
    done = subprocess.run([sys.executable, "-m", "realtime.export", *filled], capture_output=True, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_all_sessions_are_exported_and_a_bad_one_ends_nothing(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`all` writes a file of each session into a folder of the owner's; what cannot be read is named."""
    bad = journal.with_name(f"{'0' * 26}.jsonl")  # the first in the list
    bad.write_bytes(b"")
    target = tmp_path / "exported"
    command = ["all", "--journal", str(journal.parent), "--format", "webvtt"]
    assert main([*command, "--output", str(target)]) == Exit.DISK
    assert [one.name for one in target.iterdir()] == [f"{journal.stem}.vtt"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert bad.stem in capsys.readouterr().err
    assert main(command) == Exit.USAGE
