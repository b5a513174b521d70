"""`python -m realtime.bench step`: one step of the dialogue model beside recomputing the whole dialogue."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.checkpoint import Checkpoint, Sidecar, load, sidecar_config
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.networks.sdt import SDT, SDTConfig
from realtime.bench.measurement import summarize_spread, time_call
from realtime.dialogue.tracker import Tracker
from realtime.pipeline.models import torch_device

# Odd, so that the median is a measurement; so many recomputations of 500 utterances take a few seconds.
_RECOMPUTATIONS = 7


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
    loaded = _build_paper_size(recompute, where) if paper else load(checkpoint, device=where)
    widths = {m: s.dimension for m, s in loaded.sidecar.features.items()}
    random = np.random.default_rng(0)

    def draw_features() -> dict[str, NDArray[np.float32]]:
        return {m: random.standard_normal(w).astype(np.float32) for m, w in widths.items()}

    def timed_steps(count: int) -> list[float]:
        return [time_call(partial(take_step, features)) for features in [draw_features() for _ in range(count)]]

    take_step, taken = _step_one_dialogue(loaded) if alone else _step_tracker(loaded), 0
    steps: dict[int, list[float]] = {}
    beside: list[float] = []
    whole: list[float] = []
    for length in sorted({*(lengths or ((10, 500) if paper else (10, 500, 5_000))), recompute}):
        while taken < length:
            take_step(draw_features())
            taken += 1
        steps[length] = timed_steps(repeats)
        taken += repeats
        if length == recompute:
            forward = _recompute_dialogue(loaded.model, widths, recompute, rows=1 if alone else 1 + len(MODALITIES))
            forward()
            for _ in range(_RECOMPUTATIONS):
                whole.append(time_call(forward))
                beside += timed_steps(_RECOMPUTATIONS)
            taken += len(beside)
    median = {length: statistics.median(times) for length, times in steps.items()}
    return {
        "benchmark": "step",
        "checkpoint": loaded.name,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "device": str(where),
        "threads": threads,
        "dialogues": 1 if alone else 1 + len(MODALITIES),
        "step_ms": {str(length): summarize_spread(times) for length, times in steps.items()},
        "longest_over_shortest": median[max(median)] / median[min(median)],
        f"recompute_{recompute}_ms": statistics.median(whole),
        "recompute_over_step": statistics.median(whole) / statistics.median(beside),
    }


def _step_tracker(loaded: Checkpoint) -> Callable[[dict[str, NDArray[np.float32]]], object]:
    tracker, speakers = Tracker(loaded), itertools.cycle(("s0", "s1"))
    return lambda features: tracker.step(next(speakers), features)


def _step_one_dialogue(loaded: Checkpoint) -> Callable[[dict[str, NDArray[np.float32]]], object]:
    model: Any = loaded.model
    device = next(model.parameters()).device
    states, slots = [model.initial_state(1)], itertools.cycle((0, 1))
    present = torch.tensor([[m in loaded.sidecar.features for m in MODALITIES]], device=device)

    def take_step(features: dict[str, NDArray[np.float32]]) -> object:
        inputs = {m: torch.from_numpy(x)[None].to(device) for m, x in features.items()}
        output, states[0] = model.step(inputs, present, torch.tensor([next(slots)], device=device), states[0])
        return output.logits.softmax(dim=-1).cpu()

    return take_step


def _recompute_dialogue(model: Any, widths: dict[str, int], length: int, rows: int) -> Callable[[], object]:
    device = next(model.parameters()).device
    features = {m: torch.randn(1, length, w, device=device).expand(rows, -1, -1) for m, w in widths.items()}
    here = torch.tensor([m in widths for m in MODALITIES])
    patterns = torch.cat([here[None], torch.diag(here)])[:rows]
    present = patterns[:, None].expand(rows, length, len(MODALITIES)).to(device)
    speakers = (torch.arange(length, device=device) % 2).expand(rows, length)
    return lambda: model(features, present, speakers)


def _build_paper_size(window: int, device: str) -> Checkpoint:
    """SDT of section IV-D of its paper, in the live setting: features of IEMOCAP's sizes, random weights."""
    widths = {"text": 1024, "voice": 1582, "face": 342}
    config = SDTConfig(dimensions=widths, classes=6, width=1024, feed_forward=1024, speakers=2, window=window)
    specs = {m: FeatureSpec(modality=m, name="random", version=1, dimension=w, digest="") for m, w in widths.items()}
    sidecar = Sidecar(
        model="sdt", config=sidecar_config(config), labels="iemocap6", features=specs, window=config.window
    )
    return Checkpoint("SDT of the paper's size", SDT(config).to(device).eval(), sidecar, digest="")
