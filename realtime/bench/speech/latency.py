"""`python -m realtime.bench latency`: a conversation with known turns, in real time, from its sound to its events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch

from core_models.checkpoint import WEIGHTS
from core_models.errors import MediaError
from realtime.bench.measurement import cpu_seconds, summarize_spread
from realtime.bench.workloads.audio_player import AudioPlayer
from realtime.bench.workloads.speech_clips import (
    LEADING_SILENCE_S,
    Samples,
    Turn,
    assemble_conversation,
    find_speech_clips,
)
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import load_models
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.media import SAMPLE_RATE

# The last second of the leading silence is left out, since the first turn's onset may reach into it.
_SILENT_S = LEADING_SILENCE_S - 1


@dataclass
class _EventTimes:
    """When each event came, in milliseconds since the conversation began to play."""

    player: AudioPlayer
    received: list[tuple[float, events.Logged]] = field(default_factory=list)

    def __call__(self, event: events.Logged) -> None:
        self.received.append(((time.monotonic() - self.player.began_at) * 1000, event))


class _SilenceCPU:
    """CPU seconds of the process while the conversation's leading silence was played."""

    def __init__(self, player: AudioPlayer) -> None:
        self.seconds = 0.0
        self._process = psutil.Process()
        self._before = cpu_seconds(self._process)
        self._player = player
        player.after_block = self._measure_block

    def _measure_block(self) -> None:
        if self._player.samples <= _SILENT_S * SAMPLE_RATE:
            self.seconds = cpu_seconds(self._process) - self._before


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
    stream, turns = assemble_conversation([samples for _, samples in find_speech_clips(clips, limit)])
    endpointing = Endpointing(hangover_ms=hangover_ms, adaptive=adaptive, silero=silero)
    looks = Provisional() if provisional else Provisional(every_ms=0)
    there = [name for name in checkpoints if (WEIGHTS / name).is_dir() or Path(name).is_dir()]
    if not there:
        raise MediaError(f"None of {', '.join(checkpoints)} is here: name a checkpoint with --checkpoints.")
    measured = {name: _measure_checkpoint(name, stream, turns, endpointing, looks, threads, device) for name in there}
    return {
        "benchmark": "latency",
        "threads": threads,
        "turns": len(turns),
        "turn_seconds": summarize_spread([(turn.end_ms - turn.start_ms) / 1000 for turn in turns]),
        "hangover_ms": hangover_ms,
        "adaptive": adaptive,
        "silero": silero,
        "p50_ms": measured[there[0]]["p50_ms"],
        "p95_ms": measured[there[0]]["p95_ms"],
        "models": measured,
    }


def _measure_checkpoint(
    name: str,
    stream: Samples,
    turns: list[Turn],
    endpointing: Endpointing,
    looks: Provisional,
    threads: int,
    device: str,
) -> dict[str, Any]:
    models = load_models(name, device=device, threads=threads)
    extractor = FeatureExtractor(models.transcriber("en"), models.voice, models.text, None)
    # The first pass through a network allocates.
    extractor.transcribe(stream[: 2 * SAMPLE_RATE])
    player = AudioPlayer([stream], pace=True)
    heard = _EventTimes(player)
    session = Session(
        [player],
        extractor,
        Tracker(models.checkpoint),
        heard,
        endpointing=endpointing,
        speakers={player.name: "speaker"},
        camera_speaker=None,
        lossless=False,
        provisional=looks,
    )
    process = psutil.Process()
    before, silence = cpu_seconds(process), _SilenceCPU(player)
    summary = session.run()
    speaking_s = len(stream) / SAMPLE_RATE - _SILENT_S
    told = compare_turns(heard.received, turns)
    hours = len(stream) / SAMPLE_RATE / 3600
    return {
        "whisper": models.whisper.name,
        "p50_ms": float(np.percentile(told["final_ms"], 50)),
        "p95_ms": float(np.percentile(told["final_ms"], 95)),
        "finals": summary.utterances,
        "discarded": summary.discarded,
        "share_ready": summary.ready / max(1, summary.utterances),
        "endpoint_to_final_ms": summarize_spread(summary.latencies_ms),
        "first_provisional_ms": summarize_spread(told["first_ms"]),
        "first_provisional_within_1200_ms": float(np.mean(np.array(told["first_ms"] or [np.inf]) <= 1200)),
        "false_cuts_per_hour": len(told["false_ms"]) / hours,
        "missed_cuts_per_hour": len(told["missed_ms"]) / hours,
        "shed": dict(summary.lost),
        "cpu_of_one_core_in_silence": silence.seconds / _SILENT_S,
        "cpu_of_one_core_in_speech": (cpu_seconds(process) - before - silence.seconds) / speaking_s,
    }


def compare_turns(told: list[tuple[float, events.Logged]], turns: list[Turn]) -> dict[str, list[float]]:
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
        found["false_ms"] += [e.end_ms for _, e in finals if turn.start_ms + 200 < e.end_ms < turn.end_ms - 200]
    return found
