"""Several faces before one camera: which is the same as before, and whose mouth moves while somebody speaks. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_models.features.face.landmarker import BLENDSHAPES, JAW_OPEN, Face

# Least share of their union that the boxes of one face have in common from frame to frame.
_OVERLAP = 0.3
# A face that was away for longer is another one.
_LOST_MS = 1_500
# In fewer no movement can be told.
_FRAMES = 4
# Mean change of the mouth from frame to frame, in blendshape scores, from which it may be speaking.
_MOVES = 0.04
# A mouth is preferred to that of the largest face where it moves so many times as much.
_CLEARLY = 1.5
_MOUTH = slice(27, 50)  # mouthClose to mouthUpperUpRight

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FaceObservation:
    """One face in one frame: who it is, how large, how it holds its mouth, and its vector for the feature's pool."""

    identity: int
    area: float
    mouth: NDArray[np.float32]
    vector: NDArray[np.float32]


class IouTracker:
    """Numbers for the faces of one camera: a face keeps its number while its boxes overlap from frame to frame."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Box, int]] = {}
        self._count = 0

    def of(self, faces: Sequence[Face], at_ms: int) -> list[int]:
        """The number of each of `faces`, of the frame at `at_ms`; frames come in order."""
        self._seen = {number: seen for number, seen in self._seen.items() if at_ms - seen[1] <= _LOST_MS}
        pairs = sorted(
            (
                (_intersection_over_union(box, face.box), number, row)
                for number, (box, _) in self._seen.items()
                for row, face in enumerate(faces)
            ),
            reverse=True,
        )
        numbers: dict[int, int] = {}
        for overlap, number, row in pairs:
            if overlap >= _OVERLAP and row not in numbers and number not in numbers.values():
                numbers[row] = number
        for row, face in enumerate(faces):
            if row not in numbers:
                numbers[row] = self._count
                self._count += 1
            self._seen[numbers[row]] = face.box, at_ms
        return [numbers[row] for row in range(len(faces))]


def mouth(face: Face) -> NDArray[np.float32]:
    """How far it is open, and the shapes of its lips."""
    return np.concatenate([face.scores[JAW_OPEN : JAW_OPEN + 1], face.scores[:BLENDSHAPES][_MOUTH]])


def speaker_of(frames: Sequence[Sequence[FaceObservation]]) -> int | None:
    """Who speaks during `frames`: the largest face, or one whose mouth moves clearly more; None of nobody."""
    observations: dict[int, list[FaceObservation]] = defaultdict(list)
    for frame in frames:
        for observation in frame:
            observations[observation.identity].append(observation)
    if not observations:
        return None
    largest = max(observations, key=lambda number: sum(observation.area for observation in observations[number]))
    movement = {number: _mouth_movement(own) for number, own in observations.items()}
    liveliest = max(movement, key=lambda number: movement[number])
    if movement[liveliest] >= max(_MOVES, _CLEARLY * movement[largest]):
        return liveliest
    return largest


def _mouth_movement(observations: Sequence[FaceObservation]) -> float:
    """Mean over the frames of the change since the one before of what changes most about the mouth."""
    if len(observations) < _FRAMES:
        return 0.0
    changes = np.abs(np.diff(np.stack([seen.mouth for seen in observations]), axis=0))  # [frames - 1, shapes]
    return float(changes.mean(axis=0).max())


def _intersection_over_union(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
