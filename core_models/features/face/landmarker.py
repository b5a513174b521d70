"""Faces in a picture, by MediaPipe's face landmarker: mesh, 52 blendshapes and the head's pose; pooled over frames."""

from __future__ import annotations

import os
import threading
import weakref
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import WeightsError
from core_models.feature_spec import FeatureSpec, tensors_digest

VERSION = 1
BLENDSHAPES = 52
# Numbers of a face: blendshape scores in [0, 1], then yaw, pitch and roll in radians.
SCORES = BLENDSHAPES + 3
# Which of them says how far the mouth is open.
JAW_OPEN = 25

# Blendshapes of the left and of the right.
_PAIRS = (
    *((1, 2), (4, 5), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 18), (19, 20), (21, 22), (24, 26), (28, 29)),
    *((30, 31), (33, 39), (34, 35), (36, 37), (44, 45), (46, 47), (48, 49), (50, 51)),
)
_OTHER_SIDE = {left: right for pair in _PAIRS for left, right in (pair, pair[::-1])}
MIRROR = tuple(_OTHER_SIDE.get(number, number) for number in range(SCORES))
# A mirrored face has scores[MIRROR] * MIRROR_SIGN: left and right change places, yaw and roll their sign.
MIRROR_SIGN = (1.0,) * BLENDSHAPES + (-1.0, 1.0, -1.0)

# Least confidence of detection and presence (MediaPipe's own default).
CONFIDENCE = 0.5
# Larger frames are reduced to this before detection: the landmarker looks at 192 x 192 anyway.
LARGEST_SIDE = 640
# At most so many faces are looked at in one picture.
FACES = 3
# What of the landmarker is part of a spec.
SETTINGS: dict[str, str | int | float | bool] = {
    "confidence": CONFIDENCE,
    "largest_side": LARGEST_SIDE,
    "mode": "image",
}


@dataclass(frozen=True)
class Face:
    """One face in a picture."""

    landmarks: NDArray[np.float32]
    """[478, 2]: the mesh in pixels of the picture, to the right and down."""
    scores: NDArray[np.float32]
    """[55]: see SCORES."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the mesh, in pixels."""
        (left, top), (right, bottom) = self.landmarks.min(axis=0), self.landmarks.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def moved(self, right: float, down: float) -> Face:
        """The same face where the picture is seen through another frame."""
        return replace(self, landmarks=self.landmarks + np.array([right, down], np.float32))


class FaceFeature:
    """Expression as blendshapes and pose. Stateless per frame, so that stills in training and frames in a call agree.

    `task` is MediaPipe's face_landmarker.task. Raises WeightsError when it is missing or unusable. May be
    shared by the cameras of several sessions: their pictures are looked at one after another.
    """

    spec: FeatureSpec

    def __init__(self, task: Path) -> None:
        digest = _digest_task(task)
        self._looking = threading.Lock()  # MediaPipe's task takes one picture at a time
        with _silence_native_log():
            self._landmarker = _open_landmarker(task)
            # Its own `__del__` waits for ever where the collector of cycles finds it, for its thread has ended by then.
            weakref.finalize(self, self._landmarker.close).atexit = False
            self.faces(np.zeros((LARGEST_SIDE, LARGEST_SIDE, 3), np.uint8))
        self.spec = FeatureSpec(
            modality="face",
            name="face-landmarker",
            version=VERSION,
            dimension=2 * SCORES,
            digest=digest,
            settings={**SETTINGS, "pooling": "mean+deviation"},
        )

    def faces(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """The faces in `rgb` (uint8 [height, width, 3]), at most FACES, the largest first."""
        import mediapipe

        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(_reduce_picture(rgb)))
        with self._looking:
            seen = self._landmarker.detect(image)
        size = np.array([rgb.shape[1], rgb.shape[0]], np.float32)
        found = [
            Face(
                np.array([(point.x, point.y) for point in mesh], np.float32) * size,
                np.array([*(category.score for category in blendshapes), *_head_pose(matrix)], np.float32),
            )
            for mesh, blendshapes, matrix in zip(
                seen.face_landmarks, seen.face_blendshapes, seen.facial_transformation_matrixes, strict=True
            )
        ]
        return sorted(found, key=lambda face: face.area, reverse=True)

    def vector(self, rgb: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """The scores of one face in one frame, for `pool`: float32 [55]."""
        return face.scores

    def look(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The vector of the largest face in `rgb`, None without a face."""
        faces = self.faces(rgb)
        return self.vector(rgb, faces[0]) if faces else None

    def pool(self, frames: Sequence[NDArray[np.float32] | None]) -> tuple[NDArray[np.float32] | None, float]:
        """(float32 [dimension] or None, share): the vector of an utterance from those of its frames.

        `share` is that of the frames in which a face was seen, in [0, 1].
        """
        seen = [frame for frame in frames if frame is not None]
        if not seen:
            return None, 0.0
        return self._pool_frames(np.stack(seen)).astype(np.float32), len(seen) / len(frames)

    def _pool_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean and standard deviation; that of a single frame is 0, as of a face that does not move."""
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def _reduce_picture(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    height, width = rgb.shape[:2]
    scale = LARGEST_SIDE / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _head_pose(matrix: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a 4 x 4 head-to-camera matrix: rotations about y, x and z, applied z first."""
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    yaw = float(np.arctan2(rotation[0, 2], rotation[2, 2]))
    pitch = float(np.arcsin(np.clip(-rotation[1, 2], -1.0, 1.0)))
    roll = float(np.arctan2(rotation[1, 0], rotation[1, 1]))
    return yaw, pitch, roll


def _digest_task(task: Path) -> str:
    """Over the networks inside the bundle: the zip around them may differ between two equal bundles."""
    try:
        with zipfile.ZipFile(task) as bundle:
            return tensors_digest(
                (name, np.frombuffer(bundle.read(name), dtype=np.uint8)) for name in bundle.namelist()
            )
    except (OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{task} is no face landmarker that can be read ({error}): run `make weights`.") from None


@contextmanager
def _silence_native_log() -> Iterator[None]:
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


def _open_landmarker(task: Path) -> Any:
    try:
        from mediapipe.tasks.python import BaseOptions, vision

        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=task.read_bytes()),
                running_mode=vision.RunningMode.IMAGE,
                num_faces=FACES,
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
