"""An MCED student as the voice of a dialogue model, from `fit` to the live run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from support.miniature_corpora import Miniature

import core_models.feature_network
from core_models.errors import CheckpointError
from core_models.features.audio.whisper import Whisper
from core_models.features.voice.mced_embedding import STUDENTS, MCEDVoice, encoder_frames_spec
from core_models.networks.mced_student import Student, StudentConfig
from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import load_models
from realtime.segmentation.segments import Utterance
from train.__main__ import main
from train.corpora.ravdess import read_ravdess
from train.extraction.extractors import open_extractor

LIVE = Path(__file__).parents[3] / "configs" / "train" / "default.yaml"


def write_student(folder: Path, whisper: Whisper, seed: int) -> None:
    torch.manual_seed(seed)
    model = Student(StudentConfig(inputs=whisper.dimension, classes=5, width=16, heads=2, feed_forward=16))
    STUDENTS.save(folder, model, STUDENTS.sidecar(model, "mced5", encoder_frames_spec(whisper), {}))


@pytest.fixture
def weights(tmp_path: Path, whisper_tiny: Whisper, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with a student of Whisper tiny.en's frames in it."""
    monkeypatch.setattr(core_models.feature_network, "WEIGHTS", tmp_path / "weights")
    write_student(tmp_path / "weights" / "mini-student", whisper_tiny, seed=0)
    return tmp_path / "weights"


@pytest.mark.weights
def test_a_dialogue_model_hears_with_a_student(
    weights: Path,
    miniature: Miniature,
    tmp_path: Path,
    whisper_tiny: Whisper,
    librivox: list[tuple[str, NDArray[np.float32]]],
) -> None:
    """Trained for two steps on the student's vectors, a checkpoint is accepted live, hears by one encoder pass, and
    is refused once the student is another."""
    given = [*miniature.options("meld", "ravdess"), f"--runs={tmp_path}", f"--export={tmp_path / 'dialogue'}"]
    voice = ["--features.voice=mini-student", "--features.face=null", "--features.adapter=null"]
    small = ["--model.width=16", "--model.heads=2", "--model.feed-forward=16", "--epochs=1", "--steps=2"]
    assert main(["fit", f"--config={LIVE}", *given, *voice, *small, "--threads=1", "--device=cpu"]) == 0

    models = load_models(str(tmp_path / "dialogue"), device="cpu", threads=1)
    assert isinstance(models.voice, MCEDVoice)
    assert models.names()["voice"] == "mced-mini-student"
    assert models.whisper.name == "whisper-tiny.en"
    samples = librivox[0][1][:48_000]
    perceiver = FeatureExtractor(models.transcriber("en"), models.voice, models.text, models.face)
    passes, encode = [], models.whisper.encode

    def counted(audio: NDArray[np.float32]) -> object:
        passes.append(len(audio))
        return encode(audio)

    models.whisper.encode = counted  # type: ignore[method-assign]
    perception = perceiver(Utterance("microphone", 0, 3000, 3400, samples, 0, False), None)
    assert passes == [len(samples)]
    assert perception.status["voice"] == "ok"
    expected = open_extractor("voice", "mini-student")
    assert expected.spec == models.voice.spec
    np.testing.assert_allclose(perception.features["voice"], models.voice(encode(samples)), atol=1e-6)
    judgement = Tracker(models.checkpoint).step("A", perception.features)
    assert sum(judgement.probabilities.values()) == pytest.approx(1)

    write_student(weights / "mini-student", whisper_tiny, seed=1)
    with pytest.raises(CheckpointError, match="was trained on .*mced-mini-student.* at hand"):
        load_models(str(tmp_path / "dialogue"), device="cpu", threads=1)


@pytest.mark.weights
def test_extraction_and_live_run_agree(weights: Path, miniature: Miniature, whisper_tiny: Whisper) -> None:
    """What `extract` stores of a file is what the live feature makes of its samples."""
    extractor = open_extractor("voice", str(weights / "mini-student"), threads=1)
    turn = next(iter(read_ravdess(miniature.ravdess).in_context()))
    (stored,) = extractor.vectors([turn])
    samples, _ = soundfile.read(turn.utterance.audio, dtype="float32")
    live = MCEDVoice(STUDENTS.find("mini-student"), encoder_frames_spec(whisper_tiny))
    assert live.spec == extractor.spec
    np.testing.assert_allclose(stored, live(whisper_tiny.encode(samples)), atol=2e-3)
