"""`python -m realtime.listen --checkpoint FOLDER` with a TDFNet: the demonstration conversation, real weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core_models.assets import model_folder
from core_models.checkpoint import Sidecar, save, sidecar_config
from core_models.features.audio.campplus import SpeakerVector
from core_models.features.audio.whisper import Whisper
from core_models.features.text.token_states import TokenStates
from core_models.features.voice.frame_sequence import VoiceSequence
from core_models.labels import MELD7
from core_models.networks.tdfnet import TDFNet, TDFNetConfig
from realtime.protocol import events, probabilities

pytestmark = pytest.mark.weights


def test_a_tdfnet_is_a_live_model(listen, conversation: Path, whisper_tiny: Whisper, tmp_path: Path) -> None:
    """A checkpoint on tokens, frames and speaker vectors judges the conversation; gates share out 1, no face."""
    torch.manual_seed(0)
    voice = VoiceSequence(whisper_tiny, SpeakerVector(model_folder("campplus"))).spec
    specs = {"text": TokenStates(model_folder("minilm-l6")).spec, "voice": voice}
    config = TDFNetConfig(
        dimensions={m: spec.dimension for m, spec in specs.items()}, classes=7, width=32, heads=2, feed_forward=32
    )
    sidecar = Sidecar(model="tdfnet", config=sidecar_config(config), labels=MELD7.name, features=specs, window=1)
    save(tmp_path / "tdfnet", TDFNet(config), sidecar)
    run = listen(
        *("--file", str(conversation), "--pace", "fast", "--channels", "split", "--speakers", "[anna,ben]"),
        *("--language", "en", "--events", "-", "--port", "0", "--checkpoint", str(tmp_path / "tdfnet")),
        *("--journal", str(tmp_path / "journal")),
    )
    assert run.code == 0, run.said
    finals = run.of(events.EmotionFinal)
    assert len(finals) > 5
    for event in finals:
        probabilities.validate(event)
        assert sum(m.gate for m in event.modalities.values() if m.gate is not None) == pytest.approx(1.0, abs=0.01)
    assert {event.modalities["face"].status for event in finals} == {"unused"}
    assert all(event.modalities["voice"].gate for event in finals)
