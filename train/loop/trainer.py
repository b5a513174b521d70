"""The loop of MCED's stages: epochs over clips or sentences, and what a killed run goes on from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core_models.atomic_write import write_atomically
from core_models.errors import UsageError
from train.data.length_buckets import bucketed
from train.loop.accelerator import open_fabric
from train.loop.failures import Diverged
from train.loop.schedule import Schedule


@dataclass
class Place:
    """How far a run has come, besides its tensors."""

    epoch: int = 0
    batch: int = 0
    best: float = -float("inf")
    best_epoch: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """One stage's model, optimiser and place, and their checkpoint in `folder`.

    `model` is called with what `collate` makes of a batch and returns losses by name, "loss" the one that is
    minimised. A run that was killed goes on from its last checkpoint and, on a CPU with the same number of threads,
    ends with the same weights; one with other `settings` is refused (UsageError).
    """

    def __init__(
        self, folder: Path, schedule: Schedule, settings: dict[str, Any], model: nn.Module, console: Console
    ) -> None:
        self.folder, self.schedule, self.settings, self.console = folder, schedule, settings, console
        self.fabric = open_fabric(schedule.device, 1, schedule.precision, schedule.threads)
        self.bare = model
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=schedule.decay)
        self.model: Any
        self.model, self.optimizer = self.fabric.setup(model, optimizer)
        self.place = Place()
        self._resume()

    def fit(
        self,
        lengths: Sequence[int],
        collate: Callable[[list[int]], Any],
        validate: Callable[[], dict[str, float]],
        title: str,
    ) -> None:
        """Learn from items of these `lengths` (like ones are batched together), and leave the best epoch's weights.

        `validate` returns what is told of an epoch; the highest "score" is the best. Raises Diverged, DiskError.
        """
        place, schedule = self.place, self.schedule
        while place.epoch < schedule.epochs and not self._patience_is_over():
            batches = bucketed(lengths, schedule.batch, seed=(schedule.seed, 0, place.epoch))
            losses = self._epoch(batches, collate, title)
            self.bare.eval()
            with torch.inference_mode():
                found = validate()
            place.epoch, place.batch = place.epoch + 1, 0
            place.epochs.append({"epoch": place.epoch, **losses, **found})
            told = ", ".join(f"{name} {value:.4g}" for name, value in place.epochs[-1].items() if name != "epoch")
            self.console.print(f"{title} epoch {place.epoch}: {told}", highlight=False)
            if found["score"] > place.best:
                place.best, place.best_epoch = found["score"], place.epoch
                write_atomically(self.folder / "best.safetensors", lambda path: save_file(self._trained(), path))
            self._checkpoint()
        if not place.best_epoch:
            raise Diverged(f"No epoch of {title} could be scored: set a lower schedule.lr and remove {self.folder}.")
        self._restore(load_file(self.folder / "best.safetensors"))
        self.bare.eval()

    def record(self) -> dict[str, Any]:
        """What a training record says of the run."""
        return {
            "epochs": self.place.epochs,
            "best_epoch": self.place.best_epoch,
            "seconds": round(self.place.seconds),
        }

    def _patience_is_over(self) -> bool:
        patience = self.schedule.patience
        return patience is not None and self.place.epoch - self.place.best_epoch >= patience

    def _epoch(self, batches: list[list[int]], collate: Callable[[list[int]], Any], title: str) -> dict[str, float]:
        place, schedule = self.place, self.schedule
        sums: dict[str, Tensor] = {}
        self.bare.train()
        with Progress(
            TextColumn(f"{title} {place.epoch + 1}/{schedule.epochs}"),
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()),
            TextColumn("loss {task.fields[loss]:.3f}"),
            console=self.console,
        ) as progress:
            bar = progress.add_task("", total=len(batches), completed=place.batch, loss=float("nan"))
            started, clock = place.batch, time.monotonic()
            while place.batch < len(batches):
                self._set_lr((place.epoch + place.batch / len(batches)) / schedule.epochs)
                losses = self.model(self.fabric.to_device(collate(batches[place.batch])))
                self.fabric.backward(losses["loss"])
                self.fabric.clip_gradients(self.model, self.optimizer, max_norm=1.0, error_if_nonfinite=False)
                loss = float(losses["loss"].detach())
                if loss != loss:
                    raise Diverged(
                        f"The loss is not a number in epoch {place.epoch + 1}, batch {place.batch + 1}: set a lower "
                        f"schedule.lr, remove {self.folder} and begin again."
                    )
                self.optimizer.step()
                self.optimizer.zero_grad()
                for name, value in losses.items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.detach().cpu()
                place.batch += 1
                place.seconds, clock = place.seconds + time.monotonic() - clock, time.monotonic()
                if place.batch % schedule.checkpoint_every == 0:
                    self._checkpoint()
                progress.update(bar, completed=place.batch, loss=loss)
        return {name: float(value) / max(1, place.batch - started) for name, value in sums.items()}

    def _set_lr(self, done: float) -> None:
        warm_up = self.schedule.warm_up
        rising = (done + 1e-9) / warm_up if warm_up else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr * min(rising, (1 - done) / (1 - warm_up) if self.schedule.falls else 1.0)

    def _trained(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu() for name, value in self.bare.named_parameters()}

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.bare.named_parameters():
                value.copy_(tensors[name])

    def _checkpoint(self) -> None:
        state = {
            "settings": self.settings,
            "place": dataclasses.asdict(self.place),
            "trained": self._trained(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "last.pt", lambda path: torch.save(state, path))

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)
        if state["settings"] != self.settings:
            raise UsageError(f"{path} is from a run with other settings: remove it, or set another run folder.")
        self.place = Place(**state["place"])
        self._restore(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
