"""The tracker judges with TDFNet, whose features are sequences, as it does with a model of dialogues."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import CheckpointError
from core_models.feature_spec import FeatureSpec
from core_models.labels import MELD7
from core_models.networks.tdfnet import TDFNet, TDFNetConfig
from realtime.dialogue.tracker import Tracker
from realtime.pipeline.models import load_models

WIDTHS = {"text": 6, "voice": 5}
CONFIG = TDFNetConfig(dimensions=WIDTHS, classes=7, speaker=2, width=16, heads=2, feed_forward=16, layers=1)
SPECS = {m: FeatureSpec(modality=m, name="test", version=1, dimension=w, digest="00" * 32) for m, w in WIDTHS.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A TDFNet as it was initialised."""
    torch.manual_seed(0)
    sidecar = Sidecar(model="tdfnet", config=sidecar_config(CONFIG), labels=MELD7.name, features=SPECS, window=1)
    save(tmp_path / "tdfnet", TDFNet(CONFIG), sidecar)
    return tmp_path / "tdfnet"


def test_a_tdfnet_checkpoint_is_followed_live(folder: Path) -> None:
    """Every judgement is that of `forward` on the utterance alone; opinions are those of one modality alone."""
    tracker, random, model = Tracker(load(folder)), np.random.default_rng(0), load(folder).model
    for number, pattern in enumerate([("text", "voice"), ("voice",), ("text",), ("text", "voice")] * 2):
        lengths = {m: 1 + int(random.integers(9)) for m in pattern}
        features = {m: random.standard_normal((lengths[m], WIDTHS[m])).astype(np.float32) for m in pattern}
        judged = tracker.step("ab"[number % 2], features)
        tensors = {m: torch.from_numpy(x)[None] for m, x in features.items()}

        def alone(*shown: str, tensors: dict[str, torch.Tensor] = tensors) -> list[float]:
            counts = {m: torch.tensor([tensors[m].shape[1] if m in shown else 0]) for m in tensors}
            absent = {m: torch.tensor([0]) for m in WIDTHS if m not in counts}
            return model(tensors, counts | absent).logits[0].softmax(-1).tolist()

        assert list(judged.probabilities.values()) == pytest.approx(alone(*pattern), abs=1e-5)
        for m in pattern:
            assert list(judged.unimodal[m].values()) == pytest.approx(alone(m), abs=1e-5)
        assert set(judged.gates) == set(pattern)
        assert sum(judged.gates.values()) == pytest.approx(1.0, abs=1e-5)
    tracker.forget("a")
    assert tracker.step("a", features).previous is None


def test_sound_that_no_live_run_hears_is_refused(folder: Path) -> None:
    """A checkpoint on other frames than a recogniser's is refused in one sentence that names them."""
    sidecar = load(folder).sidecar
    model = load(folder).model
    specs = {m: msgspec.structs.replace(s, name=f"other-{m}") for m, s in sidecar.features.items()}
    save(folder, model, msgspec.structs.replace(sidecar, features=specs))
    with pytest.raises(CheckpointError, match="other-voice.*no live run"):
        load_models(str(folder), device="cpu")
