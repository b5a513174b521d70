"""Fine-tuning of a sentence encoder: its module, its batches, its validation; the loop is train/loop/trainer.py's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import Encoder, Row
from core_models.labels import LabelSet
from core_models.text_adapter import load_adapter
from train.data.class_balance import class_weights
from train.data.length_buckets import bucket_by_length
from train.evaluation.metrics import score
from train.loop.failures import check_finite
from train.loop.schedule import adamw
from train.loop.trainer import Trainer
from train.recipes.text.config import FineTuningStage, TextConfig
from train.recipes.text.labelled_lines import Lines
from train.recipes.text.lora_classifier import EmotionClassifier

# Lines at once: no gradients are kept, so twice a step's usual batch fits.
EVALUATED = 64
# Of a stage's own lines whose accuracy is reported: enough for a per cent, and quickly read.
SEEN_LINES = 1000


class TextBatch(NamedTuple):
    """Some lines of a pass."""

    rows: list[Row]
    classes: Tensor
    """int64 [B]"""


class FineTuning:
    """The encoder under its adapter and its classifiers, and its training stage after stage."""

    def __init__(
        self, config: TextConfig, encoder: Encoder, label_sets: Sequence[LabelSet], fabric: Fabric, console: Console
    ) -> None:
        """Raises UsageError where `config.start` does not go with the encoder."""
        torch.manual_seed(config.seed)
        self.config, self.encoder, self.fabric, self.console = config, encoder, fabric, console
        self.model = EmotionClassifier(encoder, config, label_sets)
        if config.start is not None:
            self._go_on_from(config)
        self.trainers: list[Trainer] = []

    def fit(self, stages: Sequence[Callable[[int], Lines]], validation: Lines) -> None:
        """Run what is left of the stages; afterwards the model is the kept one of the last stage.

        `stages` give their lines for a pass, since words are misheard anew in each. Each stage is a run of its own in
        a folder below `config.run`. Raises Diverged, OutOfMemory, DiskError.
        """
        for number, lines in enumerate(stages):
            stage = self.config.stages[number]
            trainer = Trainer(
                self.config.run / f"{number + 1}-{stage.corpus}",
                schedule := self.config.schedule(number),
                self.config.fingerprint(),
                self.model,
                adamw(self.model.parameters(), schedule),
                self.fabric,
                self.console,
                title=stage.corpus,
                select="weighted_f1",
            )
            self.trainers.append(trainer)
            self._fit_stage(trainer, number, lines, validation)

    def evaluate(self, lines: Lines) -> dict[str, Any]:
        """Scores of the encoder's own classifier in percent (train/evaluation/metrics.py), and the number of lines."""
        logits = torch.empty(len(lines), len(lines.labels))
        rows = lines.rows(self.encoder, self.config.max_tokens, self.config.context)
        # By length, so that a batch holds little padding.
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), EVALUATED):
                batch = order[start : start + EVALUATED]
                logits[batch] = self._forward([rows[index] for index in batch], lines.labels).float().cpu()
        check_finite({"logits": logits}, "validation")
        scores = score(logits, torch.tensor(lines.classes), lines.labels)
        return {
            "weighted_f1": 100 * scores.weighted_f1,
            "macro_f1": 100 * scores.macro_f1,
            "accuracy": 100 * scores.accuracy,
            "f1": {label: round(100 * value, 2) for label, value in scores.per_class_f1.items()},
            "n": len(lines),
        }

    def record(self) -> dict[str, Any]:
        """The training record of all stages; `best_epoch` is the kept one of the last."""
        records = [trainer.record() for trainer in self.trainers]
        rows = [
            {"stage": stage.corpus, **row}
            for stage, one in zip(self.config.stages, records, strict=True)
            for row in one["epochs"]
        ]
        return records[-1] | {"epochs": rows, "seconds": sum(one["seconds"] for one in records)}

    def _fit_stage(self, trainer: Trainer, number: int, lines: Callable[[int], Lines], validation: Lines) -> None:
        config, stage = self.config, self.config.stages[number]
        first = lines(0)
        weights = class_weights(first.classes, len(first.labels), stage.class_weight).to(self.fabric.device)

        def batches(epoch: int) -> list[TextBatch]:
            own = lines(epoch)
            rows, classes = own.rows(self.encoder, config.max_tokens, config.context), own.classes
            listed = bucket_by_length([len(row.ids) for row in rows], config.batch, seed=(config.seed, number, epoch))
            return [TextBatch([rows[i] for i in batch], torch.tensor([classes[i] for i in batch])) for batch in listed]

        def step(batch: TextBatch) -> dict[str, Tensor]:
            logits = trainer.model(batch.rows, first.labels.name)
            return {"loss": _loss(logits, batch.classes.to(logits.device), weights, stage)}

        def validate() -> Mapping[str, float]:
            own = lines(trainer.progress.epoch)
            seen = self.evaluate(dataclasses.replace(own, lines=own.lines[:SEEN_LINES]))["accuracy"]
            # A stage of another label set has a classifier of its own: the validation's learns nothing in it.
            if first.labels != validation.labels:
                return {"train_accuracy": seen}
            scores = self.evaluate(validation)
            return {"train_accuracy": seen, **{name: scores[name] for name in ("weighted_f1", "macro_f1", "accuracy")}}

        trainer.fit(batches, step, validate)

    def _forward(self, rows: list[Row], labels: LabelSet) -> Tensor:
        # Through Fabric where there is a trainer: in the precision that it trained in.
        model = self.trainers[-1].model if self.trainers else self.model
        logits: Tensor = model(rows, labels.name)
        return logits

    def _go_on_from(self, config: TextConfig) -> None:
        assert config.start is not None
        sidecar, tensors = load_adapter(config.start)
        own = (config.rank, config.alpha, sorted(self.model.targets))
        if sidecar.base_digest != self.encoder.digest or (sidecar.rank, sidecar.alpha, sorted(sidecar.targets)) != own:
            raise UsageError(
                f"start: {config.start} is of another base, rank, alpha or layers (base {sidecar.base}, rank "
                f"{sidecar.rank}, alpha {sidecar.alpha:g}): give this run the same, or leave start out."
            )
        factors = {name: tensor.float() for name, tensor in tensors.items() if ".lora_" in name}
        with torch.no_grad():
            self.model.restore(self.model.trained() | factors)


def _loss(logits: Tensor, classes: Tensor, weights: Tensor, stage: FineTuningStage) -> Tensor:
    return F.cross_entropy(logits, classes, weights, label_smoothing=stage.smoothing)
