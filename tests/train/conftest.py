"""Miniature corpora, written once, and the store that their features are kept in."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.miniature_corpora import Miniature, write_fer2013, write_meld, write_ravdess

from core_models.assets import model_folder
from core_models.features.face.landmarker import FaceFeature
from train.__main__ import main

LIVE = Path(__file__).parents[2] / "configs" / "train" / "default.yaml"


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


@pytest.fixture(scope="session")
def checkpoint(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the shipped config, after a few steps on the miniature corpora."""
    root = tmp_path_factory.mktemp("run")
    given = [*miniature.options("meld", "ravdess", "fer2013"), f"--runs={root}", f"--export={root / 'out'}"]
    assert main(["fit", f"--config={LIVE}", *given, "--epochs=1", "--steps=4", "--threads=1", "--device=cpu"]) == 0
    return root / "out"
