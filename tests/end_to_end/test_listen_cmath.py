"""`python -m realtime.listen --checkpoint FOLDER` with a CMATH: the demonstration conversation, real weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from core_models.checkpoint import load, save, sidecar_config
from core_models.networks.cmath import CMATH, CMATHConfig
from realtime.protocol import events, probabilities

pytestmark = pytest.mark.weights


def test_a_cmath_is_a_live_model(listen, conversation: Path, tmp_path: Path) -> None:
    """A checkpoint of CMATH on the shipped features judges the conversation, and its gates share out 1."""
    shipped = load("default").sidecar
    torch.manual_seed(0)
    config = CMATHConfig(
        dimensions={m: spec.dimension for m, spec in shipped.features.items()}, classes=7, width=64, heads=4
    )
    sidecar = msgspec.structs.replace(
        shipped, model="cmath", config=sidecar_config(config), window=config.window, temperature={}, record={}
    )
    save(tmp_path / "cmath", CMATH(config), sidecar)
    run = listen(
        *("--file", str(conversation), "--pace", "fast", "--channels", "split", "--speakers", "[anna,ben]"),
        *("--language", "en", "--events", "-", "--port", "0", "--checkpoint", str(tmp_path / "cmath")),
        *("--journal", str(tmp_path / "journal")),
    )
    assert run.code == 0, run.said
    finals = run.of(events.EmotionFinal)
    assert len(finals) > 5
    for event in finals:
        probabilities.validate(event)
        assert sum(m.gate for m in event.modalities.values() if m.gate is not None) == pytest.approx(1.0, abs=0.01)
    assert any(event.modalities["face"].gate for event in finals)
