"""The voice feature is the statistics of an utterance's own frames, and its spec says which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core_models.features.audio.whisper import CONTEXT_MIN, MARGIN, Whisper
from core_models.features.voice.statistics_pooling import VoiceFeature

pytestmark = pytest.mark.weights


def test_the_vector_is_mean_and_deviation_over_time(whisper_tiny: Whisper, librivox) -> None:
    """The first half is the mean over the frames, the second their deviation, in float32."""
    voice, encoded = VoiceFeature(whisper_tiny), whisper_tiny.encode(librivox[0][1])
    vector = voice(encoded)
    assert vector.shape == (voice.spec.dimension,)
    assert vector.dtype == np.float32
    assert vector[: whisper_tiny.dimension] == pytest.approx(encoded.frames.mean(axis=0), abs=1e-5)
    assert vector[whisper_tiny.dimension :] == pytest.approx(encoded.frames.std(axis=0), abs=1e-5)


def test_what_the_decoder_sees_does_not_reach_the_voice(whisper_tiny: Whisper, librivox) -> None:
    """The states behind the utterance are for the decoder alone: without them the vector is the same."""
    voice, encoded = VoiceFeature(whisper_tiny), whisper_tiny.encode(librivox[1][1])
    assert np.array_equal(voice(encoded), voice(replace(encoded, states=None)))


def test_the_spec_names_everything_that_changes_the_numbers(whisper_tiny: Whisper) -> None:
    """Model, context, margin, crop and pooling are settings, and the digest is the encoder's."""
    spec = VoiceFeature(whisper_tiny).spec
    assert spec.digest == whisper_tiny.digest
    assert spec.settings == {
        "whisper": "whisper-tiny.en",
        "context_min": CONTEXT_MIN,
        "margin": MARGIN,
        "crop": True,
        "pooling": "mean+deviation",
    }
