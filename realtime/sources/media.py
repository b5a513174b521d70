"""What sources deliver: sound and pictures, timed on the media clock (realtime/sources/source.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Hz; every source resamples to it with soxr.
SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of mono samples of any length.

    `start` counts samples at 16 kHz from the start of the session on the media clock; `samples` is
    float32 in [-1, 1], shape [n]. Chunks of one source never overlap; a jump of `start` is a gap
    (what was lost is treated as silence).
    """

    source: str
    start: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture: `rgb` is uint8, shape [height, width, 3]; `at_ms` is media time."""

    source: str
    at_ms: int
    rgb: NDArray[np.uint8]
