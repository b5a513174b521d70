"""Sequences of frames from sound, by name: Whisper, HuBERT, openSMILE's descriptors, filter banks."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core_models.assets import model_folder_of
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.filter_banks import Spectrogram
from core_models.features.audio.hubert import Hubert, is_hubert
from core_models.features.audio.opensmile_descriptors import Descriptors
from core_models.features.audio.whisper import Whisper
from core_models.features.voice.mced_embedding import encoder_frames_spec

# Name of openSMILE's low-level descriptors among the frames.
DESCRIPTORS = "descriptors"


# Name of log mel filter banks among the frames.
SPECTROGRAM = "spectrogram"


class Frames(Protocol):
    """Samples (mono float32 [n] at 16 kHz) to frames."""

    spec: FeatureSpec
    rate: int
    """Frames a second."""

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [T, dimension]. Raises UsageError for a clip that is too long."""


class WhisperFrames:
    """Encoder states as the live run has them (`Encoded.frames`)."""

    rate = 50

    def __init__(self, folder: Path, threads: int) -> None:
        self._whisper = Whisper(folder, threads=threads)
        self.spec = encoder_frames_spec(self._whisper)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._whisper.encode_windowed(samples).frames


def open_frames(name: str, threads: int) -> Frames:
    """`descriptors`, `spectrogram`, a Whisper's name in configs/models.yaml, or a folder of Whisper or HuBERT.

    Raises UsageError, WeightsError.
    """
    if name == DESCRIPTORS:
        return Descriptors()
    if name == SPECTROGRAM:
        return Spectrogram()
    if is_hubert(Path(name)):
        return Hubert(Path(name), threads=threads)
    return WhisperFrames(model_folder_of(name), threads)
