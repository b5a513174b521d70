"""Miniature corpora, written once, and the store that their features are kept in."""

from __future__ import annotations

import pytest
from miniature import Miniature, write_fer2013, write_meld, write_ravdess

from core_models.assets import model_folder
from core_models.features.face import FaceFeature


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory, face_feature: FaceFeature) -> Miniature:
    """MELD, RAVDESS and FER-2013 in small: invented lines, synthetic sounds, frames of the demonstration's face."""
    root = tmp_path_factory.mktemp("corpora")
    video = next(model_folder("demo-face").glob("*.mp4"))
    return Miniature(
        write_meld(root / "meld"),
        write_ravdess(root / "ravdess"),
        write_fer2013(root / "fer2013", video, face_feature),
        root / "store",
    )
