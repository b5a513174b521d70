"""One run of training: the loop, which pass is kept, and what a killed run needs to go on."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from core_models.atomic_write import write_atomically
from core_models.checkpoint import Checkpoint
from core_models.errors import DiskError, UsageError
from core_models.feature_spec import MODALITIES
from train.data.data_module import DataModule
from train.data.dialogue_tensors import Batch, TensorDialogue, collate
from train.evaluation.inference import predict
from train.evaluation.metrics import Scores, score
from train.loop.accelerator import gathered, random_states
from train.loop.failures import OUT_OF_MEMORY, Diverged, OutOfMemory
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.systems import system

# What a resumed run may change: what a run that diverged or ran out of memory must.
CHANGEABLE_ON_RESUME = ("lr", "batch", "clip", "epochs", "patience")


@dataclass
class RunProgress:
    """How far a run has come, besides its tensors."""

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Settings that were changed when the run was resumed: after which pass, from what, to what."""


class Run:
    """Model, optimiser and progress; everything that a killed run needs lies in `folder`.

    With several processes each holds all data and the whole model, takes its rows of every batch, and does the
    same; the first alone writes.
    """

    def __init__(
        self,
        config: FitConfig,
        material: DataModule,
        fabric: Fabric,
        console: Console,
        start: Checkpoint | None = None,
    ) -> None:
        """start: what the run goes on from; its configuration, weights and statistics are taken as they are."""
        self.config, self.material, self.fabric, self.console = config, material, fabric, console
        self.start, self.settings = start, config.fingerprint(start)
        self.folder = config.runs / config.name
        kind = system(config.system)
        torch.manual_seed(config.seed)
        network: Any
        if start is None:
            network = kind.network(kind.model_config(config.model, material.dimensions, len(material.labels)))
            for modality, (mean, deviation) in material.statistics().items():
                network.set_statistics(modality, mean, deviation)
        else:
            network = kind.network(start.model.config)
            network.load_state_dict(start.model.state_dict())
        self.objective = kind.make_objective(config.objective)
        if hasattr(self.objective, "class_weights"):
            weights = self.objective.class_weights or tuple(material.class_weights(config.class_weight).tolist())
            self.objective = replace(self.objective, class_weights=weights)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.decay)
        self.network = network
        self.model, self.optimizer = fabric.setup(network, optimizer)
        if fabric.global_rank:
            torch.manual_seed((config.seed << 16) + fabric.global_rank)  # dropout of its own
        self.progressed = RunProgress()
        self.selection = self._selection()
        last = self.folder / "last.pt"
        if config.resume and last.exists():
            self._resume(last)
        elif fabric.is_global_zero:
            self._begin()
        if start is not None and not self.progressed.epoch:
            self.progressed.best = self._selected(self.validate())  # what a pass has to be better than
            if fabric.is_global_zero:
                self._keep_best()
        fabric.barrier()
        self._curves = self._open_tensorboard()

    def fit(self) -> None:
        """Train until the last pass or until patience ends.

        Raises Diverged, OutOfMemory, DiskError; KeyboardInterrupt passes through. The last finished pass is on disk
        whatever happens.
        """
        config, progressed = self.config, self.progressed
        while progressed.epoch < config.epochs and progressed.epoch - progressed.best_epoch < config.patience:
            started = time.monotonic()
            losses = self._epoch(progressed.epoch)
            scores = self.validate()
            progressed.seconds += time.monotonic() - started
            selection = self._selected(scores)
            progressed.epoch += 1
            row = {
                "epoch": progressed.epoch,
                "selection": selection,
                **losses,
                **{f"{config.select_on} {pattern}": s.weighted_f1 for pattern, s in scores.items()},
            }
            progressed.history.append(row)
            if config.keep == "last" or selection > progressed.best:
                progressed.best, progressed.best_epoch = selection, progressed.epoch
                if self.fabric.is_global_zero:
                    self._keep_best()
            self._checkpoint()
            self._tell(row)

    def _selected(self, scores: dict[str, Scores]) -> float:
        return sum(scores[pattern].weighted_f1 for pattern in self.selection) / len(self.selection)

    def _keep_best(self) -> None:
        state = self.network.state_dict()
        write_atomically(self.folder / "best.safetensors", lambda path: save_file(state, path))

    def restore_best(self) -> None:
        """Load the weights of the pass that is kept."""
        self.network.load_state_dict(load_file(self.folder / "best.safetensors"))

    def validate(self) -> dict[str, Scores]:
        """Scores on the held-out dialogues under every pattern of modalities that they have."""
        return {
            pattern: score(*self.predict(dialogues), self.material.labels)
            for pattern, dialogues in self.material.validation.items()
        }

    def predict(self, dialogues: list[TensorDialogue]) -> tuple[Tensor, Tensor]:
        """`predict` with this run's network."""
        return predict(self.network, dialogues)

    def prior(self) -> Tensor:
        """float32 [C], the frequency of each class in training as the loss weighs it: the prior of the model."""
        weights = getattr(self.objective, "class_weights", None) or [1.0] * len(self.material.labels)
        weighted = self.material.class_counts() * torch.tensor(weights)
        return weighted / weighted.sum()

    def _selection(self) -> list[str]:
        """The patterns that decide which pass is kept. Raises UsageError."""
        known = [pattern for pattern in self.material.validation if not pattern.endswith(" clips")]
        for pattern in self.config.select:
            if pattern not in known:
                raise UsageError(f"select holds {pattern!r}: choose from {', '.join(known)}.")
        # Each alone and all together: the pairs lie between, and would only weigh the same things twice.
        return list(self.config.select) or [p for p in known if p in MODALITIES or p == known[-1]]

    def _epoch(self, number: int) -> dict[str, float]:
        config = self.config
        batches = self.material.training.epoch(number, config.batch)[: config.steps]
        sums: defaultdict[str, float] = defaultdict(float)
        self.model.train()
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
        with Progress(
            TextColumn(f"pass {number + 1}/{config.epochs}"), *columns, console=self.console, transient=True
        ) as progress:
            task = progress.add_task("", total=len(batches), loss=math.nan)
            for step, dialogues in enumerate(batches):
                self._set_rate((number + step / len(batches)) / config.epochs)
                losses = self._fitting_step(dialogues, f"pass {number + 1}, step {step + 1}")
                for name, value in losses.items():
                    sums[name] += value
                if not all(math.isfinite(value) for value in losses.values()):
                    raise Diverged(
                        f"The loss of run {config.name} is not a number in pass {number + 1}, step {step + 1}: set a "
                        "lower lr and go on from the last finished pass with --resume true."
                    )
                progress.update(task, advance=1, loss=sums["loss"] / (step + 1))
        return {name: value / len(batches) for name, value in sums.items()}

    def _fitting_step(self, dialogues: list[TensorDialogue], where: str) -> dict[str, float]:
        """`_step`; OutOfMemory of one sentence where the batch does not fit."""
        try:
            return self._step(collate(dialogues))
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not isinstance(error, MemoryError) and not any(what in str(error).lower() for what in OUT_OF_MEMORY):
                raise
        longest = max(map(len, dialogues))
        raise OutOfMemory(
            f"Run {self.config.name} ran out of memory in {where}, on {len(dialogues)} dialogues of up to {longest} "
            "utterances: set a lower batch and go on from the last finished pass with --resume true."
        )

    def _step(self, whole: Batch) -> dict[str, float]:
        whole = whole.filled(self.fabric.world_size).to(self.fabric.device)
        batch = whole.share(self.fabric.global_rank, self.fabric.world_size)
        features = {m: self._drop(m, x) for m, x in batch.features.items()}
        output = gathered(self.fabric, self.model(features, batch.present, batch.speakers, batch.padding))
        # The loss sees the posterior under the prior of each dialogue's own corpus, the model keeps the dialogues'.
        output = output._replace(
            logits=output.logits + whole.offset, students=output.students + whole.offset[:, :, None]
        )
        losses = self.objective(output, whole.labels, whole.present & ~whole.padding[..., None])
        self.optimizer.zero_grad()
        self.fabric.backward(losses.total)
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False)
        self.optimizer.step()
        return {"loss": float(losses.total.detach()), **{name: float(value) for name, value in losses.parts().items()}}

    def _drop(self, modality: str, x: Tensor) -> Tensor:
        share = self.config.feature_dropout.get(modality, 0.0)
        if not share:
            return x
        mean = self.network.get_buffer(f"{modality}_mean")
        return torch.where(torch.rand_like(x) < share, mean, x)

    def _set_rate(self, done: float) -> None:
        factor = 1.0
        if self.config.schedule == "cosine":
            factor = min(done / 0.05, 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * max(factor, 1e-3)

    def _begin(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("last.pt", "best.safetensors", "history.jsonl"):
                (self.folder / name).unlink(missing_ok=True)
            shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)
        except OSError as error:
            raise DiskError(f"{self.folder} cannot be written ({error.strerror}): set --runs elsewhere.") from None

    def _checkpoint(self) -> None:
        random = random_states(self.fabric)
        if not self.fabric.is_global_zero:
            return
        state = {
            "config": self.settings,
            "progressed": dataclasses.asdict(self.progressed),
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": random,
        }
        write_atomically(self.folder / "last.pt", lambda path: torch.save(state, path))
        lines = [json.dumps(row) for row in self.progressed.history]
        write_atomically(self.folder / "history.jsonl", lambda path: path.write_text("\n".join(lines) + "\n"))

    def _resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True, map_location="cpu")
        old, new = state["config"], self.settings
        changed = {name: [old.get(name), new[name]] for name in CHANGEABLE_ON_RESUME if old.get(name) != new[name]}
        if {**old, **{name: new[name] for name in changed}} != new:
            raise UsageError(
                f"{path} is from a run with other settings: give this one another name, or leave out --resume; "
                f"{', '.join(CHANGEABLE_ON_RESUME)} alone may change."
            )
        self.progressed = RunProgress(**state["progressed"])
        if changed:
            self.progressed.changes.append({"after_pass": self.progressed.epoch, **changed})
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        # Another number of processes than before has no states to go on from: it draws anew.
        if len(state["random"]) == self.fabric.world_size:
            torch.set_rng_state(state["random"][self.fabric.global_rank])

    def _open_tensorboard(self) -> Any:
        if not (self.config.tensorboard and self.fabric.is_global_zero):
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard", purge_step=self.progressed.epoch + 1)

    def _tell(self, row: dict[str, Any]) -> None:
        kept = "  kept" if self.progressed.best_epoch == row["epoch"] else ""
        part = f"{self.config.select_on} "
        scores = "  ".join(
            f"{name.removeprefix(part)} {100 * value:.1f}" for name, value in row.items() if name.startswith(part)
        )
        seconds = self.progressed.seconds / self.progressed.epoch
        self.console.print(
            f"pass {row['epoch']}: loss {row['loss']:.3f}  {part}{scores}{kept}  ({seconds:.1f} s a pass)",
            highlight=False,
            soft_wrap=True,
        )
        if self._curves is not None:
            for name, value in row.items():
                tag = name.replace(" ", "/", 1) if name.startswith(part) else f"loss/{name}"
                if name != "epoch":
                    self._curves.add_scalar("selection" if name == "selection" else tag, value, row["epoch"])
            self._curves.flush()
