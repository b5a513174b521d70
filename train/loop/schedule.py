"""The learning-rate schedule of a run, how long it trains, and what it runs on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from core_models.errors import UsageError

# Part of the peak rate that is always left: the first step of a warm-up and the last of a fall still learn.
LOWEST_FACTOR = 1e-3


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a run trains, and what it runs on. Each recipe gives defaults of its own."""

    epochs: int = 50
    """Passes over the training data at most."""
    lr: float = 1e-4
    """Peak learning rate."""
    warm_up: float = 0.05
    """Share of all steps in which the rate rises to its peak; 0 leaves it out."""
    shape: Literal["cosine", "linear", "constant"] = "linear"
    """How the rate goes on from its peak: to zero along a cosine or a straight line, or not at all."""
    batch: int = 32
    """Items a step, over all processes."""
    decay: float = 0.01
    """Weight decay of the optimiser."""
    clip: float | None = 1.0
    """Largest norm of the gradient; null clips nothing."""
    patience: int | None = None
    """Passes without a better score after which training ends; never where it is null."""
    keep: Literal["best", "last"] = "best"
    """The pass that is kept: the best on validation, or the last one, which `patience` then does not end early."""
    seed: int = 0
    """Of the weights, the order, the dropout and whatever else is drawn."""
    checkpoint_every: int = 200
    """Steps between checkpoints of the run, besides the one after each pass."""
    resume: bool | None = None
    """Null goes on from what a run of the very same settings left in its folder. True does so where lr, batch, clip,
    epochs or patience are others by now, too. False begins anew."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto takes a GPU where there is one."""
    precision: Literal["32", "bf16"] = "32"
    """Numbers of the forward pass; weights and loss are float32 in both."""
    threads: int = 2
    """CPU threads of each process."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "threads", "checkpoint_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}: expected 1 or more.")
        if not 0 <= self.warm_up < 1:
            raise UsageError(f"warm_up is {self.warm_up}: expected a share from 0 to below 1.")


def rate_factor(schedule: Schedule, done: float) -> float:
    """Part of the peak rate after the share `done` (0 to 1) of all steps; at least LOWEST_FACTOR."""
    warm_up = schedule.warm_up
    if done < warm_up:
        return max(LOWEST_FACTOR, done / warm_up)
    fallen = min(1.0, (done - warm_up) / (1 - warm_up))
    factor = {"cosine": 0.5 * (1 + math.cos(math.pi * fallen)), "linear": 1 - fallen, "constant": 1.0}[schedule.shape]
    return max(LOWEST_FACTOR, factor)


def learning_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, done: Callable[[], float]) -> LambdaLR:
    """torch's scheduler of `optimizer`; `done` gives the share of the run that is behind it.

    A share rather than a number of steps: passes over dialogues differ in length, and a resumed run may have another
    batch than before. So the rate follows from the progress alone, and nothing of the scheduler needs to be saved.
    """
    for group in optimizer.param_groups:
        # That of a resumed optimiser is the rate of the run before.
        group["initial_lr"] = schedule.lr
    return LambdaLR(optimizer, lambda _: rate_factor(schedule, done()))


def adamw(parameters: Iterable[nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """AdamW over those of `parameters` that are trained, at the schedule's peak rate and decay."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=schedule.lr, weight_decay=schedule.decay)
