"""The one training loop: passes over batches, validation, the pass that is kept, and the resume checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from core_models.atomic_write import write_atomically
from core_models.errors import UsageError
from train.loop.accelerator import random_states
from train.loop.failures import GO_ON, check_finite, guarded
from train.loop.fingerprint import CHANGEABLE, changed
from train.loop.schedule import Schedule, learning_rate

# What a run leaves in its folder: what it goes on from, the weights of the pass that is kept, a row for each pass.
FILES = ("last.pt", "best.safetensors", "history.jsonl")


@dataclass
class RunProgress:
    """How far a run has come, besides its tensors."""

    epoch: int = 0
    """Finished passes."""
    batch: int = 0
    """Finished steps of the pass that is under way."""
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    """Loss term -> its sum over the finished steps of the pass that is under way."""
    history: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Settings that were changed when the run was resumed: after which pass, from what, to what."""


class Trainer:
    """Module, optimiser and progress of one run; everything that a killed run needs lies in `folder`.

    A run that was killed and is started again goes on from its last checkpoint and, on a CPU with the same number of
    threads, ends with the weights, bit by bit, of one that was not. One of other `settings` is refused (see
    `Schedule.resume`). With several processes each does the same on its rows of every batch; the first alone writes.

    A recipe opens Fabric, builds its module and an optimiser over it (`schedule.adamw`), and gives `fit` three
    functions; in them it calls `trainer.model`, the module as Fabric runs it.
    """

    def __init__(
        self,
        folder: Path,
        schedule: Schedule,
        settings: Mapping[str, Any],
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        fabric: Fabric,
        console: Console,
        *,
        title: str = "pass",
        select: str = "score",
    ) -> None:
        """`select` names the figure of `validate` that is highest in the best pass; `title` stands before each pass.

        Raises UsageError where the folder holds a run of other settings, DiskError where it cannot be written.
        """
        self.folder, self.schedule, self.settings = folder, schedule, dict(settings)
        self.module, self.fabric, self.console = module, fabric, console
        self.title, self.select = title, select
        self.model: Any
        self.optimizer: Any
        self._bare_optimizer = optimizer
        self.model, self.optimizer = fabric.setup(module, optimizer)
        self.progress = RunProgress()
        self._steps = 1  # of the pass that is under way
        last = folder / FILES[0]
        if schedule.resume is not False and last.exists():
            self.resume(last)
        elif fabric.is_global_zero:
            self._clear_folder()
        fabric.barrier()

    def fit(
        self,
        batches: Callable[[int], Sequence[Any]],
        step: Callable[[Any], Mapping[str, Tensor]],
        validate: Callable[[], Mapping[str, Any]],
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Train until the last pass or until patience ends, and leave the module with the weights that are kept.

        `batches(epoch)` lists the batches of a pass, the same whenever it is asked; `step(batch)` gives the terms of
        the loss by name, scalars, of which "loss" is minimised; `validate()` gives figures of the module in evaluation
        mode; `report(row)` tells of a finished pass in place of the usual line. Raises Diverged, OutOfMemory,
        DiskError; KeyboardInterrupt passes through. The last checkpoint is on disk whatever happens.
        """
        progress, schedule = self.progress, self.schedule
        scheduler: LambdaLR | None = None
        while progress.epoch < schedule.epochs and not self._is_patience_over():
            began = time.monotonic()
            seconds = progress.seconds
            listed = batches(progress.epoch)
            self._steps = max(1, len(listed))
            scheduler = scheduler or learning_rate(self._bare_optimizer, schedule, self._share_done)
            losses = self._run_epoch(listed, step, scheduler)
            with guarded(f"the validation of pass {progress.epoch + 1}"), torch.inference_mode():
                self.model.eval()
                figures = validate()
            numbers = {name: torch.tensor(value) for name, value in figures.items() if isinstance(value, float)}
            check_finite(numbers, f"the validation of pass {progress.epoch + 1}")
            progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}
            progress.seconds = seconds + time.monotonic() - began
            row = {"epoch": progress.epoch, **losses, **figures}
            progress.history.append(row)
            if schedule.keep == "last" or row[self.select] > progress.best:
                # The weights first, then the progress that names them: a kill between the two costs this pass alone,
                # which is then trained again to the same weights.
                self.keep(float(row.get(self.select, math.nan)))
            self.save()
            (report or self._report_pass)(row)
        # The first process may still be writing.
        self.fabric.barrier()
        self.restore_best()

    def keep(self, score: float) -> None:
        """Take the weights as they stand for the best so far."""
        self.progress.best, self.progress.best_epoch = score, self.progress.epoch
        if self.fabric.is_global_zero:
            self._write_file(FILES[1], lambda path: save_file(self._trained_tensors(), path))

    def restore_best(self) -> None:
        """Load the weights of the pass that is kept, and leave the module in evaluation mode."""
        self.module.load_state_dict(load_file(self.folder / FILES[1]), strict=False)
        self.module.eval()

    def record(self) -> dict[str, Any]:
        """The run's part of the training record."""
        progress = self.progress
        found = {"epochs": progress.history, "best_epoch": progress.best_epoch, "seconds": round(progress.seconds)}
        return found | ({"changes": progress.changes} if progress.changes else {})

    def save(self) -> None:
        """Write the resume checkpoint, and the history of the passes."""
        random = random_states(self.fabric)
        if not self.fabric.is_global_zero:
            return
        state = {
            "settings": self.settings,
            "progress": dataclasses.asdict(self.progress),
            "module": self._trained_tensors(),
            "optimizer": self.optimizer.state_dict(),
            "random": random,
        }
        self._write_file(FILES[0], lambda path: torch.save(state, path))
        rows = "".join(json.dumps(row) + "\n" for row in self.progress.history)
        self._write_file(FILES[2], lambda path: path.write_text(rows, encoding="utf-8"))

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote. Raises UsageError where settings differ that must not."""
        # A run folder may come from somebody else, so nothing in it may run; on the CPU first, so that a run of a
        # machine with a GPU goes on without one.
        state = torch.load(path, weights_only=True, map_location="cpu")
        if "progress" not in state:
            raise UsageError(f"{path} was written by an earlier version: set resume to false, or another run folder.")
        differing = changed(state["settings"], self.settings)
        allowed = CHANGEABLE if self.schedule.resume else frozenset[str]()
        refused = [name for name in differing if name.rsplit(".", 1)[-1] not in allowed]
        if refused:
            raise UsageError(
                f"{path} is from a run with other settings ({', '.join(refused)}): set resume to false to begin anew, "
                f"or another run folder; with resume true {', '.join(sorted(CHANGEABLE))} alone may differ."
            )
        self.progress = RunProgress(**state["progress"])
        if differing:
            self.progress.changes.append({"after_pass": self.progress.epoch, **differing})
            # A pass in other batches begins at its first.
            self.progress.batch, self.progress.sums = 0, {}
        # Not strict: what training leaves as it is (an encoder under an adapter) is not in the file.
        self.module.load_state_dict(state["module"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        # Another number of processes than before has no states to go on from: it draws anew.
        if len(state["random"]) == self.fabric.world_size:
            torch.set_rng_state(state["random"][self.fabric.global_rank])

    def _run_epoch(
        self, batches: Sequence[Any], step: Callable[[Any], Mapping[str, Tensor]], scheduler: LambdaLR
    ) -> dict[str, float]:
        """The rest of a pass; the mean of each loss term over its steps."""
        progress = self.progress
        self.model.train()
        with Progress(
            TextColumn(f"{self.title} {progress.epoch + 1}/{self.schedule.epochs}"),
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()),
            TextColumn("loss {task.fields[loss]:.3f}"),
            console=self.console,
            transient=True,
        ) as shown:
            bar = shown.add_task("", total=len(batches), completed=progress.batch, loss=math.nan)
            while progress.batch < len(batches):
                where = f"{self.title} {progress.epoch + 1}, step {progress.batch + 1}"
                began = time.monotonic()
                with guarded(where):
                    losses = self._take_step(batches[progress.batch], step, where)
                for name, value in losses.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                progress.batch += 1
                scheduler.step()
                progress.seconds += time.monotonic() - began
                if progress.batch % self.schedule.checkpoint_every == 0 and progress.batch < len(batches):
                    # Before it is saved: a checkpoint whose weights are no numbers could never be gone on from.
                    self._check_weights(where)
                    self.save()
                shown.update(bar, completed=progress.batch, loss=progress.sums["loss"] / progress.batch)
        self._check_weights(f"{self.title} {progress.epoch + 1}")
        return {name: total / len(batches) for name, total in progress.sums.items()}

    def _take_step(self, batch: Any, step: Callable[[Any], Mapping[str, Tensor]], where: str) -> dict[str, float]:
        """One step of the optimiser; the loss is checked before anything is changed by it."""
        terms = step(batch)
        check_finite(terms, where)
        self.optimizer.zero_grad()
        self.fabric.backward(terms["loss"])
        if self.schedule.clip is not None:
            # A gradient that is not finite makes weights that are not: `_check_weights` finds them and names the pass
            # and the step, which torch's own error would not.
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=self.schedule.clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        # One transfer from the device for all terms of a step.
        values = torch.stack([value.detach().float() for value in terms.values()]).tolist()
        return dict(zip(terms, values, strict=True))

    def _check_weights(self, where: str) -> None:
        # A step on a finite loss can still end in weights that are none: they must not be saved, nor kept.
        check_finite({name: value for name, value in self.module.named_parameters() if value.requires_grad}, where)

    def _share_done(self) -> float:
        return min(1.0, (self.progress.epoch + self.progress.batch / self._steps) / self.schedule.epochs)

    def _is_patience_over(self) -> bool:
        patience, progress = self.schedule.patience, self.progress
        return (
            self.schedule.keep == "best" and patience is not None and (progress.epoch - progress.best_epoch >= patience)
        )

    def _trained_tensors(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name: trained parameters and buffers that are part of the state."""
        state = self.module.state_dict().keys()
        parameters = [(name, value) for name, value in self.module.named_parameters() if value.requires_grad]
        named = [*parameters, *self.module.named_buffers()]
        return {name: value.detach().cpu().contiguous() for name, value in named if name in state}

    def _clear_folder(self) -> None:
        with guarded(f"the beginning of run {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)

    def _write_file(self, name: str, write: Callable[[Path], object]) -> None:
        write_atomically(self.folder / name, write, f"free space and {GO_ON}")

    def _report_pass(self, row: dict[str, Any]) -> None:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if isinstance(value, float))
        kept = ", kept" if self.progress.best_epoch == row["epoch"] else ""
        self.console.print(f"{self.title} {row['epoch']}: {figures}{kept}", highlight=False, soft_wrap=True)
