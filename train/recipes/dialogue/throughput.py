"""Training throughput of paper-size SDT: `python -m train bench`."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from rich.console import Console
from rich.table import Table

from core_models.errors import DiskError, UsageError
from core_models.feature_spec import MODALITIES
from core_models.networks.sdt import SDT, SDTConfig
from train.loop.accelerator import open_fabric
from train.losses.sdt import SDTObjective

# RoBERTa-large, openSMILE's IS10 and DenseNet, as the paper has them of IEMOCAP (section IV-D).
PAPER_DIMENSIONS = {"text": 1024, "voice": 1582, "face": 342}
# IEMOCAP's six, as in the paper whose configuration is timed; another number changes the classifier alone.
CLASSES = 6


@dataclass(frozen=True)
class ThroughputConfig:
    """What is timed; the defaults are the paper's size and setting (section IV-D)."""

    lengths: tuple[int, ...] = (16, 33, 64, 110, 256)
    """Utterances of a dialogue; MELD's longest has 33, IEMOCAP's 110."""
    batch: int = 4
    """Dialogues a step."""
    precisions: tuple[Literal["32", "bf16"], ...] = ("32", "bf16")
    """Numbers of the forward pass, timed in turn so that the machine's drift meets all."""
    repeats: int = 5
    """Steps timed of each, after one that warms up."""
    width: int = 1024
    """Width d of the representations."""
    heads: int = 8
    """Attention heads."""
    feed_forward: int = 1024
    """Inner width of the encoder layers."""
    causal: bool = False
    """The live setting, with rotary positions, in place of the paper's."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """What to train on; auto takes a GPU where there is one."""
    threads: int = 2
    """CPU threads."""
    json: str | None = None
    """Write the figures as JSON to this file, `-` for standard output, in place of a table."""

    def __post_init__(self) -> None:
        if not self.lengths or not self.precisions or min(*self.lengths, self.batch, self.repeats, self.threads) < 1:
            raise UsageError("lengths, precisions, batch, repeats and threads must all be given and be 1 or more.")


class Timing(msgspec.Struct):
    """Steps on dialogues of one length in one precision."""

    length: int
    precision: str
    step_ms: float
    """Median of a whole step: forward, losses, backward, clipping, optimiser."""
    fastest_ms: float
    slowest_ms: float
    dialogues_a_second: float
    """At the median."""
    utterances_a_second: float


class Throughput(msgspec.Struct):
    """The figures, and what they were measured on."""

    parameters: int
    batch: int
    device: str
    threads: int
    cores: int | None
    load_before: float
    torch: str
    timings: list[Timing]


def measure(config: ThroughputConfig) -> Throughput:
    """Train on random dialogues of each length and time the steps. Raises UsageError."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    network = SDT(
        SDTConfig(
            dimensions=PAPER_DIMENSIONS,
            classes=CLASSES,
            width=config.width,
            heads=config.heads,
            feed_forward=config.feed_forward,
            speakers=2,
            causal=config.causal,
            positions="rotary" if config.causal else "sinusoidal",
        )
    )
    steps = {precision: _build_stepper(config, network, precision) for precision in dict.fromkeys(config.precisions)}
    timings = []
    for length in config.lengths:
        taken: dict[str, list[float]] = {precision: [] for precision in steps}
        for number in range(1 + config.repeats):
            # Precisions in turn, not one after the other: a machine that slows down meets all of them.
            for precision, step in steps.items():
                seconds = step(length)
                # The first step of a length allocates and is left out.
                if number:
                    taken[precision].append(seconds)
        timings += [_summarize_timing(length, precision, config.batch, seconds) for precision, seconds in taken.items()]
    parameters = list(network.parameters())
    device = parameters[0].device
    return Throughput(
        parameters=sum(p.numel() for p in parameters),
        batch=config.batch,
        device=torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        threads=config.threads,
        cores=os.cpu_count(),
        load_before=round(load, 2),
        torch=str(torch.__version__),
        timings=timings,
    )


def bench(config: ThroughputConfig) -> None:
    """Measure and tell: a table, or JSON. Raises UsageError, DiskError."""
    result = measure(config)
    if config.json is None:
        Console().print(_build_table(result))
        return
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
    if config.json == "-":
        sys.stdout.write(text)
        return
    try:
        Path(config.json).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(
            f"The figures cannot be written to {config.json} ({error.strerror}): name another file."
        ) from None


def _build_stepper(config: ThroughputConfig, network: SDT, precision: str) -> Callable[[int], float]:
    """What takes one step on dialogues of a length and returns its seconds: the step of `fit`, with fused AdamW."""
    fabric = open_fabric(config.device, precision, config.threads)
    # A rate of 0: what is timed stays the same network, whichever precision comes first.
    optimizer: Any = torch.optim.AdamW(network.parameters(), lr=0.0, fused=True)
    model, optimizer = fabric.setup(network, optimizer)
    objective = SDTObjective()

    def step(length: int) -> float:
        shape = config.batch, length
        with fabric.device:
            features = {m: torch.randn(*shape, width) for m, width in PAPER_DIMENSIONS.items()}
            present = torch.ones(*shape, len(MODALITIES), dtype=torch.bool)
            speakers, labels = torch.randint(0, 2, shape), torch.randint(0, CLASSES, shape)
        model.train()
        begun = time.perf_counter()
        losses = objective(model(features, present, speakers), labels, present)
        optimizer.zero_grad()
        fabric.backward(losses.total)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        # A GPU is given its work and goes on: without this, handing it over would be timed.
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    return step


def _summarize_timing(length: int, precision: str, batch: int, seconds: list[float]) -> Timing:
    median = statistics.median(seconds)
    return Timing(
        length=length,
        precision=precision,
        step_ms=1000 * median,
        fastest_ms=1000 * min(seconds),
        slowest_ms=1000 * max(seconds),
        dialogues_a_second=batch / median,
        utterances_a_second=batch * length / median,
    )


def _build_table(result: Throughput) -> Table:
    title = f"SDT, {result.parameters / 1e6:.1f} M parameters, {result.batch} dialogues a step"
    table = Table(title=title, caption=f"{result.device}, {result.threads} threads, load {result.load_before} before")
    for name in ("utterances", "precision", "ms a step", "fastest", "dialogues/s", "utterances/s"):
        table.add_column(name, justify="right")
    for t in result.timings:
        figures = (t.step_ms, t.fastest_ms, t.dialogues_a_second, t.utterances_a_second)
        table.add_row(str(t.length), t.precision, *(f"{figure:.2f}" for figure in figures))
    return table
