"""An utterance on its way through the pipeline, with what is known of it so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from realtime.perception.face_track import FaceTrack
from realtime.perception.transcriber import Transcript
from realtime.segmentation.segments import Utterance


@dataclass
class WorkItem:
    """An utterance on its way, and what is known of it so far.

    Times are seconds of the monotonic clock (`time.perf_counter`): `decided_at` its endpoint or pause was decided,
    `transcription_began` and `transcribed_at` bound its transcription and are 0 before.
    """

    utterance_id: str
    utterance: Utterance
    speaker: str
    faces: FaceTrack | None
    decided_at: float = field(default_factory=time.perf_counter)
    transcription_began: float = 0.0
    transcribed_at: float = 0.0
    transcript: Transcript | None = None
    failure: str | None = None

    def has_same_sound(self, other: WorkItem) -> bool:
        """Whether both hold the same samples."""
        mine, others = self.utterance, other.utterance
        return mine.samples_start == others.samples_start and len(mine.samples) == len(others.samples)
