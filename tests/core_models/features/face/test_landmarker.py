"""The face feature sees faces, and only faces."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.errors import WeightsError
from core_models.features.face.landmarker import SCORES, FaceFeature

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Frames of the demonstration clip, two seconds apart: first tears, then laughter."""
    with av.open(str(model_folder("demo-face") / "WolfgangLanger_Pexels.mp4")) as clip:
        return [f.to_ndarray(format="rgb24") for n, f in enumerate(clip.decode(video=0)) if n % 48 == 0]


def test_every_frame_of_a_face_is_seen(face_feature: FaceFeature, pictures) -> None:
    """55 numbers a frame: scores between 0 and 1, angles below half a turn."""
    for picture in pictures:
        seen = face_feature.look(picture)
        assert seen is not None
        assert seen.shape == (SCORES,)
        assert ((seen[:52] >= 0) & (seen[:52] <= 1)).all()
        assert (np.abs(seen[52:]) < np.pi / 2).all()


def test_nothing_is_seen_where_no_face_is(face_feature: FaceFeature) -> None:
    """A black frame and one of noise have no face."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert face_feature.look(np.zeros((240, 320, 3), np.uint8)) is None
    assert face_feature.look(noise) is None


def test_the_same_picture_gives_the_same_numbers(face_feature: FaceFeature, pictures) -> None:
    """The landmarker keeps no memory between frames, so stills and live frames agree."""
    first = face_feature.look(pictures[0])
    face_feature.look(pictures[-1])
    again = face_feature.look(pictures[0])
    assert first is not None
    assert again is not None
    assert np.array_equal(first, again)


def test_a_tilted_head_rolls(face_feature: FaceFeature, pictures) -> None:
    """Turning the picture by 20 degrees changes roll by that, and yaw and pitch by little."""
    import cv2

    height, width = pictures[5].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1.0)
    tilted = np.asarray(cv2.warpAffine(pictures[5], turn, (width, height)), dtype=np.uint8)
    upright, rolled = face_feature.look(pictures[5]), face_feature.look(tilted)
    assert upright is not None
    assert rolled is not None
    yaw, pitch, roll = np.degrees(rolled[52:] - upright[52:])
    assert abs(abs(roll) - 20) < 5
    assert abs(yaw) < 8
    assert abs(pitch) < 8


def test_a_smile_scores_higher_in_laughter(face_feature: FaceFeature, pictures) -> None:
    """Mouth-smile blendshapes (44, 45) are high in the laughing half of the clip and low while she cries."""
    smile = [float(seen[44:46].mean()) for p in pictures if (seen := face_feature.look(p)) is not None]
    assert min(smile[5:]) > 0.4
    assert min(smile[:5]) < 0.1


def test_pooling_holds_for_one_frame_and_for_many(face_feature: FaceFeature) -> None:
    """Mean and deviation over the frames with a face; one frame has deviation 0; the share counts them."""
    a, b = np.full(SCORES, 0.2, np.float32), np.full(SCORES, 0.4, np.float32)
    one, share = face_feature.pool([None, a])
    assert one is not None
    assert share == 0.5
    assert np.array_equal(one, np.concatenate([a, np.zeros_like(a)]))
    two, share = face_feature.pool([a, b])
    assert two is not None
    assert two[:SCORES] == pytest.approx(0.3)
    assert two[SCORES:] == pytest.approx(0.1)
    assert face_feature.pool([None, None]) == (None, 0.0)
    assert face_feature.pool([]) == (None, 0.0)


def test_what_is_no_landmarker_is_refused(tmp_path: Path) -> None:
    """A file that is no bundle is one sentence that names the command."""
    broken = tmp_path / "face_landmarker.task"
    broken.write_bytes(b"no zip")
    with pytest.raises(WeightsError, match="make weights"):
        FaceFeature(broken)


def test_one_that_only_refers_to_itself_is_let_go() -> None:
    """What the collector of cycles finds ends its landmarker, which by itself would wait there for ever."""
    feature: Any = FaceFeature(model_folder("face-landmarker") / "face_landmarker.task")
    feature.itself = feature
    gone, landmarker = weakref.ref(feature), weakref.ref(feature._landmarker)
    del feature
    gc.collect()
    assert gone() is None
    gc.collect()
    assert landmarker() is None
