"""`python -m realtime.bench restraint`: how often a strong emotion is reported where there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.errors import MediaError
from realtime.bench.workloads.audio_player import AudioPlayer
from realtime.bench.workloads.speech_clips import ROOM_LEVEL, SUFFIXES
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels, load_models
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.media import SAMPLE_RATE
from realtime.sources.recording.file import read_audio

# Longer than any hangover, so that no utterance runs from one recording into the next.
_GAP_S = 1.0
_NOISE = 0.02  # -34 dBFS, a loud fan


def restraint(
    sounds: list[Path],
    checkpoint: str = "default",
    strong: float = 0.6,
    minutes: float = 60,
    noise_minutes: float = 10,
    threads: int = 2,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, Any]:
    """Strong emotions reported in an hour of sound that holds none: neutral speech, music, noise and silence.

    Strong is a final that is not neutral, with a confidence of at least `strong`. Every folder is a session of its
    own; white noise, pink noise and silence are made here.

    Args:
        sounds: folders (or files) of speech without feeling, or of music, each measured by itself
        checkpoint: name or folder
        strong: least confidence of a strong emotion
        minutes: at most so much of each folder
        noise_minutes: so much of each kind of noise, and of silence
        threads: CPU threads of Whisper
        device: auto, cpu or cuda
    """
    torch.set_num_threads(1)
    recordings = {place: _find_recordings(place) for place in sounds}
    models = load_models(checkpoint, device=device, threads=threads)
    found = {
        str(place): _count_strong(models, _read_recordings(files, minutes), strong)
        for place, files in recordings.items()
    }
    if noise_minutes > 0:
        for kind in ("white noise", "pink noise", "silence"):
            found[kind] = _count_strong(models, _make_noise(kind, noise_minutes), strong)
    speech = [one for place, one in found.items() if place not in ("white noise", "pink noise", "silence")]
    hours = sum(one["hours"] for one in speech)
    return {
        "benchmark": "restraint",
        "checkpoint": models.checkpoint.name,
        "strong_from": strong,
        "hours_of_recordings": hours,
        "strong_per_hour_of_recordings": sum(one["strong"] for one in speech) / hours if hours else 0.0,
        "sounds": found,
    }


def _count_strong(models: LoadedModels, sounds: Iterator[NDArray[np.float32]], strong: float) -> dict[str, Any]:
    told: list[events.EmotionFinal] = []
    files = AudioPlayer(_add_room_noise(sounds), pace=False)
    session = Session(
        [files],
        FeatureExtractor(models.transcriber("en"), models.voice, models.text, None),
        Tracker(models.checkpoint),
        lambda event: told.append(event) if isinstance(event, events.EmotionFinal) else None,
        endpointing=Endpointing(),
        speakers={files.name: "speaker"},
        camera_speaker=None,
        lossless=True,
        provisional=Provisional(every_ms=0),
    )
    summary = session.run()
    hours = files.samples / SAMPLE_RATE / 3600
    strongly = Counter(final.emotion for final in told if final.emotion != "neutral" and final.confidence >= strong)
    spoken_ms = sum(final.end_ms - final.start_ms for final in told)
    return {
        "hours": hours,
        "hours_judged": spoken_ms / 3.6e6,
        "finals": len(told),
        "discarded": summary.discarded,
        "neutral": sum(final.emotion == "neutral" for final in told) / max(1, len(told)),
        "uncertain": sum(final.uncertain for final in told) / max(1, len(told)),
        "strong": strongly.total(),
        "strong_per_hour": strongly.total() / hours if hours else 0.0,
        "strong_by_emotion": dict(strongly.most_common()),
    }


def _find_recordings(place: Path) -> list[Path]:
    found = [place] if place.is_file() else [f for f in sorted(place.rglob("*")) if f.suffix.lower() in SUFFIXES]
    if not found:
        raise MediaError(f"{place} holds no recording: give folders that do ({', '.join(SUFFIXES)}).")
    return found


def _read_recordings(files: list[Path], minutes: float) -> Iterator[NDArray[np.float32]]:
    left = minutes * 60
    for file in files:
        try:
            sound = read_audio(file)
        except MediaError:
            continue
        yield sound
        left -= len(sound) / SAMPLE_RATE + _GAP_S
        if left <= 0:
            return


def _add_room_noise(sounds: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Each with a second of a quiet room behind it."""
    random = np.random.default_rng(0)
    for sound in sounds:
        padded = np.concatenate([sound, np.zeros(int(_GAP_S * SAMPLE_RATE), np.float32)])
        yield (padded + ROOM_LEVEL * random.standard_normal(len(padded))).astype(np.float32)


def _make_noise(kind: str, minutes: float) -> Iterator[NDArray[np.float32]]:
    random = np.random.default_rng(1)
    for _ in range(round(minutes * 2)):  # half a minute at a time
        white = random.standard_normal(30 * SAMPLE_RATE)
        if kind == "pink noise":
            spectrum = np.fft.rfft(white)
            white = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(white))
            white /= white.std()
        yield (white * (0.0 if kind == "silence" else _NOISE)).astype(np.float32)
