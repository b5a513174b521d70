"""The face track, with the real landmarker."""

from __future__ import annotations

import threading

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.features.face.landmarker import FaceFeature
from realtime.perception.face_track import FaceTrack
from realtime.sources.media import VideoFrame

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def face() -> NDArray[np.uint8]:
    with av.open(str(model_folder("demo-face") / "WolfgangLanger_Pexels.mp4")) as clip:
        return next(clip.decode(video=0)).to_ndarray(format="rgb24")


def frames(face: NDArray[np.uint8], seen: list[bool], every_ms: int = 100) -> list[VideoFrame]:
    covered = np.zeros_like(face)
    return [VideoFrame("camera", n * every_ms, face if s else covered) for n, s in enumerate(seen)]


def test_a_span_holds_its_own_frames(face_feature: FaceFeature, face) -> None:
    """`between` gives one entry a frame of the span, None where the camera was covered."""
    track = FaceTrack(face_feature, lossless=True)
    for frame in frames(face, [True] * 3 + [False] * 3 + [True] * 2):
        track.put(frame)
    assert [seen is not None for seen in track.between(100, 600)] == [True, True, False, False, False, True]
    assert track.between(10_000, 11_000) == []
    track.close()


def test_a_recording_loses_no_frame(face_feature: FaceFeature, face) -> None:
    """A lossless track makes the source wait instead of shedding, and has seen all when it closes."""
    track = FaceTrack(face_feature, lossless=True)
    for frame in frames(face, [True] * 40):
        track.put(frame)
    assert len(track.between(0, 4_000)) == 40
    assert track.shed == 0
    track.close()


def test_a_camera_sheds_its_oldest_frames_and_counts_them(face_feature: FaceFeature, face) -> None:
    """A live track never blocks its camera; what it could not look at is counted."""
    track = FaceTrack(face_feature, lossless=False)
    many = frames(face, [True] * 200, every_ms=10)
    for frame in many:
        track.put(frame)
    looked_at = track.between(0, 2_000)
    assert track.shed > 0
    assert len(looked_at) + track.shed == len(many)
    track.close()


def test_the_past_is_forgotten(face_feature: FaceFeature, face) -> None:
    """A camera's frames older than the history are dropped, so an hour costs no more than a minute."""
    track = FaceTrack(face_feature, lossless=False, history_ms=500)
    for frame in frames(face, [False] * 12):
        track.put(frame)
    track.between(0, 1_100)
    assert len(track.between(0, 1_200)) == 6
    track.close()


def test_a_recording_read_ahead_keeps_what_was_not_asked_for(face_feature: FaceFeature, face) -> None:
    """Frames of a recording wait for perception however far behind it is, and go when it has passed them."""
    track = FaceTrack(face_feature, lossless=True, history_ms=500)
    for frame in frames(face, [False] * 20):
        track.put(frame)
    assert len(track.between(0, 1_900)) == 20
    track.between(1_500, 1_900)
    assert len(track.between(0, 1_900)) == 10
    track.close()


def test_a_landmarker_that_breaks_is_told_once(face_feature: FaceFeature) -> None:
    """A failure inside is one sentence; later spans are empty and nobody waits."""
    told: list[str] = []
    failed = threading.Event()

    def tell(sentence: str) -> None:
        told.append(sentence)
        failed.set()

    track = FaceTrack(face_feature, lossless=True, failed=tell)
    broken = VideoFrame("camera", 0, np.zeros((0, 0, 3), np.uint8))
    track.put(broken)
    failed.wait()
    track.put(VideoFrame("camera", 100, np.zeros((8, 8, 3), np.uint8)))
    assert track.between(0, 1_000) == []
    assert len(told) == 1
    track.close()
