"""The samples of an utterance, and the digest that they are known by in the feature store."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from core_models.errors import MediaError
from train.corpora.dialogues import Utterance
from train.media.content_digest import digest_of_file
from train.media.decoding import samples_of

SAMPLE_RATE = 16_000


# As much as Whisper and CAM++ read without filling up with silence (SHORTEST_SECONDS of both).
SHORTEST_S = 0.1


def sound_key(utterance: Utterance) -> str | None:
    """Digest of the utterance's sound; None where it has none. Raises MediaError for a file that cannot be read."""
    if utterance.audio is None:
        return None
    try:
        start, end = utterance.audio_span or (None, None)
        return digest_of_file("voice", utterance.audio, f"{start}-{end}")
    except OSError:
        raise MediaError(f"{utterance.audio} cannot be read: expected a sound file.") from None


def read_sound(utterance: Utterance) -> NDArray[np.float32]:
    """The utterance's samples, mono float32 [n] at 16 kHz. Raises MediaError for a file that is none or too short."""
    assert utterance.audio is not None
    samples, rate = samples_of(utterance.audio, utterance.audio_span)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    if len(samples) < SHORTEST_S * SAMPLE_RATE or not np.isfinite(samples).all():
        raise MediaError(f"{utterance.audio} holds no usable sound: expected {SHORTEST_S} s or more.")
    return np.ascontiguousarray(samples, dtype=np.float32)
