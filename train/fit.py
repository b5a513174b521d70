"""Trains a dialogue model: `python -m train fit --config configs/train/...`."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from core_models.errors import TrackerError, UsageError
from core_models.sdt import SDT, SDTConfig
from train.dialogues_in_tensors import Batch, TensorDialogue, collate
from train.extractors import Features
from train.material import Data, Material, gather
from train.mixture import MixtureOptions
from train.objectives.sdt import SDTObjective
from train.scores import Scores, score

# Each modality alone and all together: the pairs lie between, and would only weigh the same things twice.
SELECTION = ("text", "voice", "face", "text+voice+face")


@dataclass(frozen=True)
class FitConfig:
    """What `fit` trains, on what, and where the result goes."""

    data: Data
    """The corpora and how they are split."""
    model: dict[str, Any]
    """Fields of the model's configuration but for dimensions and classes, which the data decide."""
    name: str = "sdt"
    """Name of the run: its folder is runs/NAME."""
    features: Features = field(default_factory=Features)
    """The feature code, by the names of its weights."""
    mixture: MixtureOptions = field(default_factory=MixtureOptions)
    """How training dialogues are put together."""
    objective: SDTObjective = field(default_factory=SDTObjective)
    """The training objective."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike. It shifts the
    model's prior, and the recorded one with it. In place of `objective.class_weights`."""
    lr: float = 3e-4
    """Peak learning rate of AdamW."""
    decay: float = 1e-2
    """AdamW's weight decay."""
    schedule: str = "cosine"
    """`cosine` to zero over all epochs after a warm-up of one twentieth, or `constant` (the papers)."""
    batch: int = 16
    """Dialogues a step."""
    epochs: int = 30
    """Passes over the training dialogues at most."""
    patience: int = 8
    """Passes without a better validation score after which training ends."""
    feature_dropout: dict[str, float] = field(default_factory=dict)
    """Modality -> share of its input dimensions put to their mean, drawn anew for each vector."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Of weights, order, pairing, patterns and dropout."""
    steps: int | None = None
    """End every pass after this many steps (for trying a config out)."""
    device: str = "auto"
    """Fabric's accelerator: auto, cpu or cuda."""
    threads: int = 2
    """CPU threads of training."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    export: Path | None = None
    """Folder of the finished checkpoint; the run's own `checkpoint` where it is null."""
    resume: bool = False
    """Go on from the run's last finished pass."""
    tensorboard: bool = False
    """Write the curves for TensorBoard as well."""

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "constant"):
            raise UsageError(f"schedule is {self.schedule!r}: use cosine or constant.")
        if self.class_weight and self.objective.class_weights is not None:
            raise UsageError("class_weight and objective.class_weights cannot both be given: choose one.")
        for name in ("batch", "epochs", "patience", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: expected 1 or more.")

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the result, as plain values; where things lie does not."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        for name in ("runs", "export", "resume", "tensorboard", "device", "threads"):
            del settings[name]
        for name in ("meld", "ravdess", "fer2013", "store"):
            settings["data"][name] = None if settings["data"][name] is None else "given"
        return settings


class Diverged(TrackerError):
    """The loss is no number any more."""


@dataclass
class Progressed:
    """How far a run has come, besides its tensors."""

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One run: model, optimiser and progress; everything that a killed run needs lies in `folder`."""

    def __init__(self, config: FitConfig, material: Material, console: Console) -> None:
        self.config, self.material, self.console = config, material, console
        self.folder = config.runs / config.name
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.fabric = Fabric(accelerator=config.device, devices=1)
        network = SDT(model_config(config, material))
        for modality, (mean, deviation) in material.statistics().items():
            network.set_statistics(modality, mean, deviation)
        weights = material.class_weights(config.class_weight)
        given = config.objective.class_weights
        self.objective = replace(config.objective, class_weights=given or tuple(weights.tolist()))
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.decay)
        self.network = network
        self.model, self.optimizer = self.fabric.setup(network, optimizer)
        self.progressed = Progressed()
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self.folder / "last.pt"
        if config.resume and last.exists():
            self._resume(last)
        elif last.exists():
            last.unlink()
        self._curves = self._open_tensorboard()

    def fit(self) -> None:
        """Train until the last pass or until patience ends; afterwards `network` holds the best pass.

        Raises Diverged. KeyboardInterrupt passes through; the last finished pass is on disk in both cases.
        """
        config, progressed = self.config, self.progressed
        while progressed.epoch < config.epochs and progressed.epoch - progressed.best_epoch < config.patience:
            losses = self._epoch(progressed.epoch)
            scores = self.validate()
            selection = sum(scores[pattern].weighted_f1 for pattern in self.selection) / len(self.selection)
            progressed.epoch += 1
            row = {
                "epoch": progressed.epoch,
                "selection": selection,
                **losses,
                **{f"validation {pattern}": s.weighted_f1 for pattern, s in scores.items()},
            }
            progressed.history.append(row)
            if selection > progressed.best:
                progressed.best, progressed.best_epoch = selection, progressed.epoch
                _replace(self.folder / "best.safetensors", lambda p: save_file(self.network.state_dict(), p))
            self._checkpoint()
            self._tell(row)
        self.network.load_state_dict(load_file(self.folder / "best.safetensors"))

    def validate(self) -> dict[str, Scores]:
        """Scores on the validation dialogues under every pattern of modalities that they have."""
        return {
            pattern: score(*self.predict(dialogues), self.material.labels)
            for pattern, dialogues in self.material.validation.items()
        }

    def predict(self, dialogues: list[TensorDialogue]) -> tuple[Tensor, Tensor]:
        """`predict` with this run's network."""
        return predict(self.network, dialogues)

    def prior(self) -> Tensor:
        """float32 [C], the frequency of each class in training as the loss weighs it: the prior of the model."""
        weighted = self.material.class_counts() * torch.tensor(self.objective.class_weights)
        return weighted / weighted.sum()

    @property
    def selection(self) -> list[str]:
        """The patterns that decide which pass is kept: SELECTION, as far as the validation dialogues have them."""
        return [pattern for pattern in SELECTION if pattern in self.material.validation]

    def _epoch(self, number: int) -> dict[str, float]:
        config = self.config
        batches = self.material.training.epoch(number, config.batch)[: config.steps]
        sums = torch.zeros(4)
        self.model.train()
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
        with Progress(
            TextColumn(f"pass {number + 1}/{config.epochs}"), *columns, console=self.console, transient=True
        ) as progress:
            task = progress.add_task("", total=len(batches), loss=math.nan)
            for step, dialogues in enumerate(batches):
                self._set_rate((number + step / len(batches)) / config.epochs)
                batch = collate(dialogues).to(self.fabric.device)
                sums += self._step(batch)
                if not sums.isfinite().all():
                    raise Diverged(
                        f"The loss of run {config.name} is not a number in pass {number + 1}, step {step + 1}: set a "
                        f"lower lr and go on from the last finished pass with --resume true."
                    )
                progress.update(task, advance=1, loss=float(sums[0]) / (step + 1))
        names = ("loss", "task", "ce", "kl")
        return {name: float(value) / len(batches) for name, value in zip(names, sums, strict=True)}

    def _step(self, batch: Batch) -> Tensor:
        features = {m: self._drop(m, x) for m, x in batch.features.items()}
        output = self.model(features, batch.present, batch.speakers, batch.padding)
        # The loss sees the posterior under the prior of each dialogue's own corpus, the model keeps MELD's.
        output = output._replace(
            logits=output.logits + batch.offset, students=output.students + batch.offset[:, :, None]
        )
        losses = self.objective(output, batch.labels, batch.present & ~batch.padding[..., None])
        self.optimizer.zero_grad()
        self.fabric.backward(losses.total)
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False)
        self.optimizer.step()
        return torch.stack([losses.total, losses.task, losses.ce.sum(), losses.kl.sum()]).detach().cpu()

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

    def _checkpoint(self) -> None:
        state = {
            "config": self.config.fingerprint(),
            "progressed": dataclasses.asdict(self.progressed),
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        _replace(self.folder / "last.pt", lambda path: torch.save(state, path))
        lines = [json.dumps(row) for row in self.progressed.history]
        _replace(self.folder / "history.jsonl", lambda path: path.write_text("\n".join(lines) + "\n"))

    def _resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["config"] != self.config.fingerprint():
            raise UsageError(
                f"{path} is from a run with other settings: give this one another name, or leave out --resume."
            )
        self.progressed = Progressed(**state["progressed"])
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])

    def _open_tensorboard(self) -> Any:
        if not self.config.tensorboard:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard")

    def _tell(self, row: dict[str, Any]) -> None:
        best = "  best" if self.progressed.best_epoch == row["epoch"] else ""
        scores = "  ".join(
            f"{name.removeprefix('validation ')} {100 * value:.1f}"
            for name, value in row.items()
            if name.startswith("validation ")
        )
        self.console.print(f"pass {row['epoch']}: loss {row['loss']:.3f}  {scores}{best}", highlight=False)
        if self._curves is not None:
            for name, value in row.items():
                self._curves.add_scalar(name, value, row["epoch"])
            self._curves.flush()


def model_config(config: FitConfig, material: Material) -> SDTConfig:
    """The model's configuration, completed by what the data decide. Raises UsageError."""
    try:
        return SDTConfig(dimensions=material.dimensions, classes=len(material.labels), **config.model)
    except TypeError as error:
        raise UsageError(f"model: {error}; see `python -m train fit --help`.") from None


def predict(model: SDT, dialogues: list[TensorDialogue]) -> tuple[Tensor, Tensor]:
    """(logits [n, C], labels [n]) of every labelled utterance at which a modality is present, in order.

    The logits are under the prior of each dialogue's corpus: its `offset` is added.
    """
    device = next(model.parameters()).device
    model.eval()
    logits, labels = [], []
    with torch.inference_mode():
        for start in range(0, len(dialogues), 64):
            batch = collate(dialogues[start : start + 64]).to(device)
            output = model(batch.features, batch.present, batch.speakers, batch.padding)
            counted = (batch.labels >= 0) & batch.present.any(dim=-1) & ~batch.padding
            logits.append((output.logits + batch.offset)[counted].cpu())
            labels.append(batch.labels[counted].cpu())
    return torch.cat(logits), torch.cat(labels)


def fit(config: FitConfig) -> Path:
    """Train, write the checkpoint, and return its folder.

    The checkpoint is that of the pass with the best mean weighted F1 over SELECTION on the validation dialogues.
    The corpora's own dev splits and the actors held out for testing are not looked at: `python -m train eval` does
    that.
    """
    from train.export import export

    console = Console(stderr=True)
    material = gather(config.data, config.features, config.mixture, config.model, config.seed)
    console.print(material.describe(), highlight=False)
    run = Run(config, material, console)
    run.fit()
    folder = config.export or run.folder / "checkpoint"
    export(run, folder)
    console.print(f"checkpoint: {folder}", highlight=False)
    return folder


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    unfinished = path.with_suffix(".unfinished")
    write(unfinished)
    os.replace(unfinished, path)
