"""The tracker follows a dialogue with CMATH as it does with SDT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.labels import MELD7
from core_models.networks.cmath import CMATH, CMATHConfig
from realtime.dialogue.tracker import Tracker

WIDTHS = {"text": 6, "voice": 5, "face": 4}


def test_a_cmath_checkpoint_is_followed_live(tmp_path: Path) -> None:
    """Judgements of a loaded CMATH are those of `forward` over the whole dialogue, with gates that share out 1."""
    torch.manual_seed(0)
    config = CMATHConfig(dimensions=WIDTHS, classes=7, width=32, heads=4, window=5, kernel=3, speakers=3)
    specs = {
        m: FeatureSpec(modality=m, name="test", version=1, dimension=w, digest="00" * 32) for m, w in WIDTHS.items()
    }
    sidecar = Sidecar(model="cmath", config=sidecar_config(config), labels=MELD7.name, features=specs, window=5)
    save(tmp_path / "cmath", CMATH(config), sidecar)
    loaded = load(tmp_path / "cmath")
    tracker, random = Tracker(loaded), np.random.default_rng(0)
    patterns = [set(MODALITIES), {"text"}, {"voice", "face"}, {"text", "voice"}] * 4
    dialogue = [{m: random.standard_normal(WIDTHS[m]).astype(np.float32) for m in sorted(p)} for p in patterns]
    judged = [tracker.step("ab"[n % 2], features) for n, features in enumerate(dialogue)]
    whole = {
        m: torch.tensor(np.array([f.get(m, np.zeros(w, np.float32)) for f in dialogue]))[None]
        for m, w in WIDTHS.items()
    }
    present = torch.tensor([[m in f for m in MODALITIES] for f in dialogue])[None]
    speakers = torch.arange(16)[None] % 2
    expected = loaded.model(whole, present, speakers).logits[0].softmax(-1)
    for judgement, features, distribution in zip(judged, dialogue, expected.tolist(), strict=True):
        assert list(judgement.probabilities.values()) == pytest.approx(distribution, abs=1e-5)
        assert set(judgement.gates) == set(judgement.unimodal) == set(features)
        assert sum(judgement.gates.values()) == pytest.approx(1.0, abs=1e-5)
