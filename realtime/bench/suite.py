"""`python -m realtime.bench BENCHMARK`: latency, perception, restraint, endurance, step, memory, text, feed, page."""

from __future__ import annotations

import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

# Spinning OpenMP threads turn a 28 ms step into 390 ms as soon as anything else runs; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import psutil
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from core_models.checkpoint import Checkpoint, Sidecar, load, sidecar_config
from core_models.errors import TrackerError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.networks.sdt import SDT, SDTConfig
from realtime.bench.endurance import endurance
from realtime.bench.feed import feed
from realtime.bench.latency import latency, speech, spread
from realtime.bench.page import page
from realtime.bench.restraint import restraint
from realtime.bench.text_encoder import text
from realtime.dialogue.tracker import Tracker
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels, load_models, torch_device
from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE


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
    perceiver = FeatureExtractor(models.transcriber("en"), models.voice, models.text, models.face)
    tracker = Tracker(models.checkpoint)
    drawn = speech(clips, limit)
    ours: list[dict[str, float]] = []
    padded: list[float] = []
    for number, (_, samples) in enumerate([*drawn[:2], *drawn]):
        utterance = _utterance(samples)
        begun = time.perf_counter()
        perception = perceiver(utterance, None)
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
        through_transcribe = _timed(partial(_padded, models, tracker, samples))
        if number >= 2:
            ours.append(parts)
            padded.append(through_transcribe)
    seconds = [len(samples) / SAMPLE_RATE for _, samples in drawn]
    return {
        "benchmark": "perception",
        "checkpoint": models.checkpoint.name,
        "whisper": models.whisper.name,
        "threads": threads,
        "clips": len(drawn),
        "clip_seconds": spread(seconds),
        **{part: spread([p[part] for p in ours]) for part in ("asr", "features", "fusion")},
        "p50_ms": float(np.percentile([p["total"] for p in ours], 50)),
        "p95_ms": float(np.percentile([p["total"] for p in ours], 95)),
        "discarded": int(sum(p["discarded"] for p in ours)),
        "padded_fallbacks": int(sum(p["padded_fallback"] for p in ours)),
        "transcribe_p50_ms": float(np.percentile(padded, 50)),
        "transcribe_p95_ms": float(np.percentile(padded, 95)),
        "ratio_of_medians": statistics.median(padded) / statistics.median(p["total"] for p in ours),
    }


@torch.inference_mode()
def step(
    checkpoint: str = "default",
    paper: bool = False,
    alone: bool = False,
    lengths: tuple[int, ...] = (),
    recompute: int = 500,
    repeats: int = 50,
    threads: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "cpu",
) -> dict[str, Any]:
    """One step of the dialogue model, as the tracker takes it, beside full recomputation.

    A step is a batch of four states with every modality there, on random features, and so is a recomputation.
    The two are timed in turn, so that the machine's drift meets both.

    Args:
        checkpoint: name or folder
        paper: in its place SDT of the paper's size (d = 1024, 8 heads, 79.7 M parameters), causal, with random weights
            and a window that forgets nothing within `recompute`
        alone: one dialogue, without the three in which each modality is alone
        lengths: lengths of the dialogue at which a step is timed (default: 10, 500 and 5000; with `paper`: 10 and 500)
        recompute: length at which `forward` over the whole dialogue is timed against one step
        repeats: steps timed at each length
        threads: CPU threads of torch
        device: auto, cpu or cuda
    """
    torch.set_num_threads(threads)
    where = torch_device(device)
    loaded = _paper_size(recompute, where) if paper else load(checkpoint, device=where)
    widths = {m: s.dimension for m, s in loaded.sidecar.features.items()}
    random = np.random.default_rng(0)

    def draw() -> dict[str, NDArray[np.float32]]:
        return {m: random.standard_normal(w).astype(np.float32) for m, w in widths.items()}

    def timed_steps(count: int) -> list[float]:
        return [_timed(partial(take, features)) for features in [draw() for _ in range(count)]]

    take, taken = _alone(loaded) if alone else _tracked(loaded), 0
    steps: dict[int, list[float]] = {}
    beside: list[float] = []
    whole: list[float] = []
    for length in sorted({*(lengths or ((10, 500) if paper else (10, 500, 5_000))), recompute}):
        while taken < length:
            take(draw())
            taken += 1
        steps[length] = timed_steps(repeats)
        taken += repeats
        if length == recompute:
            forward = _whole(loaded.model, widths, recompute, rows=1 if alone else 1 + len(MODALITIES))
            forward()
            for _ in range(7):
                whole.append(_timed(forward))
                beside += timed_steps(7)
            taken += len(beside)
    median = {length: statistics.median(times) for length, times in steps.items()}
    return {
        "benchmark": "step",
        "checkpoint": loaded.name,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "device": str(where),
        "threads": threads,
        "dialogues": 1 if alone else 1 + len(MODALITIES),
        "step_ms": {str(length): spread(times) for length, times in steps.items()},
        "longest_over_shortest": median[max(median)] / median[min(median)],
        f"recompute_{recompute}_ms": statistics.median(whole),
        "recompute_over_step": statistics.median(whole) / statistics.median(beside),
    }


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
    perceiver = FeatureExtractor(models.transcriber("en"), models.voice, models.text, models.face)
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE, dtype=np.float32) / 50
    perceiver(_utterance(noise.astype(np.float32)), None)
    return {
        "benchmark": "memory",
        "checkpoint": models.checkpoint.name,
        "whisper": models.whisper.name,
        "imported_mib": before / 2**20,
        "resident_mib": process.memory_info().rss / 2**20,
    }


def _tracked(loaded: Checkpoint) -> Callable[[dict[str, NDArray[np.float32]]], object]:
    tracker, speakers = Tracker(loaded), itertools.cycle(("s0", "s1"))
    return lambda features: tracker.step(next(speakers), features)


def _alone(loaded: Checkpoint) -> Callable[[dict[str, NDArray[np.float32]]], object]:
    model: Any = loaded.model
    device = next(model.parameters()).device
    states, slots = [model.initial_state(1)], itertools.cycle((0, 1))
    present = torch.tensor([[m in loaded.sidecar.features for m in MODALITIES]], device=device)

    def take(features: dict[str, NDArray[np.float32]]) -> object:
        inputs = {m: torch.from_numpy(x)[None].to(device) for m, x in features.items()}
        output, states[0] = model.step(inputs, present, torch.tensor([next(slots)], device=device), states[0])
        return output.logits.softmax(dim=-1).cpu()

    return take


def _whole(model: Any, widths: dict[str, int], length: int, rows: int) -> Callable[[], object]:
    device = next(model.parameters()).device
    features = {m: torch.randn(1, length, w, device=device).expand(rows, -1, -1) for m, w in widths.items()}
    here = torch.tensor([m in widths for m in MODALITIES])
    patterns = torch.cat([here[None], torch.diag(here)])[:rows]
    present = patterns[:, None].expand(rows, length, len(MODALITIES)).to(device)
    speakers = (torch.arange(length, device=device) % 2).expand(rows, length)
    return lambda: model(features, present, speakers)


def _paper_size(window: int, device: str) -> Checkpoint:
    """SDT of section IV-D of its paper, in the live setting: features of IEMOCAP's sizes, random weights."""
    widths = {"text": 1024, "voice": 1582, "face": 342}
    config = SDTConfig(dimensions=widths, classes=6, width=1024, feed_forward=1024, speakers=2, window=window)
    specs = {m: FeatureSpec(modality=m, name="random", version=1, dimension=w, digest="") for m, w in widths.items()}
    sidecar = Sidecar(
        model="sdt", config=sidecar_config(config), labels="iemocap6", features=specs, window=config.window
    )
    return Checkpoint("SDT of the paper's size", SDT(config).to(device).eval(), sidecar, digest="")


def _padded(models: LoadedModels, tracker: Tracker, samples: NDArray[np.float32]) -> None:
    """The words through `transcribe()`; the second encoder pass that a voice feature would cost is not counted."""
    segments, _ = models.whisper.model.transcribe(samples, language="en", beam_size=1)
    words = " ".join(segment.text for segment in segments)
    if models.text is not None:
        tracker.step("speaker", {"text": models.text([words])[0]})


def _utterance(samples: NDArray[np.float32]) -> Utterance:
    end_ms = len(samples) * 1000 // SAMPLE_RATE
    return Utterance("clip", 0, end_ms, end_ms + 400, samples, 0, False)


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) * 1000


def _machine() -> dict[str, Any]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark and print it as a table, or with `--json` as one JSON object."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    machine = _machine()
    try:
        result = auto_cli(
            [latency, perception, step, memory, text, restraint, endurance, feed, page],
            args=[g for g in given if g != "--json"],
            as_positional=False,
            prog="python -m realtime.bench",
        )
    except TrackerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    result["machine"] = machine
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        Console().print(_table(result))
    return 0


def _table(result: dict[str, Any]) -> Table:
    machine = result["machine"]
    table = Table(title=f"{result['benchmark']} ({machine['cores']} cores, load {machine['load_before']} before)")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result.items():
        if name not in ("machine", "benchmark"):
            table.add_row(name, _plain(value))
    return table


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)
