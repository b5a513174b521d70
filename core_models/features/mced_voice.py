"""Voice by an MCED student: what it makes of the encoder states that the transcript has already paid for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.checkpoint import WEIGHTS
from core_models.errors import CheckpointError
from core_models.features.spec import FeatureSpec, tensors_digest
from core_models.features.whisper import CONTEXT_MIN, MARGIN, Encoded, Whisper
from core_models.mced_checkpoint import TENSORS, LoadedStudent, load_student

VERSION = 1


class MCEDVoice:
    """The student's utterance representation, the maximum over time of its last layer: float32 [width].

    `student` was trained on the frames of `whisper`; CheckpointError names both where it was not. The spec's digest
    is over the tensors of the two.
    """

    spec: FeatureSpec

    def __init__(self, whisper: Whisper, student: LoadedStudent, *, threads: int = 1) -> None:
        trained, at_hand = student.sidecar.frames, frames_spec(whisper)
        if trained != at_hand:
            raise CheckpointError(
                f"Student {student.name} was trained on [{trained.describe()}], but the frames at hand are "
                f"[{at_hand.describe()}]; choose the recogniser it was trained on, or another student."
            )
        self._model = student.model
        self._threads = threads
        both = {"whisper": whisper.digest, "student": student.digest}
        self.spec = FeatureSpec(
            modality="voice",
            name=f"mced-{student.name}",
            version=VERSION,
            dimension=student.model.config.width,
            digest=tensors_digest((n, np.frombuffer(bytes.fromhex(d), np.uint8)) for n, d in both.items()),
            settings={**at_hand.settings, "student": student.name, "pooling": "max"},
        )

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension]."""
        # See TextFeature: one thread is the safe default, and the setting belongs to the calling thread.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            frames = torch.from_numpy(np.array(encoded.frames, dtype=np.float32))[None]
            output = self._model(frames, torch.tensor([frames.shape[1]]))
        vector: NDArray[np.float32] = output.utterance[0].numpy()
        return vector


def frames_spec(whisper: Whisper) -> FeatureSpec:
    """What `Encoded.frames` of this Whisper are: 50 a second, those of the utterance alone."""
    return FeatureSpec(
        modality="voice",
        name=f"{whisper.name}-frames",
        version=VERSION,
        dimension=whisper.dimension,
        digest=whisper.digest,
        settings={"whisper": whisper.name, "context_min": CONTEXT_MIN, "margin": MARGIN, "crop": True},
    )


def find_student(name_or_path: str | Path) -> LoadedStudent:
    """The student of that name under core_models/weights, or in that folder. Raises CheckpointError."""
    for folder in (WEIGHTS / name_or_path, Path(name_or_path)):
        if is_student(folder):
            return load_student(folder)
    raise CheckpointError(
        f"There is no MCED student {str(name_or_path)!r}: put its folder under {WEIGHTS}, or use another checkpoint."
    )


def is_student(folder: Path) -> bool:
    """Whether `folder` is one that `save_student` wrote."""
    return (folder / TENSORS).is_file()
