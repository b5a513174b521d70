"""The loop that teaches an expression network, and what a killed run goes on from."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from core_models.atomic_write import write_atomically
from core_models.errors import UsageError
from core_models.networks.expression_network import ExpressionNet
from train.loop.accelerator import open_fabric
from train.loop.failures import Diverged
from train.recipes.face.augmentation import Augmentation, augmented

EVALUATED = 256  # faces at a time


@dataclass(frozen=True)
class FaceSchedule:
    """How long and how fast the network learns, and what it runs on. The last epoch is kept: none is chosen."""

    epochs: int = 25
    """Passes over the faces."""
    lr: float = 0.1
    """Highest rate of SGD with Nesterov momentum, from which it falls to zero along a cosine."""
    warm_up: float = 0.15
    """Share of all steps in which it rises first."""
    momentum: float = 0.9
    """Of SGD."""
    decay: float = 5e-4
    """Weight decay of the matrices; biases and normalisation have none."""
    batch: int = 128
    """Faces a step."""
    smoothing: float = 0.1
    """Of the labels, of which about a third are disputed (Goodfellow et al., 2013)."""
    class_weight: float = 0.25
    """Faces of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike."""
    seed: int = 0
    """Of the weights, the order and the augmentation."""
    device: str = "auto"
    """Fabric's accelerator: auto, cpu or cuda."""
    precision: Literal["32", "bf16"] = "32"
    """Of the convolutions; bf16 takes half the time on processors that have it."""
    threads: int = 1
    """CPU threads."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or not 0 <= self.warm_up < 1:
            raise UsageError("epochs must be 1 or more, batch 2 or more, and warm_up a share below 1: change them.")


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


@dataclass
class Place:
    """How far a run has come, besides its tensors."""

    epoch: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, float]] = field(default_factory=list)


class FaceRun:
    """One network, its optimiser and place, and their checkpoint after each epoch in `folder`.

    A run that was killed goes on from its last epoch and, on a CPU with the same number of threads, ends with the same
    weights; one with other `settings` is refused (UsageError).
    """

    def __init__(
        self, folder: Path, schedule: FaceSchedule, settings: dict[str, Any], net: ExpressionNet, console: Console
    ) -> None:
        self.folder, self.schedule, self.settings, self.console = folder, schedule, settings, console
        self.fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
        parts: dict[bool, list[Tensor]] = {True: [], False: []}
        for parameter in net.parameters():
            parts[parameter.ndim > 1].append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": parts[True], "weight_decay": schedule.decay},
            {"params": parts[False]},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.0, momentum=schedule.momentum, nesterov=True)
        self.bare = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net: Any
        self.net, self.optimizer = self.fabric.setup(self.bare, optimizer)
        self.place = Place()
        self._resume()

    def fit(self, training: Faces, held_out: Faces, how: Augmentation) -> None:
        """Learn from `training` to the last epoch; of each, accuracy on `held_out` is told. Diverged, DiskError."""
        place, schedule = self.place, self.schedule
        classes = self.bare.config.classes
        counts = torch.bincount(training.labels, minlength=classes).float()
        weights = counts.clamp(min=1) ** -schedule.class_weight
        weights = self.fabric.to_device(weights * counts.sum() / (weights * counts).sum())
        while place.epoch < schedule.epochs:
            began = time.monotonic()
            loss = self._epoch(training, weights, how)
            place.epoch, place.seconds = place.epoch + 1, place.seconds + time.monotonic() - began
            right = (self.logits(held_out).argmax(dim=1) == held_out.labels).float().mean()
            place.epochs.append({"epoch": place.epoch, "loss": round(loss, 4), "held_out": round(float(right), 4)})
            self.console.print(f"face epoch {place.epoch}: loss {loss:.3f}, held out {right:.1%}", highlight=False)
            self._checkpoint()
        self.bare.eval()

    def logits(self, faces: Faces) -> Tensor:
        """float32 [n, classes], as the network stands; leaves it in evaluation mode."""
        self.bare.eval()
        found = []
        with torch.inference_mode():
            for start in range(0, len(faces), EVALUATED):
                rows = slice(start, start + EVALUATED)
                pictures = faces.pictures[rows, None].float()
                found.append(self.bare(*self.fabric.to_device((pictures, faces.scores[rows]))).float().cpu())
        return torch.cat(found)

    def _epoch(self, training: Faces, weights: Tensor, how: Augmentation) -> float:
        place, schedule = self.place, self.schedule
        batches = torch.randperm(len(training)).split(schedule.batch)  # type: ignore[no-untyped-call]
        batches = batches[:-1] if len(batches) > 1 and len(batches[-1]) < schedule.batch else batches
        total = 0.0
        self.bare.train()
        with Progress(
            TextColumn(f"face {place.epoch + 1}/{schedule.epochs}"),
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()),
            TextColumn("loss {task.fields[loss]:.3f}"),
            console=self.console,
        ) as progress:
            bar = progress.add_task("", total=len(batches), loss=float("nan"))
            for number, rows in enumerate(batches):
                self._set_lr((place.epoch + number / len(batches)) / schedule.epochs)
                changed = augmented(training.pictures[rows, None].float(), training.scores[rows], how)
                *seen, truth = self.fabric.to_device((*changed, training.labels[rows]))
                loss = F.cross_entropy(self.net(*seen).float(), truth, weights, label_smoothing=schedule.smoothing)
                value = float(loss.detach())
                if value != value:
                    raise Diverged(
                        f"The loss is not a number in epoch {place.epoch + 1}, batch {number + 1}: set a lower "
                        f"schedule.lr, remove {self.folder} and begin again."
                    )
                self.optimizer.zero_grad()
                self.fabric.backward(loss)
                self.optimizer.step()
                total += value
                progress.update(bar, advance=1, loss=value)
        return total / len(batches)

    def _set_lr(self, done: float) -> None:
        warm_up = self.schedule.warm_up
        rising = (done + 1e-3) / warm_up if warm_up else 1.0
        falling = (1 + math.cos(math.pi * max(0.0, done - warm_up) / (1 - warm_up))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr * min(1.0, rising) * falling

    def _checkpoint(self) -> None:
        state = {
            "settings": self.settings,
            "place": dataclasses.asdict(self.place),
            "net": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "last.pt", lambda path: torch.save(state, path))

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)
        if state["settings"] != self.settings:
            raise UsageError(f"{path} is from a run with other settings: remove it, or set another run folder.")
        self.place = Place(**state["place"])
        self.bare.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
