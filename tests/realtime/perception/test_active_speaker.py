"""Of several faces before one camera, that of whoever speaks."""

from __future__ import annotations

from collections.abc import Sequence

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.features.face.landmarker import SCORES, Face, FaceFeature
from realtime.perception.active_speaker import FaceObservation, IouTracker, speaker_of
from realtime.perception.face_track import FaceTrack
from realtime.sources.media import VideoFrame

Picture = NDArray[np.uint8]
FRAMES = 8
EVERY_MS = 160


def face(left: float, top: float, size: float) -> Face:
    corners = np.array([[left, top], [left + size, top + size]], np.float32)
    return Face(corners, np.zeros(SCORES, np.float32))


def glances(identity: int, area: float, mouth: Sequence[float]) -> list[FaceObservation]:
    return [FaceObservation(identity, area, np.array([m], np.float32), np.zeros(1, np.float32)) for m in mouth]


def test_a_face_keeps_its_number_while_it_moves() -> None:
    """Two faces keep theirs though they move and change their order; one that comes later has a new one."""
    identities = IouTracker()
    assert identities.of([face(0, 0, 100), face(200, 0, 90)], 0) == [0, 1]
    assert identities.of([face(210, 10, 95), face(15, 5, 100)], 160) == [1, 0]
    assert identities.of([face(30, 5, 100), face(400, 0, 100), face(215, 0, 90)], 320) == [0, 2, 1]


def test_a_face_that_looked_away_for_a_moment_is_the_same() -> None:
    """A frame without it is forgiven; after seconds it is another one."""
    identities = IouTracker()
    identities.of([face(0, 0, 100)], 0)
    assert identities.of([], 160) == []
    assert identities.of([face(10, 0, 100)], 320) == [0]
    assert identities.of([face(10, 0, 100)], 5_000) == [1]


def test_the_largest_face_speaks_unless_another_mouth_moves_clearly_more() -> None:
    """Stillness decides for size, a mouth that moves decides against it, two that move alike leave it to size."""
    still, moving, lively = [0.1, 0.11, 0.1, 0.11], [0.1, 0.4, 0.1, 0.4], [0.1, 0.45, 0.1, 0.45]

    def chosen(large: list[float], small: list[float]) -> int | None:
        return speaker_of([list(pair) for pair in zip(glances(0, 200, large), glances(1, 100, small), strict=True)])

    assert chosen(still, still) == 0
    assert chosen(still, moving) == 1
    assert chosen(moving, lively) == 0
    assert speaker_of([[], []]) is None


@pytest.fixture(scope="module")
def laughter() -> list[Picture]:
    """Frames of the demonstration clip, six a second, in which mouth and cheeks move."""
    with av.open(str(model_folder("demo-face") / "WolfgangLanger_Pexels.mp4")) as clip:
        pictures = [f.to_ndarray(format="rgb24") for n, f in enumerate(clip.decode(video=0)) if n % 4 == 0]
    return pictures[60 : 60 + FRAMES]


def side_by_side(large: Picture, small: Picture, rng: np.random.Generator) -> Picture:
    """One picture with `large` on the left and `small`, at 0.7 of its size, on the right; with a camera's noise."""
    right = cv2.resize(small, None, fx=0.7, fy=0.7)
    both = np.zeros((large.shape[0], large.shape[1] + right.shape[1], 3), np.uint8)
    both[:, : large.shape[1]] = large
    both[-right.shape[0] :, large.shape[1] :] = right
    return np.clip(both + rng.normal(0, 3, both.shape), 0, 255).astype(np.uint8)


@pytest.mark.weights
@pytest.mark.parametrize("moving", ["large", "small"])
def test_the_track_follows_the_mouth_that_moves(
    face_feature: FaceFeature, laughter: list[Picture], moving: str
) -> None:
    """Two faces before the camera, one still and one moving: the utterance has the vectors of the one that moves."""
    rng = np.random.default_rng(0)
    pairs = [(picture, laughter[0]) if moving == "large" else (laughter[0], picture) for picture in laughter]
    shown = [side_by_side(*pair, rng) for pair in pairs]
    track = FaceTrack(face_feature, lossless=True)
    for number, both in enumerate(shown):
        track.put(VideoFrame("camera", number * EVERY_MS, both))
    found = track.between(0, FRAMES * EVERY_MS)
    track.close()
    assert len(found) == FRAMES
    for both, one in zip(shown, found, strict=True):
        wide = laughter[0].shape[1]
        (other,) = (seen for seen in face_feature.faces(both) if (seen.box[0] < wide) == (moving == "large"))
        assert one is not None
        np.testing.assert_array_equal(one, other.scores)
