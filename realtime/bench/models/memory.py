"""`python -m realtime.bench memory`: what the process holds once everything is loaded."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import psutil

from realtime.bench.workloads.speech_clips import wrap_clip
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import load_models
from realtime.sources.media import SAMPLE_RATE

# -34 dBFS of noise: loud enough for every stage to run on it.
_NOISE = 0.02


def memory(
    checkpoint: str = "default", threads: int = 2, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> dict[str, Any]:
    """Resident memory after everything is loaded and one utterance has been judged.

    Args:
        checkpoint: name or folder; it decides which models are loaded
        threads: CPU threads of Whisper
        device: auto, cpu or cuda
    """
    process = psutil.Process()
    before = process.memory_info().rss
    models = load_models(checkpoint, device=device, threads=threads)
    extractor = FeatureExtractor(models.transcriber("en"), models.voice, models.text, models.face)
    noise = _NOISE * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE, dtype=np.float32)
    extractor(wrap_clip(noise.astype(np.float32)), None)
    return {
        "benchmark": "memory",
        "checkpoint": models.checkpoint.name,
        "whisper": models.whisper.name,
        "imported_mib": before / 2**20,
        "resident_mib": process.memory_info().rss / 2**20,
    }
