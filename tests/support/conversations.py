"""Conversations made of clips with known turns, and what the segmenter makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Paused, Resumed, Segment, Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk

Samples = NDArray[np.float32]


MS = SAMPLE_RATE // 1000


def quiet(ms: int, seed: int = 0) -> Samples:
    """A quiet room: noise at -72 dBFS."""
    return (np.random.default_rng(seed).standard_normal(ms * MS) * 2.5e-4).astype(np.float32)


def spoken(clip: Samples) -> tuple[int, int]:
    """First and last sample of what is said: 10 ms frames within 25 dB of the loud ones, two of three in a row."""
    frames = clip[: len(clip) // 160 * 160].reshape(-1, 160)
    level = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    loud = np.convolve(level > np.percentile(level, 95) - 25, np.ones(3), "same") >= 2
    at = np.flatnonzero(loud)
    return int(at[0]) * 160, (int(at[-1]) + 1) * 160


def conversation(clips: list[Samples], gaps_ms: list[int]) -> tuple[Samples, list[tuple[int, int]]]:
    """Clips with silences of `gaps_ms` before each, and (start, end) of what is said in each, in samples."""
    parts: list[Samples] = []
    turns = []
    at = 0
    for number, gap in enumerate(gaps_ms):
        clip = clips[number % len(clips)]
        first, last = spoken(clip)
        parts += [quiet(gap, number), clip[first:last]]
        turns.append((at + gap * MS, at + gap * MS + last - first))
        at = turns[-1][1]
    return np.concatenate([*parts, quiet(1_000)]), turns


def segments(stream: Samples, config: Endpointing | None = None, sizes: list[int] | None = None) -> list[Segment]:
    """The utterances of a stream and their beginnings, arriving in chunks of `sizes` samples, over and over."""
    segmenter = Segmenter("s", config or Endpointing())
    found: list[Segment] = []
    at, turn = 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] if sizes else 1_600
        found += segmenter.feed(AudioChunk("s", at, stream[at : at + size]))
        at, turn = at + size, turn + 1
    return [s for s in found + segmenter.flush() if not isinstance(s, Paused | Resumed)]


def utterances(found: list[Segment]) -> list[Utterance]:
    return [s for s in found if isinstance(s, Utterance)]


def described(found: list[Segment]) -> list[tuple[object, ...]]:
    """Segments as comparable values."""
    return [
        (s.start_ms, s.end_ms, s.decided_ms, s.samples_start, s.cut, s.samples.tobytes())
        if isinstance(s, Utterance)
        else (s,)
        for s in found
    ]
