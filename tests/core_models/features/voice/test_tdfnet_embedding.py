"""The vector that a TDFNet makes of an utterance, as the voice of a model of dialogues: in extraction and live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.campplus import SpeakerVector
from core_models.features.audio.whisper import Whisper
from core_models.features.registry import open_voice
from core_models.features.voice.frame_sequence import VoiceSequence
from core_models.features.voice.tdfnet_embedding import TDFNetVoice, tdfnet_folder
from core_models.labels import MELD7
from core_models.networks.tdfnet import TDFNet, TDFNetConfig
from train.corpora.dialogues import Utterance, UtteranceInContext
from train.evaluation.unimodal_classifiers import open_checkpoint
from train.extraction.extractors import open_extractor

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def heard(whisper_tiny: Whisper) -> VoiceSequence:
    """Frames of tiny.en with CAM++'s vectors."""
    return VoiceSequence(whisper_tiny, SpeakerVector(model_folder("campplus")))


@pytest.fixture(scope="module")
def folder(heard: VoiceSequence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TDFNet of words and sound as it was initialised."""
    torch.manual_seed(0)
    text = FeatureSpec(modality="text", name="tokens", version=1, dimension=6, digest="00" * 32)
    specs = {"text": text, "voice": heard.spec}
    config = TDFNetConfig(
        dimensions={m: s.dimension for m, s in specs.items()}, classes=7, width=16, heads=2, feed_forward=16, layers=1
    )
    sidecar = Sidecar(model="tdfnet", config=sidecar_config(config), labels=MELD7.name, features=specs, window=1)
    made = tmp_path_factory.mktemp("tdfnet") / "heard"
    save(made, TDFNet(config), sidecar)
    return made


def test_one_vector_in_extraction_and_live(
    folder: Path,
    heard: VoiceSequence,
    whisper_tiny: Whisper,
    librivox: list[tuple[str, NDArray[np.float32]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`features.voice: FOLDER` gives what the live run hears, under one spec that names the TDFNet and its frames."""
    voice = TDFNetVoice(load(folder), heard)
    samples = librivox[1][1]
    vector = voice(whisper_tiny.encode(samples))
    sources = load(folder).model.sources
    assert vector.shape == (voice.spec.dimension,) == (sum(s.width for s in sources if s.needs != "text"),)
    assert (voice.spec.settings["tdfnet"], voice.spec.settings["whisper"]) == ("heard", "whisper-tiny.en")
    soundfile.write(tmp_path / "clip.wav", samples, 16_000, subtype="FLOAT")
    extractor = open_extractor("voice", str(folder), threads=1)
    assert extractor.spec == voice.spec
    turn = UtteranceInContext(Utterance("clip", "anna", audio=tmp_path / "clip.wav"))
    np.testing.assert_allclose(extractor.vectors([turn])[0], vector, atol=1e-3)
    monkeypatch.chdir(folder.parent)  # as if it lay under core_models/weights
    live = open_voice(extractor.spec, whisper_tiny, threads=1)
    assert live.spec == voice.spec
    np.testing.assert_allclose(live(whisper_tiny.encode(samples)), vector, atol=1e-4)


def test_other_frames_and_other_models_are_refused(folder: Path, whisper_tiny: Whisper, tmp_path: Path) -> None:
    """A TDFNet that heard speaker vectors is refused frames without; a folder without one is none."""
    with pytest.raises(CheckpointError, match="was trained on"):
        TDFNetVoice(load(folder), VoiceSequence(whisper_tiny, None))
    with pytest.raises(CheckpointError, match="no TDFNet with a voice"):
        TDFNetVoice(load("default"), VoiceSequence(whisper_tiny, None))
    assert tdfnet_folder(folder) == folder
    assert tdfnet_folder(tmp_path) is None
    assert tdfnet_folder("default") is None


def test_eval_says_what_scores_it(folder: Path) -> None:
    """`python -m train eval` cannot read sequences, and says which command does."""
    with pytest.raises(UsageError, match="python -m train tdfnet"):
        open_checkpoint(str(folder))
