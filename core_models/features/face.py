"""Face: 52 blendshapes and the head's pose, by MediaPipe's face landmarker, pooled over an utterance's frames."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import WeightsError
from core_models.features.spec import FeatureSpec, tensors_digest

VERSION = 1
BLENDSHAPES = 52
LANDMARKS = BLENDSHAPES + 3
"""What `landmark` gives of a frame: blendshape scores in [0, 1], then yaw, pitch and roll in radians."""

CONFIDENCE = 0.5
"""Least confidence of detection and presence (MediaPipe's own default)."""
LARGEST_SIDE = 640
"""Larger frames are reduced to this before detection: the landmarker looks at 192 x 192 anyway."""


class FaceFeature:
    """One face's expression. Stateless per frame, so that stills in training and frames in a call agree.

    `task` is MediaPipe's face_landmarker.task. Raises WeightsError when it is missing or unusable. Not
    thread-safe: one thread may call `landmark`; `pool` may be called from any.
    """

    spec: FeatureSpec

    def __init__(self, task: Path) -> None:
        digest = _digest(task)
        with _quiet():
            self._landmarker = _landmarker(task)
            self.landmark(np.zeros((LARGEST_SIDE, LARGEST_SIDE, 3), np.uint8))
        self.spec = FeatureSpec(
            modality="face",
            name="face-landmarker",
            version=VERSION,
            dimension=2 * LANDMARKS,
            digest=digest,
            settings={
                "confidence": CONFIDENCE,
                "largest_side": LARGEST_SIDE,
                "mode": "image",
                "pooling": "mean+deviation",
            },
        )

    def landmark(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """float32 [55] of the most prominent face in `rgb` (uint8 [height, width, 3]), None without a face."""
        import mediapipe

        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(_reduced(rgb)))
        found = self._landmarker.detect(image)
        if not found.face_blendshapes:
            return None
        scores = [category.score for category in found.face_blendshapes[0]]
        return np.array([*scores, *_pose(found.facial_transformation_matrixes[0])], dtype=np.float32)

    def pool(
        self, frames: Sequence[NDArray[np.float32] | None]
    ) -> tuple[NDArray[np.float32] | None, float]:
        """(float32 [110] or None, share): mean and standard deviation over the frames with a face, and how many.

        The deviation of a single frame is 0, as that of a face that does not move. `share` is that of the
        frames in which a face was seen, in [0, 1].
        """
        seen = [frame for frame in frames if frame is not None]
        if not seen:
            return None, 0.0
        stacked = np.stack(seen)
        pooled = np.concatenate([stacked.mean(axis=0), stacked.std(axis=0)]).astype(np.float32)
        return pooled, len(seen) / len(frames)


def _reduced(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    height, width = rgb.shape[:2]
    scale = LARGEST_SIDE / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _pose(matrix: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a 4 x 4 head-to-camera matrix: rotations about y, x and z, applied z first."""
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    yaw = float(np.arctan2(rotation[0, 2], rotation[2, 2]))
    pitch = float(np.arcsin(np.clip(-rotation[1, 2], -1.0, 1.0)))
    roll = float(np.arctan2(rotation[1, 0], rotation[1, 1]))
    return yaw, pitch, roll


def _digest(task: Path) -> str:
    """Over the networks inside the bundle: the zip around them may differ between two equal bundles."""
    try:
        with zipfile.ZipFile(task) as bundle:
            return tensors_digest(
                (name, np.frombuffer(bundle.read(name), dtype=np.uint8)) for name in bundle.namelist()
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{task} is no face landmarker that can be read ({error}): run `make weights`."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Native code writes start-up chatter to descriptor 2 that no setting silences; errors are raised anyway."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _landmarker(task: Path) -> Any:
    try:
        from mediapipe.tasks.python import BaseOptions, vision

        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=task.read_bytes()),
                running_mode=vision.RunningMode.IMAGE,
                num_faces=1,
                min_face_detection_confidence=CONFIDENCE,
                min_face_presence_confidence=CONFIDENCE,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
        )
    except (OSError, ImportError) as error:
        raise WeightsError(
            f"The face landmarker cannot start ({error}): on Debian or Ubuntu install what it needs with "
            "`apt-get install libegl1 libgles2 libgl1 libglib2.0-0`."
        ) from None
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{task} is no face landmarker ({error}): run `make weights`.") from None
