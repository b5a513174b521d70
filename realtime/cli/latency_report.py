"""What the stages of the pipeline declare of their waiting, beside the work that is measured on a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import load_models
from realtime.pipeline.session import Session
from realtime.pipeline.stage_latency import StageLatency, total_wait_ms
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.recording.file import FileSource


def measure_latency(checkpoint: str, recording: Path) -> tuple[tuple[StageLatency, ...], list[events.Latency]]:
    """Run a session on a recording as fast as it goes: its stages, and the latency of each final. TrackerError."""
    models = load_models(checkpoint)
    source = FileSource(recording, pace="fast")
    appended: list[events.Logged] = []
    session = Session(
        [source],
        FeatureExtractor(models.transcriber("en"), models.voice, models.text, None),
        Tracker(models.checkpoint),
        appended.append,
        endpointing=Endpointing(),
        speakers={source.name: "speaker"},
        camera_speaker=None,
        lossless=True,
        real_time=False,
        speculate=False,
    )
    session.run()
    if session.failure is not None:
        raise session.failure
    return session.stages, [event.latency_ms for event in appended if isinstance(event, events.EmotionFinal)]


def describe_latency(stages: Sequence[StageLatency], latencies: Sequence[events.Latency]) -> str:
    """One line for each stage, and the sum of the declared waits beside the median of the measured work."""
    lines = [
        f"{stage.stage}: waits {_format_span(stage.wait_ms, stage.most_wait_ms)} for {stage.waits_for}; "
        f"its queue holds at most {stage.queue_bound} {stage.queue}"
        for stage in stages
    ]
    always, most = total_wait_ms(stages)
    total = f"The stages wait {_format_span(always, most)} after the last word"
    if latencies:
        work_ms = float(np.median([one.total - one.endpoint for one in latencies]))
        total += (
            f"; the work took {work_ms:.0f} ms (median of {len(latencies)} utterances), "
            f"so a result comes about {always + work_ms:.0f} ms after it"
        )
    return "\n".join([*lines, f"{total}."])


def _format_span(always: int, most: int) -> str:
    return f"{always} ms" if always == most else f"{always} to {most} ms"
