"""openSMILE's low-level descriptors, the frames of papers that came before learnt ones (never live).

The 65 of ComParE (Schuller et al., The INTERSPEECH 2016 Computational Paralinguistics Challenge) and their deltas:
130 numbers, 100 times a second. openSMILE's licence allows research and private use alone, so it is an extra.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.feature_spec import FeatureSpec, tensors_digest

VERSION = 1
SAMPLE_RATE = 16_000
# MCED names 130 descriptors: openSMILE's 65 and the deltas of each.
DESCRIPTORS = 130
LEVELS = ("LowLevelDescriptors", "LowLevelDescriptors_Deltas")


class Descriptors:
    """Samples to descriptors. Raises UsageError where openSMILE is not installed."""

    rate = 100
    """Frames a second."""
    spec: FeatureSpec

    def __init__(self) -> None:
        try:
            import opensmile
        except ImportError:
            raise UsageError(
                "Low-level descriptors need openSMILE, which is not installed: if its non-commercial licence suits "
                "you, `pip install '.[opensmile]'`; or train on frames: whisper-base."
            ) from None
        chosen = opensmile.FeatureSet.ComParE_2016
        self._levels: list[Any] = [
            opensmile.Smile(feature_set=chosen, feature_level=opensmile.FeatureLevel[level]) for level in LEVELS
        ]
        self.spec = FeatureSpec(
            modality="voice",
            name="opensmile-descriptors",
            version=VERSION,
            dimension=DESCRIPTORS,
            digest=tensors_digest(()),  # no network stands behind them
            settings={"set": "ComParE_2016", "levels": "+".join(LEVELS), "opensmile": opensmile.__version__},
        )

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [T, 130] of mono samples at 16 kHz: the 65, then their deltas; numbers that are none are 0."""
        tables = [level.process_signal(samples, SAMPLE_RATE).to_numpy(np.float32) for level in self._levels]
        count = min(len(table) for table in tables)
        joined = np.concatenate([table[:count] for table in tables], axis=1)
        frames: NDArray[np.float32] = np.nan_to_num(joined, nan=0.0, posinf=0.0, neginf=0.0)
        return frames
