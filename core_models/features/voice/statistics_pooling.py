"""Voice: how an utterance sounds, from the encoder states that the transcript has already paid for."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core_models.feature_spec import FeatureSpec
from core_models.features.audio.whisper import CONTEXT_MIN, MARGIN, Encoded, Whisper

VERSION = 1


class Voice(Protocol):
    """How an utterance sounds, as one vector."""

    spec: FeatureSpec

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension]."""


class VoiceFeature:
    """Mean and standard deviation over time of Whisper's encoder states: float32 [2 * d].

    Only frames of the utterance itself count, not those of the silence that the encoder saw behind it; how
    much silence that was changes the states all the same, so it is part of the spec.
    """

    spec: FeatureSpec

    def __init__(self, whisper: Whisper) -> None:
        self.spec = FeatureSpec(
            modality="voice",
            name=f"{whisper.name}-statistics",
            version=VERSION,
            dimension=2 * whisper.dimension,
            digest=whisper.digest,
            settings={
                "whisper": whisper.name,
                "context_min": CONTEXT_MIN,
                "margin": MARGIN,
                "crop": True,
                "pooling": "mean+deviation",
            },
        )

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension]."""
        frames = encoded.frames
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0)]).astype(np.float32)
