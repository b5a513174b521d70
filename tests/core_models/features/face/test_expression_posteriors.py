"""The expression network sees aligned faces, and what it says is refused, kept and pooled as promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.errors import CheckpointError, UsageError
from core_models.features.face.alignment import SIDE, crop_face
from core_models.features.face.expression_posteriors import (
    EXPRESSIONS,
    TASK,
    ExpressionFeature,
    face_pictures_spec,
    mirror_scores,
    open_face,
)
from core_models.features.face.landmarker import SCORES, FaceFeature
from core_models.labels import MELD7
from core_models.networks.expression_network import ExpressionConfig, ExpressionNet

SHIPPED = "face-expression"
SMALL = ExpressionConfig(widths=(4, 6, 8), beside=5)


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Frames of the demonstration clip, two seconds apart: first tears, then laughter."""
    with av.open(str(model_folder("demo-face") / "WolfgangLanger_Pexels.mp4")) as clip:
        return [f.to_ndarray(format="rgb24") for n, f in enumerate(clip.decode(video=0)) if n % 48 == 0]


@pytest.fixture(scope="module")
def shipped() -> ExpressionFeature:
    feature = open_face(SHIPPED)
    assert isinstance(feature, ExpressionFeature)
    return feature


def save(folder: Path, face_feature: FaceFeature) -> ExpressionNet:
    torch.manual_seed(0)
    net = ExpressionNet(SMALL)
    EXPRESSIONS.save(folder, net, EXPRESSIONS.sidecar(net, "meld7", face_pictures_spec(face_feature.spec), {}))
    return net


@pytest.mark.weights
@pytest.mark.parametrize(("degrees", "scale"), [(25, 1.0), (-15, 0.6), (0, 1.15)])
def test_a_crop_does_not_know_how_the_head_was_held(
    face_feature: FaceFeature, pictures: list[NDArray[np.uint8]], degrees: float, scale: float
) -> None:
    """A picture that is turned and scaled gives nearly the same crop, where another person's would not."""
    picture = pictures[6]
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    other = np.asarray(cv2.warpAffine(picture, turn, (width, height)), dtype=np.uint8)
    landmarks = face_feature.faces(picture)[0].landmarks
    there = landmarks @ turn[:, :2].T + turn[:, 2]
    one, same = crop_face(picture, landmarks), crop_face(other, there.astype(np.float32))
    assert one.shape == (SIDE, SIDE)
    inner = np.s_[8:-8, 8:-8]
    assert np.corrcoef(one[inner].ravel(), same[inner].ravel())[0, 1] > 0.98


def test_a_crop_beyond_the_picture_repeats_its_edge() -> None:
    """A face half out of the picture has no black side that would look like hair."""
    bright = np.full((200, 200, 3), 180, np.uint8)
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[[33, 133, 362, 263, 168, 2]] = [[-30, 100], [-13, 100], [13, 100], [30, 100], [0, 96], [0, 132]]
    assert (crop_face(bright, landmarks) == 180).all()


def test_dim_light_changes_little() -> None:
    """Half the light gives nearly the same logits, since each picture is brought to one mean and deviation."""
    torch.manual_seed(0)
    net = ExpressionNet(SMALL).eval()
    light = torch.rand(2, 1, SIDE, SIDE) * 200
    with torch.inference_mode():
        bright, dim = net(light, torch.zeros(2, SCORES)), net(0.5 * light + 10, torch.zeros(2, SCORES))
    assert torch.allclose(bright, dim, atol=0.05)


@pytest.mark.weights
def test_what_was_saved_comes_back(face_feature: FaceFeature, tmp_path: Path) -> None:
    """A saved network has the float16 weights that it was saved with, and its folder is found by its path."""
    net = save(tmp_path / "small", face_feature)
    loaded = EXPRESSIONS.load(tmp_path / "small")
    assert EXPRESSIONS.folder(tmp_path / "small") == tmp_path / "small"
    assert EXPRESSIONS.folder(tmp_path) is None
    for name, value in net.state_dict().items():
        assert torch.equal(
            loaded.model.state_dict()[name].float(), value.half().float() if value.is_floating_point() else value
        )


@pytest.mark.weights
def test_a_broken_network_is_one_sentence(face_feature: FaceFeature, tmp_path: Path) -> None:
    """A cut file, and tensors of another shape, are refused by a sentence that names the folder."""
    save(tmp_path / "small", face_feature)
    path = tmp_path / "small" / EXPRESSIONS.tensors
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="small holds no expression network"):
        EXPRESSIONS.load(tmp_path / "small")
    with pytest.raises(UsageError, match="two widths"):
        ExpressionConfig(widths=(4,))


@pytest.mark.weights
def test_a_network_of_other_faces_is_refused(face_feature: FaceFeature, tmp_path: Path) -> None:
    """A network that was trained on another landmarker's faces does not run, and the sentence names both."""
    net = save(tmp_path / "small", face_feature)
    other = replace_spec(face_pictures_spec(face_feature.spec))
    EXPRESSIONS.save(tmp_path / "small", net, EXPRESSIONS.sidecar(net, "meld7", other, {}))
    with pytest.raises(CheckpointError, match="00000000.*at hand"):
        ExpressionFeature(model_folder("face-landmarker") / TASK, EXPRESSIONS.load(tmp_path / "small"))


def replace_spec(spec):  # type: ignore[no-untyped-def]
    import msgspec

    return msgspec.structs.replace(spec, digest="0" * 64)


@pytest.mark.weights
def test_a_vector_is_a_distribution_over_the_emotions(
    shipped: ExpressionFeature, pictures: list[NDArray[np.uint8]]
) -> None:
    """Seven log-probabilities whose exponentials sum to 1; None where there is no face."""
    vector = shipped.look(pictures[0])
    assert vector is not None
    assert vector.shape == (shipped.spec.dimension,) == (len(MELD7),)
    assert np.exp(vector).sum() == pytest.approx(1, abs=1e-5)
    assert shipped.look(np.zeros((240, 320, 3), np.uint8)) is None


@pytest.mark.weights
def test_laughter_looks_more_joyful_than_tears(shipped: ExpressionFeature, pictures: list[NDArray[np.uint8]]) -> None:
    """In the clip's laughing half joy is the first choice, in its crying half it is not."""
    joy = MELD7.index("joy")
    seen = [shipped.look(picture) for picture in pictures]
    tears, laughter = (np.mean([v for v in part if v is not None], axis=0) for part in (seen[:5], seen[5:]))
    assert laughter.argmax() == joy
    assert tears.argmax() != joy


@pytest.mark.weights
def test_a_face_in_a_mirror_says_the_same(shipped: ExpressionFeature, pictures: list[NDArray[np.uint8]]) -> None:
    """The mirror image of a face, mesh and scores and all, gives the same vector."""
    picture = pictures[6]
    face = shipped.faces(picture)[0]
    landmarks = face.landmarks.copy()
    landmarks[:, 0] = picture.shape[1] - 1 - landmarks[:, 0]
    landmarks[[33, 263, 133, 362]] = landmarks[[263, 33, 362, 133]]
    other = replace(face, landmarks=landmarks, scores=mirror_scores(face.scores))
    turned = shipped.vector(np.ascontiguousarray(picture[:, ::-1]), other)
    np.testing.assert_allclose(turned, shipped.vector(picture, face), atol=0.05)


@pytest.mark.weights
def test_one_frame_pools_to_itself_and_many_to_their_mean(shipped: ExpressionFeature) -> None:
    """A still and a film of that still have one vector, so what stills taught holds for films."""
    one, other = np.arange(7, dtype=np.float32), np.ones(7, np.float32)
    pooled, share = shipped.pool([one, None])
    assert (pooled == one).all()
    assert share == 0.5
    pooled, share = shipped.pool([one, other])
    assert (pooled == (one + other) / 2).all()
    assert shipped.pool([None]) == (None, 0.0)


@pytest.mark.weights
def test_what_ships_is_small_and_says_where_it_came_from() -> None:
    """Half precision, under 5 MB, with a card, a training record and no path of the machine that trained it."""
    folder = EXPRESSIONS.folder(SHIPPED)
    assert folder is not None
    assert (folder / EXPRESSIONS.tensors).stat().st_size < 5_000_000
    assert "not commercial" in (folder / "CARD.md").read_text(encoding="utf-8")
    record = EXPRESSIONS.load(folder).sidecar.record
    assert record["epochs"]
    assert "/" not in str(record["config"])
