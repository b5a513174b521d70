"""`python -m realtime.bench perception`: from the end of an utterance to its result, nothing done ahead."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from realtime.bench.measurement import summarize_spread, time_call
from realtime.bench.workloads.speech_clips import find_speech_clips, wrap_clip
from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels, load_models
from realtime.sources.media import SAMPLE_RATE

# The first passes through a network allocate, and neither way should pay for that.
_WARM_UP = 2


def perception(
    clips: list[Path],
    checkpoint: str = "default",
    threads: int = 2,
    limit: int = 60,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, Any]:
    """Endpoint decision to emotion.final, beside the same words through padded `transcribe()`.

    Clip by clip both ways in turn, so that the machine's drift meets both; the first two clips warm up.

    Args:
        clips: folders or files of real speech; of a folder every clip of 1 to 10 s is taken
        checkpoint: name or folder; it decides which Whisper model is loaded
        threads: CPU threads of Whisper, both ways
        limit: at most so many clips, drawn evenly over the lengths found
        device: auto, cpu or cuda
    """
    models = load_models(checkpoint, device=device, threads=threads)
    extractor = FeatureExtractor(models.transcriber("en"), models.voice, models.text, models.face)
    tracker = Tracker(models.checkpoint)
    drawn = find_speech_clips(clips, limit)
    ours: list[dict[str, float]] = []
    padded: list[float] = []
    for number, (_, samples) in enumerate([*drawn[:_WARM_UP], *drawn]):
        utterance = wrap_clip(samples)
        begun = time.perf_counter()
        perception = extractor(utterance, None)
        stepping = time.perf_counter()
        if perception.features:
            tracker.step("speaker", perception.features)
        ended = time.perf_counter()
        parts = {
            "asr": perception.asr_ms,
            "features": perception.features_ms,
            "fusion": (ended - stepping) * 1000,
            "total": (ended - begun) * 1000,
            "discarded": float(perception.discarded is not None),
            "padded_fallback": float(perception.padded_fallback),
        }
        through_transcribe = time_call(partial(_judge_through_transcribe, models, tracker, samples))
        if number >= _WARM_UP:
            ours.append(parts)
            padded.append(through_transcribe)
    seconds = [len(samples) / SAMPLE_RATE for _, samples in drawn]
    return {
        "benchmark": "perception",
        "checkpoint": models.checkpoint.name,
        "whisper": models.whisper.name,
        "threads": threads,
        "clips": len(drawn),
        "clip_seconds": summarize_spread(seconds),
        **{part: summarize_spread([p[part] for p in ours]) for part in ("asr", "features", "fusion")},
        "p50_ms": float(np.percentile([p["total"] for p in ours], 50)),
        "p95_ms": float(np.percentile([p["total"] for p in ours], 95)),
        "discarded": int(sum(p["discarded"] for p in ours)),
        "padded_fallbacks": int(sum(p["padded_fallback"] for p in ours)),
        "transcribe_p50_ms": float(np.percentile(padded, 50)),
        "transcribe_p95_ms": float(np.percentile(padded, 95)),
        "ratio_of_medians": statistics.median(padded) / statistics.median(p["total"] for p in ours),
    }


def _judge_through_transcribe(models: LoadedModels, tracker: Tracker, samples: NDArray[np.float32]) -> None:
    """The words through `transcribe()`; the second encoder pass that a voice feature would cost is not counted."""
    segments, _ = models.whisper.model.transcribe(samples, language="en", beam_size=1)
    words = " ".join(segment.text for segment in segments)
    if models.text is not None:
        tracker.step("speaker", {"text": models.text([words])[0]})
