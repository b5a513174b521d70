"""Every program of realtime/examples runs on a recording, as README tells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = sorted((ROOT / "realtime" / "examples").glob("*.py"))
CLIP = ROOT / "tests" / "data" / "librivox" / "sense_and_sensibility_01_0870.flac"


@pytest.mark.weights
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_says_what_was_said(program: Path, tmp_path: Path) -> None:
    """It ends by itself and prints the words of the recording, from a folder that is none of the project's."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), str(CLIP)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "leisure" in done.stdout
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_there_are_examples() -> None:
    """Three: one file, one's own frames, an event loop."""
    assert len(PROGRAMS) == 3
