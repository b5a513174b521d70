"""Voice feature: utterance embedding of an MCED student over the encoder states of the transcript."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.feature_network import FeatureNetworkKind, LoadedNetwork
from core_models.feature_spec import FeatureSpec, combined_digest
from core_models.features.audio.whisper import CONTEXT_MIN, MARGIN, Encoded, Whisper
from core_models.networks.mced_student import Student, StudentConfig
from core_models.torch_threads import torch_threads

VERSION = 1

# MCED students on disk.
STUDENTS = FeatureNetworkKind(
    noun="MCED student",
    tensors="student.safetensors",
    config=StudentConfig,
    network=Student,
    width=lambda config: config.inputs,
    made_by="python -m train mced",
    whole=("mean", "deviation"),  # of the frames: descriptors of openSMILE run into the millions, beyond float16
)


class MCEDVoice:
    """The student's utterance representation, the maximum over time of its last layer: float32 [width].

    `frames` is what the student will hear; CheckpointError names both where it was trained on others. The spec's
    digest is over the tensors of the student and of the network behind its frames.
    """

    spec: FeatureSpec

    def __init__(self, student: LoadedNetwork[Student], frames: FeatureSpec, *, threads: int = 1) -> None:
        student.require(frames)
        self._model = student.model
        self._threads = threads
        both = {"frames": frames.digest, "student": student.digest}
        self.spec = FeatureSpec(
            modality="voice",
            name=f"mced-{student.name}",
            version=VERSION,
            dimension=student.model.config.width,
            digest=combined_digest(both),
            settings={**frames.settings, "frames": frames.name, "student": student.name, "pooling": "max"},
        )

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension], from the pass that its words come from."""
        return self.of_frames(encoded.frames)

    def of_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector of an utterance whose frames are float32 [T, inputs]."""
        with torch_threads(self._threads), torch.inference_mode():
            clip = torch.from_numpy(np.array(frames, dtype=np.float32))[None]
            vector: NDArray[np.float32] = self._model(clip, torch.tensor([len(frames)])).utterance[0].numpy()
        return vector


def encoder_frames_spec(whisper: Whisper) -> FeatureSpec:
    """What `Encoded.frames` of this Whisper are: 50 a second, those of the utterance alone."""
    return FeatureSpec(
        modality="voice",
        name=f"{whisper.name}-frames",
        version=VERSION,
        dimension=whisper.dimension,
        digest=whisper.digest,
        settings={"whisper": whisper.name, "context_min": CONTEXT_MIN, "margin": MARGIN, "crop": True},
    )
