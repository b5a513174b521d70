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

    `frames` is what the student will hear; CheckpointError names both where it was trained on others. The spec's
    digest is over the tensors of the student and of the network behind its frames.
    """

    spec: FeatureSpec

    def __init__(self, student: LoadedStudent, frames: FeatureSpec, *, threads: int = 1) -> None:
        trained = student.sidecar.frames
        if trained != frames:
            raise CheckpointError(
                f"Student {student.name} was trained on [{trained.describe()}], but the frames at hand are "
                f"[{frames.describe()}]; choose what it was trained on, or another student."
            )
        self._model = student.model
        self._threads = threads
        both = {"frames": frames.digest, "student": student.digest}
        self.spec = FeatureSpec(
            modality="voice",
            name=f"mced-{student.name}",
            version=VERSION,
            dimension=student.model.config.width,
            digest=tensors_digest((name, np.frombuffer(bytes.fromhex(d), np.uint8)) for name, d in both.items()),
            settings={**frames.settings, "frames": frames.name, "student": student.name, "pooling": "max"},
        )

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension], from the pass that its words come from."""
        return self.of_frames(encoded.frames)

    def of_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector of an utterance whose frames are float32 [T, inputs]."""
        # See TextFeature: one thread is the safe default, and the setting belongs to the calling thread.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            clip = torch.from_numpy(np.array(frames, dtype=np.float32))[None]
            vector: NDArray[np.float32] = self._model(clip, torch.tensor([len(frames)])).utterance[0].numpy()
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


def student_folder(name_or_path: str | Path) -> Path | None:
    """The folder of the student of that name under core_models/weights, or the one given; None where it holds none."""
    for folder in (WEIGHTS / name_or_path, Path(name_or_path)):
        if (folder / TENSORS).is_file():
            return folder
    return None


def find_student(name_or_path: str | Path) -> LoadedStudent:
    """The student of that name under core_models/weights, or in that folder. Raises CheckpointError."""
    folder = student_folder(name_or_path)
    if folder is None:
        raise CheckpointError(
            f"There is no MCED student {str(name_or_path)!r}: put its folder under {WEIGHTS}, or choose another."
        )
    return load_student(folder)
