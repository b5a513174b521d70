"""`python -m realtime.doctor`: one screen that says what there is, how fast it is and what to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core_models.errors import Exit
from realtime.doctor import Timing, recommend_command

FAST, SLOW = [Timing("whisper", 300.0), Timing("step", 40.0)], [Timing("whisper", 900.0), Timing("step", 40.0)]
FACE = Timing("face", 20.0)


def recommendation(timings: dict[str, list[Timing]], face: Timing) -> str:
    return recommend_command(timings, face, microphone=True)


def test_the_largest_model_that_keeps_up_is_recommended() -> None:
    """A fast machine gets the larger model, a slower one the smaller, a slow one a warning with it."""
    assert "--checkpoint default`" in recommendation({"default": FAST, "default-small": FAST}, FACE)
    assert "--checkpoint default-small`" in recommendation({"default": SLOW, "default-small": FAST}, FACE)
    assert "slow" in recommendation({"default": SLOW, "default-small": SLOW}, FACE)


def test_what_is_missing_is_named() -> None:
    """Without weights the sentence says how to get them; slow faces are named with the option that helps."""
    none = [Timing("whisper", None, "There is no model.")]
    assert "assets fetch" in recommendation({"default": none}, FACE)
    assert "--checkpoint default-small`" in recommendation({"default": none, "default-small": FAST}, FACE)
    assert "--video-fps" in recommendation({"default": FAST}, Timing("face", 90.0))


def test_what_cannot_begin_is_not_recommended() -> None:
    """Without a microphone the sentence names the sources that are left."""
    said = recommend_command({"default": FAST}, FACE, microphone=False)
    assert "There is no microphone" in said
    assert all(f"--checkpoint default {rest}" in said for rest in ("--file RECORDING", "--source browser"))
    assert "--checkpoint default`" not in said


@pytest.mark.weights
def test_the_screen_is_printed_whatever_this_machine_has() -> None:
    """It names models, their speed and what to run, on 50 lines at most; its code says whether a live run can begin."""
    ran = subprocess.run([sys.executable, "-m", "realtime.doctor"], capture_output=True, text=True, check=False)
    assert ran.returncode == (Exit.NO_MICROPHONE if "There is no microphone" in ran.stdout else Exit.OK), ran.stderr
    assert "whisper-base, 5 s of speech" in ran.stdout
    assert "python -m realtime.listen --checkpoint" in ran.stdout
    assert "The stages wait 400 ms after the last word; the work took" in ran.stdout
    assert len(ran.stdout.splitlines()) <= 50


def test_without_weights_it_ends_with_their_code(tmp_path: Path) -> None:
    """An empty home is told with the command that fills it, and exit code 5."""
    environment = os.environ | {"EMOTION_TRACKER_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "realtime.doctor"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == Exit.WEIGHTS, ran.stderr
    assert "core_models.assets fetch" in ran.stdout
