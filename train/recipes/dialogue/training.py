"""Training of a dialogue model: its network, its step, its validation and selection; the loop is train/loop's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from train.data.data_module import DataModule
from train.data.dialogue_tensors import TensorDialogue, collate_dialogues
from train.evaluation.inference import predict
from train.evaluation.metrics import score
from train.evaluation.results import Scores
from train.loop.accelerator import gathered
from train.loop.failures import check_finite
from train.loop.schedule import Schedule, adamw
from train.loop.trainer import Trainer
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.systems import system


class DialogueTraining:
    """Network, objective and data of one run, and its trainer.

    With several processes each holds all data and the whole model, and takes its rows of every batch.
    """

    def __init__(
        self,
        config: FitConfig,
        data: DataModule,
        fabric: Fabric,
        console: Console,
        start: Checkpoint | None = None,
    ) -> None:
        """start: what the run goes on from; its configuration, weights and statistics are taken as they are.

        Raises UsageError, DiskError.
        """
        self.config, self.data, self.fabric, self.console, self.start = config, data, fabric, console, start
        torch.manual_seed(config.seed)
        # The same seed on every process until here, so that all begin with the same weights.
        self.network: Any = _make_network(config, data, start)
        self.objective: Any = _make_objective(config, data)
        self.selection = self._choose_patterns()
        if fabric.global_rank:
            torch.manual_seed((config.seed << 16) + fabric.global_rank)  # dropout of its own
        schedule = config.training_schedule()
        self.trainer = Trainer(
            config.folder,
            schedule,
            config.fingerprint(start),
            self.network,
            _make_optimizer(config, self.network, schedule),
            fabric,
            console,
            select="selection",
        )
        if start is not None and not self.trainer.progress.epoch:
            # What a pass has to be better than.
            self.trainer.keep(self._selection_score(self.validate()))
        self._curves = self._open_tensorboard()

    def fit(self) -> None:
        """Train until the last pass or until patience ends, and load the pass that is kept (see `Trainer.fit`)."""
        self.trainer.fit(self._list_batches, self._compute_losses, self._measure_validation, self._report_pass)

    def validate(self) -> dict[str, Scores]:
        """Scores on the held-out dialogues under every pattern of modalities that they have. Raises Diverged."""
        return {
            pattern: score(*self.predict(dialogues), self.data.labels)
            for pattern, dialogues in self.data.validation.items()
        }

    def predict(self, dialogues: list[TensorDialogue]) -> tuple[Tensor, Tensor]:
        """`train.evaluation.inference.predict` with this run's network. Raises Diverged for logits that are none."""
        logits, labels = predict(self.network, dialogues)
        check_finite({"logits": logits}, "validation")
        return logits, labels

    def prior(self) -> Tensor:
        """float32 [C], the frequency of each class in training as the loss weighs it: the prior of the model."""
        weights = getattr(self.objective, "class_weights", None) or [1.0] * len(self.data.labels)
        weighted = self.data.class_counts() * torch.tensor(weights)
        return weighted / weighted.sum()

    def _list_batches(self, epoch: int) -> list[list[TensorDialogue]]:
        return self.data.training.epoch(epoch, self.config.batch)[: self.config.steps]

    def _compute_losses(self, dialogues: list[TensorDialogue]) -> dict[str, Tensor]:
        whole = collate_dialogues(dialogues).filled(self.fabric.world_size).to(self.fabric.device)
        batch = whole.share(self.fabric.global_rank, self.fabric.world_size)
        features = {m: self._drop_features(m, x) for m, x in batch.features.items()}
        output = gathered(self.fabric, self.trainer.model(features, batch.present, batch.speakers, batch.padding))
        # The loss sees the posterior under the prior of each dialogue's own corpus, the model keeps the dialogues'.
        output = output._replace(
            logits=output.logits + whole.offset, students=output.students + whole.offset[:, :, None]
        )
        losses = self.objective(output, whole.labels, whole.present & ~whole.padding[..., None])
        return {"loss": losses.total, **losses.parts()}

    def _drop_features(self, modality: str, x: Tensor) -> Tensor:
        share = self.config.feature_dropout.get(modality, 0.0)
        if not share:
            return x
        mean = self.network.get_buffer(f"{modality}_mean")
        # A dropped number becomes its mean, so the expectation stays and nothing is scaled up as in dropout.
        return torch.where(torch.rand_like(x) < share, mean, x)

    def _measure_validation(self) -> dict[str, float]:
        scores = self.validate()
        part = self.config.select_on
        each = {f"{part} {pattern}": found.weighted_f1 for pattern, found in scores.items()}
        # Every pattern is reported beside the score that chooses: a pass may gain on words what it loses on faces.
        return {"selection": self._selection_score(scores), **each}

    def _selection_score(self, scores: Mapping[str, Scores]) -> float:
        return sum(scores[pattern].weighted_f1 for pattern in self.selection) / len(self.selection)

    def _choose_patterns(self) -> list[str]:
        """The patterns that decide which pass is kept. Raises UsageError."""
        known = [pattern for pattern in self.data.validation if not pattern.endswith(" clips")]
        for pattern in self.config.select:
            if pattern not in known:
                raise UsageError(f"select holds {pattern!r}: choose from {', '.join(known)}.")
        if self.config.mixture.everything >= 1 and not self.config.select:
            # Training never hides a modality, so no other pattern was ever learned.
            return known[-1:]
        # Each alone and all together: the pairs lie between, and would only weigh the same things twice.
        return list(self.config.select) or [p for p in known if p in MODALITIES or p == known[-1]]

    def _open_tensorboard(self) -> Any:
        if not (self.config.tensorboard and self.fabric.is_global_zero):
            return None
        # Takes seconds to load, and few runs want it.
        from torch.utils.tensorboard import SummaryWriter

        folder, finished = self.config.folder / "tensorboard", self.trainer.progress.epoch
        if not finished:
            shutil.rmtree(folder, ignore_errors=True)
        return SummaryWriter(folder, purge_step=finished + 1)

    def _report_pass(self, row: Mapping[str, Any]) -> None:
        progress, part = self.trainer.progress, f"{self.config.select_on} "
        kept = "  kept" if progress.best_epoch == row["epoch"] else ""
        scores = "  ".join(
            f"{name.removeprefix(part)} {100 * value:.1f}" for name, value in row.items() if name.startswith(part)
        )
        self.console.print(
            f"pass {row['epoch']}: loss {row['loss']:.3f}  {part}{scores}{kept}  "
            f"({progress.seconds / progress.epoch:.1f} s a pass)",
            highlight=False,
            soft_wrap=True,
        )
        if self._curves is not None:
            for name, value in row.items():
                tag = name.replace(" ", "/", 1) if name.startswith(part) else f"loss/{name}"
                if name != "epoch":
                    self._curves.add_scalar("selection" if name == "selection" else tag, value, row["epoch"])
            self._curves.flush()


def _make_network(config: FitConfig, data: DataModule, start: Checkpoint | None) -> Any:
    kind = system(config.system)
    network: Any
    if start is not None:
        network = kind.network(start.model.config)
        network.load_state_dict(start.model.state_dict())
        return network
    network = kind.network(kind.model_config(config.model, data.dimensions, len(data.labels)))
    if config.standardise:
        for modality, (mean, deviation) in data.statistics().items():
            network.set_statistics(modality, mean, deviation)
    return network


def _make_optimizer(config: FitConfig, network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return adamw(network.parameters(), schedule)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr=schedule.lr, weight_decay=schedule.decay)


def _make_objective(config: FitConfig, data: DataModule) -> Any:
    objective = system(config.system).make_objective(config.objective)
    if not hasattr(objective, "class_weights"):
        return objective
    weights = objective.class_weights or tuple(data.class_weights(config.class_weight).tolist())
    return replace(objective, class_weights=weights)
