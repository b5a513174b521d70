"""Shifts with hysteresis, and how far modalities disagree."""

from __future__ import annotations

import pytest

from realtime.dialogue.disagreement import disagreement
from realtime.dialogue.emotion_shift import ShiftDetector


def says(emotion: str, lead: float = 0.6) -> dict[str, float]:
    """A distribution over three labels in which `emotion` leads the others by `lead`."""
    rest = (1 - lead) / 3
    return {label: rest + (lead if label == emotion else 0) for label in ("neutral", "joy", "anger")}


def test_a_clear_utterance_is_a_shift() -> None:
    """One utterance that leads by far carries the shift alone."""
    shifts = ShiftDetector()
    assert shifts.update("anna", "u1", says("neutral")) is None
    shift = shifts.update("anna", "u2", says("anger"))
    assert shift is not None
    assert (shift.from_, shift.to, shift.evidence) == ("neutral", "anger", ("u2",))


def test_a_doubtful_utterance_needs_a_second() -> None:
    """Two in a row that agree are a shift, and both are its evidence."""
    shifts = ShiftDetector()
    shifts.update("anna", "u1", says("neutral"))
    assert shifts.update("anna", "u2", says("joy", 0.1)) is None
    shift = shifts.update("anna", "u3", says("joy", 0.1))
    assert shift is not None
    assert shift.evidence == ("u2", "u3")


def test_flicker_is_no_shift() -> None:
    """An emotion that comes and goes between doubtful labels never shifts."""
    shifts = ShiftDetector()
    told = [shifts.update("anna", f"u{n}", says(e, 0.1)) for n, e in enumerate(["neutral", "joy", "neutral"] * 5)]
    told += [shifts.update("anna", f"v{n}", says(e, 0.1)) for n, e in enumerate(["joy", "anger"] * 5)]
    assert told == [None] * 25


def test_speakers_are_apart() -> None:
    """What one speaker feels is no evidence for another."""
    shifts = ShiftDetector()
    shifts.update("anna", "u1", says("neutral"))
    assert shifts.update("ben", "u2", says("anger")) is None
    assert shifts.update("anna", "u3", says("neutral")) is None


def test_disagreement_goes_from_one_mind_to_none_in_common() -> None:
    """0 where all say the same, 1 where they have nothing in common, nothing with one opinion alone."""
    assert disagreement([says("joy"), says("joy")]) == pytest.approx(0)
    assert disagreement([says("joy", 1.0), says("anger", 1.0)]) == pytest.approx(1)
    assert disagreement([says("joy", 1.0), says("anger", 1.0), says("neutral", 1.0)]) == pytest.approx(1)
    assert disagreement([says("joy")]) is None
    apart = disagreement([says("neutral"), says("anger")])
    assert apart is not None
    assert 0.2 < apart < 0.6
