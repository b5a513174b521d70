"""Models that are loaded once and serve every session of the process."""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Sequence

# See realtime/listen.py; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.features.text.sentence_encoder import PastTurn
from realtime.perception.face_track import FaceTrack
from realtime.perception.transcriber import Transcript
from realtime.perception.utterance_features import FeatureExtractor, Perception
from realtime.pipeline.models import LoadedModels, load_models
from realtime.segmentation.segments import Utterance

_loading = threading.Lock()
# One for the process and not one for each set of models, which may hold the same weights under it.
_extracting = threading.RLock()


def load_shared_models(checkpoint: str, device: str = "auto", threads: int = 2) -> LoadedModels:
    """`load_models`, once for each checkpoint, device and number of threads; from any thread."""
    with _loading:
        return _load(checkpoint, device, threads)


# Two, so that a comparison of checkpoints need not load again and a sweep over many does not fill the memory.
@functools.lru_cache(maxsize=2)
def _load(checkpoint: str, device: str, threads: int) -> LoadedModels:
    models = load_models(checkpoint, device=device, threads=threads)
    torch.set_num_threads(1)  # a step of the dialogue model is too short to be shared among threads
    return models


# The face landmarker complains when it is taken down after the modules that it needs.
atexit.register(_load.cache_clear)


class SharedExtractor(FeatureExtractor):
    """A session's extractor over models that other sessions use at the same time: one of them at a time.

    Tokenizers refuse to be asked by two threads at once, and more at a time would not be faster on one machine.
    """

    def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
        with _extracting:
            return super().transcribe(samples)

    def extract_features(
        self, utterance: Utterance, transcript: Transcript, faces: FaceTrack | None, past: Sequence[PastTurn] = ()
    ) -> Perception:
        with _extracting:
            return super().extract_features(utterance, transcript, faces, past)

    def interim_features(
        self,
        utterance: Utterance,
        agreed: tuple[int, ...],
        faces: FaceTrack | None,
        past: Sequence[PastTurn] = (),
        *,
        words: bool,
    ) -> tuple[Perception, tuple[int, ...]]:
        with _extracting:
            return super().interim_features(utterance, agreed, faces, past, words=words)


def build_shared_extractor(models: LoadedModels, language: str) -> SharedExtractor:
    """The extractor of one more session."""
    return SharedExtractor(models.transcriber(language), models.voice, models.text, models.face)
