"""A voice's training from clips to the head that a dialogue model hears with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.miniature_mced import Pieces, write_pieces

from core_models.features.voice.emotion_posteriors import HEADS
from train.__main__ import main
from train.corpora.folder import read_folder
from train.extraction.extract import extract
from train.extraction.extractors import open_extractor
from train.extraction.out_of_fold import find_out_of_fold, read_out_of_fold
from train.media.speech_trimming import cut_to_speech
from train.media.utterance_audio import sound_key
from train.recipes.voice.augmentation import augmented, generator, noise_at_snr, reverberate, telephone_band
from train.recipes.voice.clips import VoiceHeadFrames

pytestmark = pytest.mark.weights


@dataclass(frozen=True)
class Run:
    pieces: Pieces
    out: Path
    options: list[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A voice that has learned six speakers in three folds, for a few seconds."""
    root = tmp_path_factory.mktemp("voice")
    with pytest.MonkeyPatch.context() as patch:
        pieces = write_pieces(root, patch)
    options = [f"--corpus.root={pieces.pairs}", "--corpus.corpus=folder", f"--out={root / 'out' / 'mini-voice'}"]
    options += [f"--run={root / 'run'}", f"--store={pieces.store}", f"--json={root / 'scores.json'}", "--folds=3"]
    options += ["--whisper=whisper-tiny.en", "--copies=1", "--members=1", "--schedule.epochs=8", "--schedule.average=2"]
    options += ["--corpus.labels=meld7", "--schedule.batch=4", "--head.width=12", "--head.prosody-width=4"]
    assert main(["voice", *options]) == 0
    return Run(pieces, root / "out" / "mini-voice", options)


def test_folds_are_told_apart(run: Run) -> None:
    """Each fold tests two of the six speakers, on whole clips and on their speech, and both files hold the mean."""
    for name, cut in (("scores.json", "clip"), ("scores_speech.json", "speech")):
        found = json.loads((run.out.parents[1] / name).read_text())
        assert [one["n"] for one in found["runs"]] == [8, 8, 8]
        assert {one["cut"] for one in found["runs"]} == {cut}
        assert found["accuracy"] == pytest.approx(np.mean([one["accuracy"] for one in found["runs"]]), abs=1e-3)
        assert found["accuracy"] > 0.5  # pitch gives the emotion away; chance is a third


def test_clips_it_was_trained_on_are_answered_by_heads_that_were_not(run: Run) -> None:
    """Extraction gives the folds' answers for every clip and its speech, and the head's own for any other sound."""
    extractor = open_extractor("voice", str(run.out))
    answers = read_out_of_fold(run.out)
    corpus = read_folder(run.pieces.pairs)
    head, frames = HEADS.find(run.out), VoiceHeadFrames("whisper-tiny.en", 1)
    for part in (corpus, cut_to_speech(corpus)):
        vectors = extract(part, extractor, run.pieces.store).vectors
        for line in part.utterances():
            unseen = find_out_of_fold(answers, sound_key(line) or "")
            assert unseen is not None
            assert np.array_equal(vectors[line.id], unseen)
    sounds = sorted(run.pieces.pairs.glob("*.wav"))
    own = []
    for path in sounds:
        samples, rate = soundfile.read(path, dtype="float32")
        new = run.pieces.pairs.parent / f"new{path.name}"
        soundfile.write(new, 0.9 * samples, rate)
        heard = torch.from_numpy(frames(soundfile.read(new, dtype="float32")[0]))[None]
        own.append(head.model(heard, torch.tensor([heard.shape[1]]))[0].numpy())
    table = run.pieces.pairs.parent / "new.csv"
    rows = [f"new{path.name},,,someone,joy,what" for path in sounds]
    table.write_text("\n".join(["path,start,end,speaker,label,text", *rows]))
    new_lines = read_folder(table)
    vectors = extract(new_lines, extractor, run.pieces.store).vectors
    for line, expected in zip(new_lines.utterances(), own, strict=True):
        assert vectors[line.id] == pytest.approx(expected, abs=1e-4)


def test_a_voice_is_evaluated_by_itself(run: Run, tmp_path: Path) -> None:
    """`train eval` takes a voice as it takes a dialogue model; clips that it learned from count as its folds said."""
    found = tmp_path / "found.json"
    corpus = ["--corpus=folder", f"--root={run.pieces.pairs}", "--labels=meld7", f"--store={run.pieces.store}"]
    assert main(["eval", f"--checkpoint={run.out}", *corpus, f"--json={found}"]) == 0
    result, folds = (json.loads(path.read_text()) for path in (found, run.out.parents[1] / "scores.json"))
    assert (result["n"], result["modalities_used"]) == (24, ["voice"])
    assert result["accuracy"] == pytest.approx(folds["accuracy"], abs=1e-3)


def test_a_run_goes_on_from_the_networks_that_are_finished(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Where one network of four is lost, that one alone is trained again, and the head comes out the same."""
    before = HEADS.find(run.out).digest
    networks = sorted((run.out.parents[1] / "run").glob("*.safetensors"))
    assert len(networks) == 4
    kept = {path: path.stat().st_mtime_ns for path in networks[1:]}
    networks[0].unlink()
    assert main(["voice", *run.options]) == 0
    assert networks[0].exists()
    assert {path: path.stat().st_mtime_ns for path in networks[1:]} == kept
    assert HEADS.find(run.out).digest == before
    assert capsys.readouterr().err.count("network 1 of 1") == 1


def test_too_few_people_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Six people cannot be dealt out to seven folds."""
    assert main(["voice", *run.options, "--folds=7"]) == 2
    assert "6 people cannot be dealt out to 7 folds" in " ".join(capsys.readouterr().err.split())


def test_a_copy_is_the_same_every_time_and_another_for_every_number() -> None:
    """Copies come from the clip's digest and their number alone, are finite, and stay below full scale."""
    sound = np.random.default_rng(0).normal(0, 0.2, 16_000).astype(np.float32)
    copies = [augmented(sound, generator("ab", number)) for number in (2, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert np.array_equal(copies[0], copies[1])
    assert all(not np.array_equal(copies[0][:9000], other[:9000]) for other in copies[2:])
    assert all(np.isfinite(copy).all() and np.abs(copy).max() <= 1 for copy in copies)
    assert {0.9 < len(copy) / len(sound) < 1.12 for copy in copies} == {True}


def test_noise_room_and_telephone_are_as_strong_as_said() -> None:
    """Noise keeps its ratio, a room's echo falls 60 dB in its time, and a telephone passes its band alone."""
    t = np.arange(32_000) / 16_000
    sound = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    for seed in range(6):
        noise = noise_at_snr(sound, 20.0, np.random.default_rng(seed))
        assert 10 * np.log10(np.square(sound).mean() / np.square(noise).mean()) == pytest.approx(20, abs=0.01)
    click = np.zeros(16_000, np.float32)
    click[0] = 1.0
    echo = reverberate(click, 0.4, np.random.default_rng(0))
    early, late = (np.square(echo[at : at + 800]).mean() for at in (800, 4000))
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=3)  # 0.2 s, half of the time
    gains = []
    for hertz in (50, 1000, 7000):
        tone = np.sin(2 * np.pi * hertz * t).astype(np.float32)
        gains.append(np.square(telephone_band(tone)).mean() / np.square(tone).mean())
    assert gains[1] == pytest.approx(1, abs=0.02)
    assert max(gains[0], gains[2]) < 0.01
