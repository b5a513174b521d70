"""The learning-rate schedule of a run, and how long it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core_models.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns, and what it runs on."""

    epochs: int = 50
    """Epochs (paper: at most 50 of distillation); the best on validation is kept."""
    lr: float = 1e-4
    """Highest learning rate of AdamW, from which it falls to zero in a straight line (paper: 1e-4)."""
    warm_up: float = 0.05
    """Share of all steps in which it rises first (the paper names none; 0 leaves it out)."""
    falls: bool = True
    """False: it stays where it has risen to (TDFNet)."""
    batch: int = 32
    """Clips or sentences a step."""
    decay: float = 0.01
    """AdamW's weight decay."""
    patience: int | None = None
    """Stop after so many epochs without a better one; never where it is null."""
    seed: int = 0
    """Of the weights, the order, the dropout and whatever is drawn."""
    checkpoint_every: int = 200
    """Steps between checkpoints of the run, besides those after each epoch."""
    device: str = "auto"
    """Fabric's accelerator: auto, cpu or cuda."""
    precision: Literal["32", "bf16"] = "32"
    """Of the matrix products."""
    threads: int = 2
    """CPU threads."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not 0 <= self.warm_up < 1:
            raise UsageError("epochs and batch must be 1 or more, and warm_up a share below 1: change them.")
