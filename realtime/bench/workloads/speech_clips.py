"""Recorded speech for the benchmarks: clips found in folders, and conversations of known turns assembled of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError
from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE
from realtime.sources.recording.file import read_audio

Samples = NDArray[np.float32]

# Of recordings that are looked for in folders.
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
# Standard deviation of a quiet room's noise, -72 dBFS: digital silence would be easier than any microphone.
ROOM_LEVEL = 2.5e-4
# Silence before the first turn: long enough to measure what waiting for speech costs.
LEADING_SILENCE_S = 20
# Utterances of a call; longer ones are cut, which is another question.
_SHORTEST_S, _LONGEST_S = 1, 10
# Speech falls so far below its loud parts and is still speech; breath and room are below.
_LOUD_DB = 25
# Prompts come with recordings of silence, which are digital or dithered.
_SILENT_DB = -60
_PER_S = 1000 / SAMPLE_RATE  # milliseconds a sample
_FRAME = SAMPLE_RATE // 100  # 10 ms
# The default of a live run, at which an utterance made of a clip says that it was decided.
_HANGOVER_MS = 400


@dataclass(frozen=True)
class Turn:
    """What is said from `start_ms` to `end_ms` of the conversation, without a pause that was put there."""

    start_ms: float
    end_ms: float


def find_speech_clips(places: list[Path], limit: int) -> list[tuple[Path, Samples]]:
    """Clips of 1 to 10 s found in files and folders, at most `limit`, drawn evenly over their lengths. MediaError.

    Recordings of silence, such as prompts come with, are left out.
    """
    found = []
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.suffix.lower() in SUFFIXES:
                try:
                    samples = read_audio(file)
                except MediaError:
                    continue
                long_enough = _SHORTEST_S <= len(samples) / SAMPLE_RATE <= _LONGEST_S
                if long_enough and np.percentile(_measure_levels(samples), 95) > _SILENT_DB:
                    found.append((file, samples))
    if not found:
        raise MediaError(f"No clip of 1 to 10 s in {', '.join(map(str, places))}: give folders of recorded speech.")
    drawn = []
    for seconds in np.linspace(_SHORTEST_S, _LONGEST_S, min(limit, len(found))):
        nearest = min(range(len(found)), key=lambda i: abs(len(found[i][1]) / SAMPLE_RATE - seconds))
        drawn.append(found.pop(nearest))
    return drawn


def assemble_conversation(clips: list[Samples]) -> tuple[Samples, list[Turn]]:
    """Clips one after another in a quiet room (-72 dBFS), 0.5 to 2 s between them; silence comes first."""
    random = np.random.default_rng(0)
    parts, turns, at = [np.zeros(LEADING_SILENCE_S * SAMPLE_RATE, np.float32)], [], LEADING_SILENCE_S * SAMPLE_RATE
    for clip in clips:
        first, last = find_spoken(clip)
        turns.append(Turn(at * _PER_S, (at + last - first) * _PER_S))
        gap = int(random.uniform(0.5, 2.0) * SAMPLE_RATE)
        parts += [clip[first:last], np.zeros(gap, np.float32)]
        at += last - first + gap
    stream = np.concatenate([*parts, np.zeros(SAMPLE_RATE, np.float32)])
    return (stream + ROOM_LEVEL * random.standard_normal(len(stream))).astype(np.float32), turns


def find_spoken(clip: Samples) -> tuple[int, int]:
    """First and last sample of what is said: 10 ms within 25 dB of the loud ones, two of three in a row."""
    level = _measure_levels(clip)
    loud = np.convolve(level > np.percentile(level, 95) - _LOUD_DB, np.ones(3), "same") >= 2
    at = np.flatnonzero(loud)
    return int(at[0]) * _FRAME, (int(at[-1]) + 1) * _FRAME


def wrap_clip(samples: Samples) -> Utterance:
    """A clip as the segmenter would give it."""
    end_ms = len(samples) * 1000 // SAMPLE_RATE
    return Utterance("clip", 0, end_ms, end_ms + _HANGOVER_MS, samples, 0, False)


def _measure_levels(clip: Samples) -> Samples:
    """Level of each 10 ms, dBFS."""
    frames = clip[: len(clip) // _FRAME * _FRAME].reshape(-1, _FRAME)
    levels: Samples = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return levels
