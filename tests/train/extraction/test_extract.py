"""Extraction: with the live feature code, once, and past whatever is broken."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.miniature_corpora import Miniature

from core_models.assets import model_folder
from core_models.features.audio.whisper import Whisper
from core_models.features.face.landmarker import FaceFeature
from core_models.features.text.sentence_encoder import TextFeature
from core_models.features.voice.statistics_pooling import VoiceFeature
from train.__main__ import main
from train.corpora.dialogues import Utterance
from train.corpora.fer2013 import read_fer2013
from train.corpora.folder import read_folder
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess
from train.extraction.extract import extract
from train.extraction.extractors import SoundExtractor, open_extractor
from train.media.decoding import frames_of
from train.media.utterance_audio import read_sound

pytestmark = pytest.mark.weights


def test_text_is_what_the_live_feature_says(miniature: Miniature, tmp_path: Path, text_feature: TextFeature) -> None:
    """Every line of MELD has the vector that the live text feature gives for its words."""
    corpus = read_meld(miniature.meld, "dev")
    extractor = open_extractor("text", "minilm-l6")
    assert extractor.spec == text_feature.spec
    extracted = extract(corpus, extractor, tmp_path)
    lines = list(corpus.utterances())
    assert extracted.vectors.keys() == {line.id for line in lines}
    expected = text_feature([line.text or "" for line in lines])
    np.testing.assert_allclose(np.stack([extracted.vectors[line.id] for line in lines]), expected, atol=1e-4)


def test_voice_is_what_the_live_feature_says(miniature: Miniature, tmp_path: Path, whisper_base: Whisper) -> None:
    """A clip has the vector that the live voice feature gives for its samples."""
    corpus = read_ravdess(miniature.ravdess, {1})
    extractor = open_extractor("voice", "whisper-base")
    live = VoiceFeature(whisper_base)
    assert extractor.spec == live.spec
    extracted = extract(corpus, extractor, tmp_path)
    line = next(corpus.utterances())
    np.testing.assert_allclose(extracted.vectors[line.id], live(whisper_base.encode(read_sound(line))), atol=1e-3)


def test_broken_clip_is_named_and_skipped(
    miniature: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clip that cannot be decoded is told on standard error and counted; the others are extracted."""
    shutil.copytree(miniature.ravdess / "Actor_01", tmp_path / "clips")
    (tmp_path / "clips" / "03-01-05-01-01-01-01.wav").write_bytes(b"RIFF and nothing")
    told = main(
        ["extract", "--corpus=ravdess", f"--root={tmp_path / 'clips'}", "--features.text=null", f"--store={tmp_path}"]
    )
    assert told == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "skipped:" in said
    assert "03-01-05-01-01-01-01.wav" in said.replace(" ", "")
    assert "7 vectors (7 computed, 0 from the store), 1 broken and skipped" in said
    assert "face: ravdess has none on disk" in said


def test_killed_extraction_goes_on_where_it_was(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted extraction had computed is not computed again, nor is anything on a third run."""
    corpus = read_ravdess(miniature.ravdess)
    extractor = open_extractor("voice", "whisper-base")
    compute, seen = SoundExtractor.vectors, 0

    def counted(self: SoundExtractor, lines: Sequence[Utterance]) -> object:
        nonlocal seen
        seen += 1
        if seen == 6:
            raise KeyboardInterrupt
        return compute(self, lines)

    monkeypatch.setattr(SoundExtractor, "vectors", counted)
    with pytest.raises(KeyboardInterrupt):
        extract(corpus, extractor, tmp_path)
    second = extract(corpus, extractor, tmp_path)
    assert (second.computed, second.kept) == (len(corpus.dialogues) - 5, 5)
    assert extract(corpus, extractor, tmp_path).computed == 0


def test_processes_side_by_side_make_the_same_vectors(
    miniature: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers leave in the store what one process computes, to rounding, and say how much."""
    options = [f"--root={miniature.ravdess}", "--subset=actors=1", "--features.text=null", f"--store={tmp_path}"]
    assert main(["extract", "--corpus=ravdess", *options, "--workers=2"]) == 0
    assert "8 vectors (8 computed, 0 from the store)" in " ".join(capsys.readouterr().err.split())
    corpus, extractor = read_ravdess(miniature.ravdess, {1}), open_extractor("voice", "whisper-base")
    stored, here = extract(corpus, extractor, tmp_path), extract(corpus, extractor, tmp_path / "other")
    assert (stored.computed, here.computed) == (0, 8)
    for identity, vector in here.vectors.items():
        np.testing.assert_allclose(stored.vectors[identity], vector, atol=1e-3)


def test_film_gives_the_face_of_its_span(tmp_path: Path, face_feature: FaceFeature) -> None:
    """A span of a film has the face that its frames, five a second, have."""
    film = next(model_folder("demo-face").glob("*.mp4"))
    rows = [f"{film},1,3,me,joy,", f"{film},5,6.5,me,,"]
    (tmp_path / "lines.csv").write_text("path,start,end,speaker,label,text\n" + "\n".join(rows))
    lines = list(read_folder(tmp_path).utterances())
    extracted = extract(read_folder(tmp_path), open_extractor("face", "face-landmarker"), tmp_path)
    assert extracted.vectors.keys() == {line.id for line in lines}
    frames = [face_feature.look(frame) for frame in frames_of(film, (1000, 3000), 5)]
    assert len(frames) == 10
    np.testing.assert_allclose(extracted.vectors[lines[0].id], face_feature.pool(frames)[0], atol=1e-6)


def test_still_without_a_face_is_looked_at_once(miniature: Miniature, tmp_path: Path) -> None:
    """A picture in which no face is found counts as such, and the store remembers that there is none."""
    import cv2

    shutil.copytree(miniature.fer2013, tmp_path / "fer")
    cv2.imwrite(str(tmp_path / "fer" / "train" / "happy" / "wall.png"), np.full((48, 48), 128, np.uint8))
    corpus = read_fer2013(tmp_path / "fer", "train")
    extractor = open_extractor("face", "face-landmarker")
    first = extract(corpus, extractor, tmp_path)
    assert first.nothing == {"train/happy/wall.png"}
    assert len(first.vectors) == len(corpus.dialogues) - 1
    again = extract(corpus, extractor, tmp_path)
    assert again.computed == 0
    assert again.nothing == first.nothing
