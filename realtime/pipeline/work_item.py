"""An utterance on its way through the pipeline, with what is known of it so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from realtime.perception.face_track import FaceTrack
from realtime.perception.transcriber import Transcript
from realtime.segmentation.segments import Utterance


@dataclass
class WorkItem:
    """An utterance on its way, and what is known of it so far.

    Times are seconds of the monotonic clock: `at` its endpoint (or pause) was decided, `begun` and `heard`
    bound its transcription, 0 before. `unknown`: `speaker` is a guess, until its `vector` has been compared.
    """

    utterance_id: str
    utterance: Utterance
    speaker: str
    faces: FaceTrack | None
    unknown: bool = False
    at: float = field(default_factory=time.perf_counter)
    begun: float = 0.0
    heard: float = 0.0
    transcript: Transcript | None = None
    vector: NDArray[np.float32] | None = None
    failure: str | None = None

    def same_sound(self, other: WorkItem) -> bool:
        """Whether both are the same samples."""
        mine, others = self.utterance, other.utterance
        return mine.samples_start == others.samples_start and len(mine.samples) == len(others.samples)
