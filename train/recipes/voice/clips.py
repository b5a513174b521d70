"""Training clips of the voice head: whole, trimmed to speech, and augmented copies; their frames in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from core_models.assets import model_folder
from core_models.errors import MediaError, UsageError
from core_models.features.audio.whisper import Whisper
from core_models.features.voice.emotion_posteriors import head_frames, voice_head_frames_spec
from core_models.features.voice.mced_embedding import encoder_frames_spec
from train.corpora.dialogues import Corpus, Utterance
from train.corpora.splits import person_of
from train.extraction.frame_store import FrameStore
from train.media.content_digest import digest_of
from train.media.speech_trimming import cut_to_speech
from train.media.utterance_audio import read_sound, sound_key
from train.recipes.voice.augmentation import VERSION, augmented, generator

Frames = NDArray[np.float16]


class VoiceHeadFrames:
    """Samples to the voice head's input frames, by the live code."""

    rate = 25

    def __init__(self, whisper: str, threads: int) -> None:
        self.whisper = Whisper(model_folder(whisper), threads=threads)
        self.spec = voice_head_frames_spec(encoder_frames_spec(self.whisper))

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return head_frames(self.whisper.encode_windowed(samples))


@dataclass(frozen=True)
class AugmentedClip:
    """A clip in all its copies: `frames[0]` the whole clip, `frames[1]` its speech, then the augmented ones."""

    id: str
    person: str
    label: int
    keys: tuple[str, str]
    """Content digests of the clip and of its speech, as `train fit` looks for them."""
    frames: tuple[Frames, ...]
    """float16 [T, d] each."""


def prepare_clips(
    corpus: Corpus, copies: int, frames: VoiceHeadFrames, store: FrameStore, console: Console
) -> list[AugmentedClip]:
    """Every labelled line of `corpus` that has sound, with `copies` augmented copies.

    Sound that cannot be read or is longer than the frames allow is named and left out. Raises DiskError.
    """
    found = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    pairs = [
        (person_of(corpus, dialogue, line), line, cut)
        for dialogue, other in zip(corpus.dialogues, cut_to_speech(corpus).dialogues, strict=True)
        for line, cut in zip(dialogue.utterances, other.utterances, strict=True)
    ]
    try:
        with Progress(*columns, console=console) as progress:
            for who, line, cut in progress.track(pairs, description=f"{corpus.name} frames"):
                if line.label is None or line.audio is None:
                    continue
                try:
                    keys = [_store_key(one) for one in (line, cut)]
                    names = [*keys, *(digest_of("copy", str(VERSION), str(n), keys[0]) for n in range(2, 2 + copies))]
                    for number, name in enumerate(names):
                        if name not in store:
                            store.put(name, frames(_load_copy(line, cut, keys[0], number)))
                except (MediaError, UsageError) as error:
                    console.print(f"skipped: {error}", highlight=False, markup=False)
                    continue
                kept = tuple(store[name].astype(np.float16) for name in names)
                found.append(AugmentedClip(line.id, who, corpus.labels.index(line.label), (keys[0], keys[1]), kept))
    finally:
        store.flush()
    return found


def _load_copy(line: Utterance, cut: Utterance, key: str, number: int) -> NDArray[np.float32]:
    """The samples of copy `number`; augmented ones are made of the speech twice as often as of the whole clip."""
    if number < 2:
        return read_sound(cut if number else line)
    return augmented(read_sound(line if number % 3 == 2 else cut), generator(key, number))


def _store_key(line: Utterance) -> str:
    key = sound_key(line)
    assert key is not None
    return key


def statistics(clips: Iterable[AugmentedClip]) -> tuple[Tensor, Tensor]:
    """(mean, deviation), float32 [d] each, of the frames of whole clips and of their speech."""
    every = np.concatenate([one for clip in clips for one in clip.frames[:2]]).astype(np.float32)
    return torch.from_numpy(every.mean(axis=0)), torch.from_numpy(every.std(axis=0))


def batch(frames: Sequence[Frames]) -> tuple[Tensor, Tensor]:
    """(float32 [B, T, d], int64 [B]): frames padded with zeros, and how many are real."""
    lengths = torch.tensor([len(one) for one in frames])
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in frames], batch_first=True)
    return padded.float(), lengths


def by_people(clips: Sequence[AugmentedClip], count: int) -> list[set[str]]:
    """The people of `clips` dealt out to `count` folds in their order. Raises UsageError where they do not suffice."""
    people = sorted({clip.person for clip in clips}, key=_sort_key_of)
    if not 2 <= count <= len(people):
        raise UsageError(f"{len(people)} people cannot be dealt out to {count} folds: set folds between 2 and that.")
    return [set(people[number::count]) for number in range(count)]


def _sort_key_of(name: str) -> tuple[int, str]:
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits or 0), name
