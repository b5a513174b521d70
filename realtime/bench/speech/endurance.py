"""`python -m realtime.bench endurance`: a call of hours, and what it does to memory, lag and hearing."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from realtime.bench.measurement import summarize_spread
from realtime.bench.workloads.audio_player import AudioPlayer
from realtime.bench.workloads.speech_clips import (
    ROOM_LEVEL,
    Samples,
    Turn,
    assemble_conversation,
    find_speech_clips,
)
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import load_models
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.media import SAMPLE_RATE

_SETTLED_S = 600  # caches and heaps grow at first
# Utterances that a virtual clock may run ahead of what is judged.
_AHEAD = 4
_PER_S = 1000 / SAMPLE_RATE


def endurance(
    clips: list[Path],
    checkpoint: str = "default",
    hours: float = 1.0,
    paced: bool = True,
    pause_s: float = 0.0,
    threads: int = 2,
    limit: int = 40,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, Any]:
    """Memory growth, lag, and the recall of voice activity in the first and the last minute of a long call.

    The same conversation of real clips is played again and again, with the journal on disk as in a call. Memory is
    the process's resident set, by a straight line through its samples after the first ten minutes.

    Args:
        clips: folders or files of real speech; of a folder every clip of 1 to 10 s is taken
        checkpoint: name or folder
        hours: length of the call, in media time
        paced: in real time; otherwise on a virtual clock, as fast as the machine can
        pause_s: silence after each round of the conversation, so that not everybody talks all the time
        threads: CPU threads of Whisper
        limit: at most so many clips, drawn evenly over the lengths found
        device: auto, cpu or cuda
    """
    torch.set_num_threads(1)
    stream, turns = assemble_conversation([samples for _, samples in find_speech_clips(clips, limit)])
    silence = np.zeros(int(pause_s * SAMPLE_RATE), np.float32)
    rounds = max(1, round(hours * 3600 * SAMPLE_RATE / (len(stream) + len(silence))))
    models = load_models(checkpoint, device=device, threads=threads)
    extractor = FeatureExtractor(models.transcriber("en"), models.voice, models.text, None)
    extractor.transcribe(stream[: 2 * SAMPLE_RATE])
    source = AudioPlayer(_repeat_rounds(stream, silence, rounds), pace=paced)
    memory = _Memory(source)
    ends: list[tuple[float, float]] = []

    def watch_event(event: events.Logged) -> None:
        memory.measure_now()
        if isinstance(event, events.EmotionFinal | events.UtteranceDiscarded):
            ends.append((event.start_ms, event.end_ms))

    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "call.jsonl")
        publisher = EventPublisher("endurance", journal=journal, views=[watch_event])
        session = Session(
            [source],
            extractor,
            Tracker(models.checkpoint),
            publisher.append,
            endpointing=Endpointing(),
            speakers={source.name: "speaker"},
            camera_speaker=None,
            lossless=not paced,
            real_time=paced,
            provisional=Provisional() if paced else Provisional(every_ms=0),
        )
        outstanding = session.queues["utterances"][0]
        source.behind = lambda: outstanding() > _AHEAD
        summary = session.run()
    media_ms = source.samples * _PER_S
    round_ms = (len(stream) + len(silence)) * _PER_S
    spoken = [Turn(t.start_ms + n * round_ms, t.end_ms + n * round_ms) for n in sorted({0, rounds - 1}) for t in turns]
    first = min(t.start_ms for t in turns)
    last = max(t.end_ms for t in spoken)
    return {
        "benchmark": "endurance",
        "checkpoint": models.checkpoint.name,
        "paced": paced,
        "hours": media_ms / 3.6e6,
        "wall_hours": (time.monotonic() - begun) / 3600,
        "finals": summary.utterances,
        "discarded": summary.discarded,
        "shed": dict(summary.lost),
        "endpoint_to_final_ms": summarize_spread(summary.latencies_ms),
        "resident_mib": memory.latest / 2**20,
        "growth_mib_per_hour": memory.growth_per_hour() / 2**20,
        "recall_first_minute": measure_recall(spoken, ends, first, first + 60_000),
        "recall_last_minute": measure_recall(spoken, ends, last - 60_000, last),
    }


def measure_recall(turns: list[Turn], heard: list[tuple[float, float]], from_ms: float, to_ms: float) -> float:
    """Share of what is said between `from_ms` and `to_ms` that lies in an utterance; nan where nothing is said."""
    said = covered = 0.0
    for turn in turns:
        start, end = max(turn.start_ms, from_ms), min(turn.end_ms, to_ms)
        if end > start:
            said += end - start
            covered += sum(max(0.0, min(end, b) - max(start, a)) for a, b in heard)
    return covered / said if said else float("nan")


class _Memory:
    """Resident bytes over media time, looked at a few times a minute of it."""

    def __init__(self, source: AudioPlayer) -> None:
        self.latest = 0
        self._source, self._process = source, psutil.Process()
        self._samples: list[tuple[float, int]] = []

    def measure_now(self) -> None:
        at = self._source.samples / SAMPLE_RATE
        if self._samples and at < self._samples[-1][0] + 15:
            return
        gc.collect()
        self.latest = self._process.memory_info().rss
        self._samples.append((at, self.latest))

    def growth_per_hour(self) -> float:
        """Bytes an hour of media time; nan without two samples after the first ten minutes."""
        settled = [(at, used) for at, used in self._samples if at >= _SETTLED_S]
        if len(settled) < 2:
            return float("nan")
        hours, used = np.array(settled, np.float64).T
        slope: NDArray[np.float64] = np.polyfit(hours / 3600, used, 1)
        return float(slope[0])


def _repeat_rounds(stream: Samples, silence: Samples, rounds: int) -> Iterator[Samples]:
    random = np.random.default_rng(1)
    for _ in range(rounds):
        for start in range(0, len(stream), SAMPLE_RATE * 30):
            yield stream[start : start + SAMPLE_RATE * 30]
        for start in range(0, len(silence), SAMPLE_RATE * 30):
            piece = silence[start : start + SAMPLE_RATE * 30]
            yield (ROOM_LEVEL * random.standard_normal(len(piece))).astype(np.float32)
