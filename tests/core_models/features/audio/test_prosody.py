"""Prosody is loudness, pitch and spectrum in step with Whisper's frames."""

from __future__ import annotations

import numpy as np
import pytest

from core_models.features.audio.filter_banks import BANKS
from core_models.features.audio.prosody import DIMENSION, SAMPLE_RATE, prosody_frames

LOUDNESS, PITCH, AROUND, PERIODICITY = range(BANKS, DIMENSION)


def tone(hertz: float, seconds: float = 1.0, peak: float = 0.1) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (peak * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 8))).astype(np.float32)


@pytest.mark.parametrize("hertz", [75.0, 120.0, 233.1, 440.0])
def test_pitch_is_that_of_the_voice(hertz: float) -> None:
    """A voiced sound's pitch is found to a hundredth of an octave, from a deep man's to a child's."""
    found = prosody_frames(tone(hertz), 50)[10:40]
    assert found[:, PITCH] == pytest.approx(np.log2(hertz / 150), abs=0.01)
    assert found[:, PERIODICITY].min() > 0.9


def test_pitch_beside_its_median_does_not_know_the_speaker() -> None:
    """A fifth up in the middle of an utterance is the same number for a deep and for a high voice."""
    rises = [
        prosody_frames(np.concatenate([tone(hz, 0.7), tone(1.5 * hz, 0.3)]), 50)[40:45, AROUND] for hz in (100, 220)
    ]
    assert rises[0] == pytest.approx(rises[1], abs=0.02)
    assert rises[0] == pytest.approx(np.log2(1.5), abs=0.02)


def test_noise_has_no_pitch() -> None:
    """Where nothing is periodic both numbers of pitch are 0."""
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    assert not prosody_frames(noise, 50)[:, [PITCH, AROUND]].any()


def test_loudness_is_in_tens_of_decibels() -> None:
    """Twenty decibels more are 2 more."""
    quiet, loud = (prosody_frames(tone(150, peak=peak), 50)[20:30, LOUDNESS] for peak in (0.01, 0.1))
    assert loud - quiet == pytest.approx(2.0, abs=0.01)


def test_what_lies_under_the_speech_is_cut_off() -> None:
    """Sixty decibels below the loudest there is a floor: a quiet room and digital silence are the same."""
    silent = np.concatenate([tone(150, 0.5), np.zeros(8000, np.float32)])
    room = silent + np.random.default_rng(0).normal(0, 2e-6, 16_000).astype(np.float32)
    here, there = prosody_frames(silent, 50)[30:], prosody_frames(room, 50)[30:]
    assert here[:, :PITCH] == pytest.approx(there[:, :PITCH], abs=0.01)


@pytest.mark.parametrize("count", [1, 2, 49, 52])
def test_there_are_as_many_frames_as_were_asked_for(count: int) -> None:
    """Whisper's count decides, a frame more or less than the samples have; silence is finite too."""
    for samples in (tone(150), np.zeros(SAMPLE_RATE, np.float32), np.zeros(0, np.float32)):
        found = prosody_frames(samples, count)
        assert found.shape == (count, DIMENSION)
        assert np.isfinite(found).all()
