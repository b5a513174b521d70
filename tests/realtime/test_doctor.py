"""`python -m realtime.doctor`: one screen that says what there is, how fast it is and what to run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from realtime.doctor import Timing, recommendation

FAST, SLOW = [Timing("whisper", 300.0), Timing("step", 40.0)], [Timing("whisper", 900.0), Timing("step", 40.0)]
FACE = Timing("face", 20.0)


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


@pytest.mark.weights
def test_the_screen_is_printed_whatever_this_machine_has() -> None:
    """It ends with 0 and names models, their speed and what to run, on a screen of 50 lines at most."""
    ran = subprocess.run([sys.executable, "-m", "realtime.doctor"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "whisper-base, 5 s of speech" in ran.stdout
    assert "python -m realtime.listen --checkpoint" in ran.stdout
    assert len(ran.stdout.splitlines()) <= 50
