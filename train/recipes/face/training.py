"""Training of an expression network: its faces, its step and its validation; the loop is train/loop/trainer.py's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.networks.expression_network import ExpressionNet
from train.data.class_balance import class_weights
from train.loop.failures import check_finite
from train.loop.schedule import Schedule
from train.loop.trainer import Trainer
from train.recipes.face.augmentation import Augmentation, augmented

# Faces at once: no gradients are kept, so twice a step's usual batch fits.
EVALUATED = 256


@dataclass(frozen=True)
class FaceSchedule(Schedule):
    """How long and how fast the network trains (SGD with Nesterov momentum). The last pass is kept: none is chosen."""

    epochs: int = 25
    lr: float = 0.1
    warm_up: float = 0.15
    shape: Literal["cosine", "linear", "constant"] = "cosine"
    batch: int = 128
    decay: float = 5e-4
    """Weight decay of the matrices; biases and normalisation have none."""
    clip: float | None = None
    keep: Literal["best", "last"] = "last"
    threads: int = 1
    momentum: float = 0.9
    """Of SGD."""
    smoothing: float = 0.1
    """Of the labels, of which about a third are disputed (Goodfellow et al., 2013)."""
    class_weight: float = 0.25
    """Faces of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 2:
            raise UsageError(f"batch is {self.batch}: expected 2 or more, which batch normalisation needs.")


@dataclass(frozen=True)
class Faces:
    """Faces in tensors."""

    pictures: Tensor
    """uint8 [n, side, side]"""
    scores: Tensor
    """float32 [n, scores]"""
    labels: Tensor
    """int64 [n]"""

    def __len__(self) -> int:
        return len(self.labels)


class FaceTraining:
    """One network and its trainer."""

    def __init__(
        self,
        folder: Path,
        schedule: FaceSchedule,
        settings: dict[str, Any],
        net: ExpressionNet,
        fabric: Fabric,
        console: Console,
    ) -> None:
        """Raises UsageError where `folder` holds a run of other settings, DiskError where it cannot be written."""
        self.schedule, self.fabric = schedule, fabric
        # oneDNN and cuDNN convolve fastest over pictures whose channels lie together.
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = _make_optimizer(net, schedule)
        self.trainer = Trainer(
            folder, schedule, settings, net, optimizer, fabric, console, title="face", select="held_out"
        )

    def fit(self, training: Faces, held_out: Faces, how: Augmentation) -> None:
        """Learn from `training`; report the accuracy on `held_out` after each pass. Raises as `Trainer.fit` does."""
        schedule = self.schedule
        weights = class_weights(training.labels.tolist(), self.net.config.classes, schedule.class_weight)
        weights = weights.to(self.fabric.device)

        def batches(epoch: int) -> list[Tensor]:
            # The seed in the upper bits: pass 1 of seed 0 must not draw what pass 0 of seed 1 draws.
            order = torch.Generator().manual_seed((schedule.seed << 16) + epoch)
            rows = torch.randperm(len(training), generator=order)
            listed = list(rows.split(schedule.batch))  # type: ignore[no-untyped-call]
            # A small rest would have a normalisation of its own.
            return listed[:-1] if len(listed) > 1 and len(listed[-1]) < schedule.batch else listed

        def step(rows: Tensor) -> dict[str, Tensor]:
            changed = augmented(training.pictures[rows, None].float(), training.scores[rows], how)
            *seen, truth = self.fabric.to_device((*changed, training.labels[rows]))
            logits = self.trainer.model(*seen).float()
            return {"loss": F.cross_entropy(logits, truth, weights, label_smoothing=schedule.smoothing)}

        def validate() -> dict[str, float]:
            right = (self.predict(held_out).argmax(dim=1) == held_out.labels).float().mean()
            return {"held_out": round(float(right), 4)}

        self.trainer.fit(batches, step, validate)

    def predict(self, faces: Faces) -> Tensor:
        """Logits, float32 [n, classes], as the network stands; leaves it in evaluation mode. Raises Diverged."""
        self.net.eval()
        found = []
        with torch.inference_mode():
            for start in range(0, len(faces), EVALUATED):
                rows = slice(start, start + EVALUATED)
                pictures = faces.pictures[rows, None].float()
                found.append(self.net(*self.fabric.to_device((pictures, faces.scores[rows]))).float().cpu())
        logits = torch.cat(found)
        check_finite({"logits": logits}, "validation")
        return logits


def _make_optimizer(net: ExpressionNet, schedule: FaceSchedule) -> torch.optim.SGD:
    parts: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in net.parameters():
        # Matrices and convolutions alone have two dimensions or more: decay would pull normalisation towards zero.
        parts[parameter.ndim > 1].append(parameter)
    groups: list[dict[str, Any]] = [{"params": parts[True], "weight_decay": schedule.decay}, {"params": parts[False]}]
    return torch.optim.SGD(groups, lr=schedule.lr, momentum=schedule.momentum, nesterov=True)
