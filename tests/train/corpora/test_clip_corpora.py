"""Corpora of single clips: labels from names, stills from archives, a sentence for what is not theirs."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from support.miniature_corpora import write_ravdess

from core_models.errors import MediaError, UsageError
from train.corpora.fer2013 import bordered_views, read_fer2013, read_still
from train.corpora.ravdess import read_ravdess
from train.corpora.registry import CorpusConfig, read_corpus
from train.media.speech_trimming import cut_to_speech
from train.media.utterance_audio import read_sound


def write_stills(folder: Path) -> Path:
    """Three grey gradients of each of two emotions."""
    for name in ("happy", "angry"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(3):
            picture = np.add.outer(np.arange(48), np.full(48, 10 * number)).astype(np.uint8)
            cv2.imwrite(str(folder / "train" / name / f"{number}.png"), picture)
    return folder


def test_ravdess_names_say_who_feels_what(tmp_path: Path) -> None:
    """Emotion, words and actor come from the name; calm is neutral, fearful is fear; songs are passed over."""
    write_ravdess(tmp_path, actors=(1, 12))
    song = tmp_path / "Actor_01" / "03-02-06-01-01-01-01.wav"
    song.write_bytes((tmp_path / "Actor_01" / "03-01-06-01-01-01-01.wav").read_bytes())
    corpus = read_ravdess(tmp_path)
    labels = Counter((d.group, d.utterances[0].label) for d in corpus.dialogues)
    expected = {"neutral": 2, "joy": 1, "sadness": 1, "anger": 1, "fear": 1, "disgust": 1, "surprise": 1}
    assert labels == {(actor, label): n for actor in ("01", "12") for label, n in expected.items()}
    by_id = {line.id: line for line in corpus.utterances()}
    assert by_id["03-01-06-01-01-01-12"].label == "fear"
    assert by_id["03-01-06-01-01-01-12"].text == "Kids are talking by the door."
    assert corpus.label_map.startswith("ravdess8->meld7: calm as neutral")


def test_ravdess_actors_can_be_chosen(tmp_path: Path) -> None:
    """A subset holds the clips of its actors and of nobody else; a malformed one is refused."""
    write_ravdess(tmp_path, actors=(1, 2, 5))
    corpus = read_corpus(CorpusConfig(corpus="ravdess", root=tmp_path, subset="actors=2,5"))
    assert {dialogue.group for dialogue in corpus.dialogues} == {"02", "05"}
    with pytest.raises(UsageError, match="actors=5,10"):
        read_corpus(CorpusConfig(corpus="ravdess", root=tmp_path, subset="women"))


def test_fer2013_is_the_same_in_a_folder_and_in_a_tar(tmp_path: Path) -> None:
    """Stills of a tar are read in place, with the labels, ids and pixels that the folder gives."""
    folder = write_stills(tmp_path / "fer")
    with tarfile.open(tmp_path / "fer2013_train.tar", "w") as tar:
        tar.add(folder / "train", "train")
    loose, archived = read_fer2013(folder, "train"), read_fer2013(tmp_path, "train")
    assert [(x.id, x.label) for x in loose.utterances()] == [(x.id, x.label) for x in archived.utterances()]
    assert {line.label for line in loose.utterances()} == {"joy", "anger"}
    for one, other in zip(loose.utterances(), archived.utterances(), strict=True):
        np.testing.assert_array_equal(read_still(one.image), read_still(other.image))


def test_fer2013_limit_draws_alike_from_every_class(tmp_path: Path) -> None:
    """A limit keeps that many of each emotion, the same ones each time."""
    folder = write_stills(tmp_path)
    few = read_fer2013(folder, "train", limit_per_class=2)
    assert Counter(line.label for line in few.utterances()) == {"joy": 2, "anger": 2}
    assert few == read_fer2013(folder, "train", limit_per_class=2)


def test_still_is_enlarged_and_looked_at_in_several_frames(tmp_path: Path) -> None:
    """A still of 48 pixels is shown as 256; each look has it whole, in the middle of a border that may be black."""
    write_stills(tmp_path)
    picture = read_still(tmp_path / "train" / "happy" / "1.png")
    assert (picture.shape, picture.dtype) == ((256, 256, 3), np.uint8)
    seen = list(bordered_views(picture))
    assert len({(border, int(framed[0, 0, 0])) for framed, border in seen}) == len(seen) > 1
    for framed, border in seen:
        np.testing.assert_array_equal(framed[border : border + 256, border : border + 256], picture)


def test_copies_of_a_still_are_never_on_both_sides(tmp_path: Path) -> None:
    """Seen and unseen stills make up all, a fifth or so is unseen, and a copy under another name goes with its twin."""
    folder = tmp_path / "train" / "sad"
    folder.mkdir(parents=True)
    for number in range(120):
        picture = np.random.default_rng(number % 60).integers(0, 255, (48, 48), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    parts = {
        name: {line.id for line in read_fer2013(tmp_path, "train", stills=name).utterances()}
        for name in ("seen", "unseen")
    }
    assert not parts["seen"] & parts["unseen"]
    assert len(parts["seen"] | parts["unseen"]) == 120
    assert 6 <= len(parts["unseen"]) <= 48
    numbers = {int(Path(identity).stem) for identity in parts["unseen"]}
    assert {(number + 60) % 120 for number in numbers} == numbers


@pytest.mark.parametrize("read", [read_ravdess, lambda root: read_fer2013(root, "train")])
def test_folder_without_the_corpus_is_one_sentence(tmp_path: Path, read: object) -> None:
    """A folder that holds something else is refused by a sentence that says what was expected."""
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="expected"):
        read(tmp_path)  # type: ignore[operator]


def test_broken_files_are_media_errors(tmp_path: Path) -> None:
    """A picture or a sound that cannot be decoded raises MediaError with its path."""
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"x\.png"):
        read_still(tmp_path / "x.png")
    write_ravdess(tmp_path, actors=(1,))
    line = next(read_ravdess(tmp_path).utterances())
    line.audio.write_bytes(b"no sound")
    with pytest.raises(MediaError, match="03-01-01"):
        read_sound(line)


def test_sound_is_mono_at_16_khz(tmp_path: Path) -> None:
    """Whatever the file's rate and channels, a second of it is 16,000 samples in the middle of the channels."""
    write_ravdess(tmp_path, actors=(1,))
    line = next(read_ravdess(tmp_path).utterances())
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    soundfile.write(line.audio, np.stack([tone, np.zeros_like(tone)], axis=1), 48_000)
    samples = read_sound(line)
    assert samples.shape == (16_000,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(samples - expected)[1000:-1000].max() < 1e-3


def test_clip_is_cut_to_its_speech(tmp_path: Path, librivox: list[tuple[str, np.ndarray]]) -> None:
    """Two seconds of silence on either side are cut down to the live run's pre-roll and post-roll."""
    write_ravdess(tmp_path, actors=(1,))
    corpus = read_ravdess(tmp_path)
    speech = librivox[0][1]
    silence = np.zeros(32_000, np.float32)
    soundfile.write(next(corpus.utterances()).audio, np.concatenate([silence, speech, silence]), 16_000)
    line = next(cut_to_speech(corpus).utterances())
    assert line.id.endswith("/speech")
    assert 1_500 <= line.audio_span[0] <= 2_500
    assert abs(len(read_sound(line)) - len(speech)) < 16_000
