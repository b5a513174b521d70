"""One run of text training: the encoder under its adapter, the loop over stages, and what a killed run goes on from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import nn

from core_models.atomic_write import write_atomically
from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import Encoder
from core_models.labels import LabelSet
from core_models.text_adapter import load_adapter
from train.data.class_balance import class_weights
from train.data.length_buckets import bucketed
from train.evaluation.metrics import score
from train.loop.failures import Diverged
from train.recipes.text.config import Stage, TextConfig
from train.recipes.text.labelled_lines import Lines
from train.recipes.text.lora_classifier import EmotionClassifier

WARM_UP = 0.05  # share of a stage's steps


@dataclasses.dataclass
class Place:
    """How far a run has come, besides its tensors."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class TextRun:
    """One run: model, optimiser and place, and their checkpoint in `config.run`."""

    def __init__(self, config: TextConfig, encoder: Encoder, label_sets: Sequence[LabelSet], console: Console) -> None:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config = config
        self.console = console
        self.fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        self.model: Any = self.fabric.setup_module(EmotionClassifier(encoder, config, label_sets))
        self.encoder = encoder
        if config.start is not None:
            self._go_on_from(config.start)
        self.optimizer = self._new_optimizer()
        self.place = Place()
        config.run.mkdir(parents=True, exist_ok=True)
        self._resume()

    def fit(self, stages: Sequence[Callable[[int], Lines]], validation: Lines) -> None:
        """Runs what is left of the stages; afterwards the model is the kept one of the last stage.

        `stages` give their lines for an epoch, since words are misheard anew in each. Raises Diverged.
        """
        config, place = self.config, self.place
        while place.stage < len(stages):
            stage = config.stages[place.stage]
            while place.epoch < stage.epochs:
                lines = stages[place.stage](place.epoch)
                loss = self._epoch(stage, lines)
                self._validate(stage, lines, validation, loss)
                place.batch = 0
                place.epoch += 1
                self._checkpoint()
            place.stage, place.epoch = place.stage + 1, 0
            self.optimizer = self._new_optimizer()
            self._checkpoint()
        self.model.restore(load_file(config.run / "best.safetensors"))

    def evaluate(self, lines: Lines) -> dict[str, Any]:
        """Scores of the encoder's own classifier in percent (train/evaluation/metrics.py), and the number of lines."""
        logits = torch.empty(len(lines), len(lines.labels))
        rows = lines.rows(self.encoder, self.config.max_tokens, self.config.context)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                batch = order[start : start + 64]
                logits[batch] = self.model([rows[index] for index in batch], lines.labels.name).float().cpu()
        scores = score(logits, torch.tensor(lines.classes), lines.labels)
        return {
            "weighted_f1": 100 * scores.weighted_f1,
            "macro_f1": 100 * scores.macro_f1,
            "accuracy": 100 * scores.accuracy,
            "f1": {label: round(100 * value, 2) for label, value in scores.per_class_f1.items()},
            "n": len(lines),
        }

    def _epoch(self, stage: Stage, lines: Lines) -> float:
        config, place = self.config, self.place
        rows = lines.rows(self.encoder, config.max_tokens, config.context)
        classes = lines.classes
        batches = bucketed([len(row.ids) for row in rows], config.batch, seed=(config.seed, place.stage, place.epoch))
        weights = class_weights(classes, len(lines.labels), stage.class_weight).to(self.fabric.device)
        loss_sum = torch.zeros((), device=self.fabric.device)
        self.model.train()
        with Progress(
            TextColumn(f"{stage.corpus} {place.epoch + 1}/{stage.epochs}"),
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()),
            TextColumn("loss {task.fields[loss]:.3f}"),
            console=self.console,
        ) as progress:
            bar = progress.add_task("", total=len(batches), completed=place.batch, loss=float("nan"))
            started, clock = place.batch, time.monotonic()
            while place.batch < len(batches):
                done = (place.epoch * len(batches) + place.batch) / (stage.epochs * len(batches))
                for group in self.optimizer.param_groups:
                    group["lr"] = stage.lr * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
                batch = batches[place.batch]
                truth = torch.tensor([classes[index] for index in batch], device=self.fabric.device)
                logits = self.model([rows[index] for index in batch], lines.labels.name)
                loss = nn.functional.cross_entropy(logits, truth, weights, label_smoothing=stage.smoothing)
                self.fabric.backward(loss)
                self.fabric.clip_gradients(self.model, self.optimizer, max_norm=1.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
                loss_sum += loss.detach()
                place.batch += 1
                place.seconds, clock = place.seconds + time.monotonic() - clock, time.monotonic()
                mean = float(loss_sum) / (place.batch - started)
                if mean != mean:
                    raise Diverged(
                        f"The loss is not a number in epoch {place.epoch + 1} of {stage.corpus}, batch {place.batch}: "
                        f"set a lower lr for that stage, remove {config.run / 'last.pt'} and begin again."
                    )
                if place.batch % config.checkpoint_every == 0:
                    self._checkpoint()
                progress.update(bar, completed=place.batch, loss=mean)
        return float(loss_sum) / max(1, place.batch - started)

    def _validate(self, stage: Stage, lines: Lines, validation: Lines, loss: float) -> None:
        place = self.place
        last = place.stage == len(self.config.stages) - 1
        seen = self.evaluate(dataclasses.replace(lines, lines=lines.lines[:1000]))["accuracy"]
        row = {"stage": stage.corpus, "epoch": place.epoch + 1, "loss": loss, "train_accuracy": seen}
        told = f"{stage.corpus} epoch {place.epoch + 1}: loss {loss:.3f}, accuracy on its own lines {seen:.2f}"
        if lines.labels == validation.labels:
            scores = self.evaluate(validation)
            row |= {name: scores[name] for name in ("weighted_f1", "macro_f1", "accuracy")}
            told += f", validation weighted F1 {scores['weighted_f1']:.2f}, accuracy {scores['accuracy']:.2f}"
        place.epochs.append(row)
        self.console.print(told, highlight=False)
        if last and (self.config.keep == "last" or row["weighted_f1"] > place.best):
            place.best, place.best_epoch = row["weighted_f1"], place.epoch + 1
            write_atomically(self.config.run / "best.safetensors", lambda path: save_file(self.model.trained(), path))

    def _go_on_from(self, folder: Path) -> None:
        sidecar, tensors = load_adapter(folder)
        own = (self.config.rank, self.config.alpha, sorted(self.model.targets))
        if sidecar.base_digest != self.encoder.digest or (sidecar.rank, sidecar.alpha, sorted(sidecar.targets)) != own:
            raise UsageError(
                f"start: {folder} is of another base, rank, alpha or layers (base {sidecar.base}, rank {sidecar.rank}, "
                f"alpha {sidecar.alpha:g}): give this run the same, or leave start out."
            )
        factors = {name: tensor.float() for name, tensor in tensors.items() if ".lora_" in name}
        self.model.restore(self.model.trained() | factors)

    def _new_optimizer(self) -> Any:
        trained = [value for value in self.model.parameters() if value.requires_grad]
        return self.fabric.setup_optimizers(torch.optim.AdamW(trained, lr=0.0, weight_decay=self.config.decay))

    def _checkpoint(self) -> None:
        state = {
            "config": self.config.fingerprint(),
            "place": dataclasses.asdict(self.place),
            "trained": self.model.trained(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        write_atomically(self.config.run / "last.pt", lambda path: torch.save(state, path))

    def _resume(self) -> None:
        path = self.config.run / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)
        if state["config"] != self.config.fingerprint():
            raise UsageError(f"{path} is from a run with other settings: remove it, or set another run folder.")
        self.place = Place(**state["place"])
        self.model.restore(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())

