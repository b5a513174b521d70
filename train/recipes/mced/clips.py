"""Utterances of corpora as a student's training clips: their frames in the store, their words, their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from core_models.errors import MediaError, UsageError
from train.corpora.dialogues import Corpus, Utterance
from train.extraction.frame_extractors import Frames
from train.extraction.frame_store import FrameStore
from train.media.utterance_audio import read_sound, sound_key


@dataclass(frozen=True)
class Clip:
    """A line that has sound."""

    line: Utterance
    key: str
    """Its frames in the store."""
    length: int
    """Frames."""
    seconds: float


@dataclass
class Clips:
    """The clips of a corpus, and what became of its other lines."""

    store: FrameStore
    clips: list[Clip]
    without: int = 0
    """Lines without sound on disk."""
    broken: dict[str, str] = field(default_factory=dict)
    """Utterance id -> what is wrong with its sound."""

    def batch(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """(float32 [B, T, d], int64 [B]): frames padded with zeros, and how many are real."""
        lengths = torch.tensor([clip.length for clip in clips])
        frames = torch.zeros(len(clips), int(lengths.max()), self.store.spec.dimension)
        for row, clip in enumerate(clips):
            frames[row, : clip.length] = torch.from_numpy(self.store[clip.key])
        return frames, lengths


def clips_of(corpus: Corpus, frames: Frames, store: FrameStore, console: Console) -> Clips:
    """Every line of `corpus` that has sound, its frames computed where the store has none yet.

    Sound that cannot be read or is longer than the frames allow is named, counted and left out. Raises DiskError.
    """
    found = Clips(store, [])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            for line in progress.track(list(corpus.utterances()), description=f"{corpus.name} frames"):
                try:
                    key = sound_key(line)
                    if key is None:
                        found.without += 1
                        continue
                    if key not in store:
                        store.put(key, frames(read_sound(line)))
                except (MediaError, UsageError) as error:
                    found.broken[line.id] = str(error)
                    console.print(f"skipped: {error}", highlight=False, markup=False)
                    continue
                length = store.length(key)
                found.clips.append(Clip(line, key, length, length / frames.rate))
    finally:
        store.flush()
    return found


def statistics(clips: Clips) -> tuple[Tensor, Tensor]:
    """(mean, deviation), float32 [d] each, of the frames of all clips together."""
    count, total, squares = 0, np.zeros(clips.store.spec.dimension), np.zeros(clips.store.spec.dimension)
    for frames in _frames_of(clips):
        count, total = count + len(frames), total + frames.sum(axis=0)
    mean = total / count
    # A second pass: the squares of large numbers would swallow their differences.
    for frames in _frames_of(clips):
        squares += np.square(frames - mean).sum(axis=0)
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(squares / count)).float()


def _frames_of(clips: Clips) -> Iterable[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return (clips.store[clip.key].astype(np.float64) for clip in clips.clips)
