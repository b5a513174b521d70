"""Face by an expression network: log-probabilities of the emotions that a face shows, averaged over frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.assets import model_folder, model_folder_of
from core_models.feature_network import FeatureNetworkKind, LoadedNetwork
from core_models.feature_spec import FeatureSpec, combined_digest
from core_models.features.face.alignment import SIDE, crop_face
from core_models.features.face.landmarker import MIRROR, MIRROR_SIGN, SCORES, SETTINGS, Face, FaceFeature
from core_models.networks.expression_network import ExpressionConfig, ExpressionNet
from core_models.torch_threads import torch_threads

VERSION = 1
TASK = "face_landmarker.task"

# Expression networks on disk.
EXPRESSIONS = FeatureNetworkKind(
    noun="expression network",
    tensors="expression.safetensors",
    config=ExpressionConfig,
    network=ExpressionNet,
    width=lambda config: SIDE * SIDE + config.scores,
    made_by="python -m train face",
)


class ExpressionFeature(FaceFeature):
    """A vector of one number for each emotion of the network's label set.

    `task` as for FaceFeature. CheckpointError where the network was trained on other faces than this landmarker's.
    """

    def __init__(self, task: Path, expression: LoadedNetwork[ExpressionNet], *, threads: int = 1) -> None:
        super().__init__(task)
        at_hand = face_pictures_spec(self.spec)
        expression.require(at_hand)
        self._net, self._threads = expression.model, threads
        both = {"faces": at_hand.digest, "expression": expression.digest}
        self.spec = FeatureSpec(
            modality="face",
            name=expression.name,
            version=VERSION,
            dimension=expression.model.config.classes,
            digest=combined_digest(both),
            settings={**at_hand.settings, "mirrored": True, "pooling": "mean"},
        )

    def vector(self, rgb: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """Log-probabilities, float32 [classes]: of the mean of the logits of the face and of its mirror image."""
        picture = crop_face(rgb, face.landmarks)
        pictures = torch.from_numpy(np.stack([picture, picture[:, ::-1]])[:, None]).float()
        scores = torch.from_numpy(np.stack([face.scores, mirror_scores(face.scores)]))
        with torch_threads(self._threads), torch.inference_mode():
            logits = self._net(pictures, scores).mean(dim=0)
            vector: NDArray[np.float32] = logits.log_softmax(dim=0).numpy()
        return vector

    def _pool_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean: stills say nothing of how much an expression changes, so nothing of it could be learned."""
        return np.asarray(frames.mean(axis=0))


def mirror_scores(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores [55] of the same face in a mirror."""
    return np.asarray(scores[list(MIRROR)] * np.array(MIRROR_SIGN), dtype=np.float32)


def face_pictures_spec(landmarker: FeatureSpec) -> FeatureSpec:
    """What an expression network is shown of a face: its picture of SIDE x SIDE grey levels, and its scores."""
    return FeatureSpec(
        modality="face",
        name="face-pictures",
        version=VERSION,
        dimension=SIDE * SIDE + SCORES,
        digest=landmarker.digest,
        settings={**SETTINGS, "side": SIDE},
    )


def open_face(model: str, *, threads: int = 1) -> FaceFeature:
    """The face feature by name: an expression network (under core_models/weights, or a folder) or the landmarker alone.

    Raises WeightsError, CheckpointError.
    """
    if EXPRESSIONS.folder(model) is not None:
        return ExpressionFeature(model_folder("face-landmarker") / TASK, EXPRESSIONS.find(model), threads=threads)
    return FaceFeature(model_folder_of(model) / TASK)
