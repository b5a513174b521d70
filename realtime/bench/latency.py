"""`python -m realtime.bench latency`: a conversation with known turns, in real time, from its sound to its events."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from core_models.checkpoint import WEIGHTS
from core_models.errors import MediaError
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import load_models
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.file import read_audio
from realtime.sources.media import SAMPLE_RATE, AudioChunk
from realtime.sources.source import Sink, SourceStatus

Samples = NDArray[np.float32]

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
_BLOCK = SAMPLE_RATE * 30 // 1000
_SILENCE_S = 20
_LOUD_DB = 25
_SILENT_DB = -60
_PER_S = 1000 / SAMPLE_RATE


@dataclass(frozen=True)
class Turn:
    """What is said from `start_ms` to `end_ms` of the conversation, without a pause that was put there."""

    start_ms: float
    end_ms: float


@dataclass
class _Heard:
    """When each event came, in milliseconds since the conversation began to play."""

    told: list[tuple[float, events.Logged]] = field(default_factory=list)
    begun: float = 0.0

    def __call__(self, event: events.Logged) -> None:
        self.told.append(((time.monotonic() - self.begun) * 1000, event))


class _Player:
    """Plays samples at the pace of real time, as a microphone delivers them."""

    name, kind, detail, has_audio = "player", "player", "an assembled conversation", True

    def __init__(self, samples: Samples, heard: _Heard) -> None:
        self.silent_cpu = 0.0
        self._samples, self._heard = samples, heard
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin to play."""
        self._thread = threading.Thread(target=self._play, args=(sink,), daemon=True)
        self._thread.start()

    def _play(self, sink: Sink) -> None:
        process = psutil.Process()
        before = _cpu(process)
        self._heard.begun = begun = time.monotonic()
        for start in range(0, len(self._samples), _BLOCK):
            block = self._samples[start : start + _BLOCK]
            if self._stopped.wait(max(0.0, begun + (start + len(block)) / SAMPLE_RATE - time.monotonic())):
                break
            sink.audio(AudioChunk(self.name, start, block))
            if start < (_SILENCE_S - 1) * SAMPLE_RATE:
                self.silent_cpu = _cpu(process) - before
        sink.status(SourceStatus(self.name, self.kind, "ended"))

    def stop(self) -> None:
        """Stop playing; idempotent."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()


def latency(
    clips: list[Path],
    checkpoints: tuple[str, ...] = ("default", "default-small"),
    threads: int = 2,
    limit: int = 40,
    hangover_ms: int = 400,
    adaptive: bool = False,
    silero: bool = False,
    provisional: bool = True,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, Any]:
    """End of speech to emotion.final, in real time, over a conversation assembled of real clips with known ends.

    A turn ends with the last 10 ms that are within 25 dB of its loud ones. A false cut ends an utterance
    inside a turn, a missed one runs it over the end of a turn.

    Args:
        clips: folders or files of real speech; of a folder every clip of 1 to 10 s is taken
        checkpoints: models to measure, one after another; of the two that ship, those that are there
        threads: CPU threads of Whisper
        limit: at most so many clips, drawn evenly over the lengths found
        hangover_ms: silence that ends an utterance
        adaptive: whether the hangover follows the words
        silero: whether Silero is asked too
        provisional: whether utterances are judged while they are spoken
        device: auto, cpu or cuda
    """
    torch.set_num_threads(1)
    stream, turns = assemble([samples for _, samples in speech(clips, limit)])
    endpointing = Endpointing(hangover_ms=hangover_ms, adaptive=adaptive, silero=silero)
    looks = Provisional() if provisional else Provisional(every_ms=0)
    there = [name for name in checkpoints if (WEIGHTS / name).is_dir() or Path(name).is_dir()]
    if not there:
        raise MediaError(f"None of {', '.join(checkpoints)} is here: name a checkpoint with --checkpoints.")
    measured = {name: _follow(name, stream, turns, endpointing, looks, threads, device) for name in there}
    return {
        "benchmark": "latency",
        "threads": threads,
        "turns": len(turns),
        "turn_seconds": spread([(turn.end_ms - turn.start_ms) / 1000 for turn in turns]),
        "hangover_ms": hangover_ms,
        "adaptive": adaptive,
        "silero": silero,
        "p50_ms": measured[there[0]]["p50_ms"],
        "p95_ms": measured[there[0]]["p95_ms"],
        "models": measured,
    }


def _follow(
    name: str,
    stream: Samples,
    turns: list[Turn],
    endpointing: Endpointing,
    looks: Provisional,
    threads: int,
    device: str,
) -> dict[str, Any]:
    models = load_models(name, device=device, threads=threads)
    perceiver = FeatureExtractor(models.transcriber("en"), models.voice, models.text, None)
    perceiver.transcribe(stream[: 2 * SAMPLE_RATE])  # the first pass through a network allocates
    heard = _Heard()
    player = _Player(stream, heard)
    session = Session(
        [player],
        perceiver,
        Tracker(models.checkpoint),
        heard,
        endpointing=endpointing,
        speakers={player.name: "speaker"},
        camera_speaker=None,
        lossless=False,
        provisional=looks,
    )
    process = psutil.Process()
    before = _cpu(process)
    summary = session.run()
    silent_s = _SILENCE_S - 1
    speaking_s = len(stream) / SAMPLE_RATE - silent_s
    told = figures(heard.told, turns)
    hours = len(stream) / SAMPLE_RATE / 3600
    return {
        "whisper": models.whisper.name,
        "p50_ms": float(np.percentile(told["final_ms"], 50)),
        "p95_ms": float(np.percentile(told["final_ms"], 95)),
        "finals": summary.utterances,
        "discarded": summary.discarded,
        "share_ready": summary.ready / max(1, summary.utterances),
        "endpoint_to_final_ms": spread(summary.latencies_ms),
        "first_provisional_ms": spread(told["first_ms"]),
        "first_provisional_within_1200_ms": float(np.mean(np.array(told["first_ms"] or [np.inf]) <= 1200)),
        "false_cuts_per_hour": len(told["false_ms"]) / hours,
        "missed_cuts_per_hour": len(told["missed_ms"]) / hours,
        "shed": dict(summary.lost),
        "cpu_of_one_core_in_silence": player.silent_cpu / silent_s,
        "cpu_of_one_core_in_speech": (_cpu(process) - before - player.silent_cpu) / speaking_s,
    }


def figures(told: list[tuple[float, events.Logged]], turns: list[Turn]) -> dict[str, list[float]]:
    """What came when, held against the turns.

    `final_ms`: from the end of each turn to the final that holds it. `first_ms`: from the start of each
    turn of more than 1.2 s to the first look at it. `false_ms`, `missed_ms`: where an utterance ended inside
    a turn, and the ends of turns that it ran over.
    """
    finals = [(at, e) for at, e in told if isinstance(e, events.EmotionFinal)]
    looks = [(at, e) for at, e in told if isinstance(e, events.EmotionProvisional)]
    found: dict[str, list[float]] = {"final_ms": [], "first_ms": [], "false_ms": [], "missed_ms": []}
    for number, turn in enumerate(turns):
        first = [at for at, e in looks if turn.start_ms - 500 < e.start_ms < turn.start_ms + 500]
        if first and turn.end_ms - turn.start_ms > 1200:
            found["first_ms"].append(min(first) - turn.start_ms)
        middle = (turn.start_ms + turn.end_ms) / 2
        holding = [(at, e) for at, e in finals if e.start_ms < turn.end_ms and e.end_ms > middle]
        if not holding:
            continue
        at, last = max(holding, key=lambda one: one[1].end_ms)
        after = turns[number + 1].start_ms if number + 1 < len(turns) else np.inf
        if last.end_ms > after + 200:
            found["missed_ms"].append(turn.end_ms)
        else:
            found["final_ms"].append(at - turn.end_ms)
        found["false_ms"] += [
            e.end_ms for _, e in finals if turn.start_ms + 200 < e.end_ms < turn.end_ms - 200
        ]
    return found


def assemble(clips: list[Samples]) -> tuple[Samples, list[Turn]]:
    """Clips one after another in a quiet room (-72 dBFS), 0.5 to 2 s between them; silence comes first."""
    random = np.random.default_rng(0)
    parts, turns, at = [np.zeros(_SILENCE_S * SAMPLE_RATE, np.float32)], [], _SILENCE_S * SAMPLE_RATE
    for clip in clips:
        first, last = spoken(clip)
        turns.append(Turn(at * _PER_S, (at + last - first) * _PER_S))
        gap = int(random.uniform(0.5, 2.0) * SAMPLE_RATE)
        parts += [clip[first:last], np.zeros(gap, np.float32)]
        at += last - first + gap
    stream = np.concatenate([*parts, np.zeros(SAMPLE_RATE, np.float32)])
    return (stream + 2.5e-4 * random.standard_normal(len(stream))).astype(np.float32), turns


def spoken(clip: Samples) -> tuple[int, int]:
    """First and last sample of what is said: 10 ms within 25 dB of the loud ones, two of three in a row."""
    level = _levels(clip)
    loud = np.convolve(level > np.percentile(level, 95) - _LOUD_DB, np.ones(3), "same") >= 2
    at = np.flatnonzero(loud)
    return int(at[0]) * 160, (int(at[-1]) + 1) * 160


def speech(places: list[Path], limit: int) -> list[tuple[Path, Samples]]:
    """Clips of 1 to 10 s found in files and folders, at most `limit`, drawn evenly over their lengths. MediaError.

    Recordings of silence, such as prompts come with, are left out.
    """
    found = []
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.suffix.lower() in _SUFFIXES:
                try:
                    samples = read_audio(file)
                except MediaError:
                    continue
                if 1 <= len(samples) / SAMPLE_RATE <= 10 and np.percentile(_levels(samples), 95) > _SILENT_DB:
                    found.append((file, samples))
    if not found:
        raise MediaError(f"No clip of 1 to 10 s in {', '.join(map(str, places))}: give folders of recorded speech.")
    drawn = []
    for seconds in np.linspace(1, 10, min(limit, len(found))):
        nearest = min(range(len(found)), key=lambda i: abs(len(found[i][1]) / SAMPLE_RATE - seconds))
        drawn.append(found.pop(nearest))
    return drawn


def _levels(clip: Samples) -> Samples:
    """Level of each 10 ms, dBFS."""
    frames = clip[: len(clip) // 160 * 160].reshape(-1, 160)
    levels: Samples = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return levels


def spread(values: list[float]) -> dict[str, float]:
    """Least, median, 95th percentile and greatest; empty of nothing."""
    if not values:
        return {}
    low, p50, p95, high = np.percentile(values, [0, 50, 95, 100])
    return {"min": float(low), "p50": float(p50), "p95": float(p95), "max": float(high)}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
