"""One fold of TDFNet: its parts, its network, its step and its validation; the loop is train/loop/trainer.py's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import UsageError
from core_models.labels import LabelSet
from core_models.networks.tdfnet import TDFNet
from train.corpora.dialogues import Corpus
from train.corpora.splits import Fold, validation_split
from train.data.length_buckets import bucket_by_length
from train.evaluation.metrics import score
from train.loop.failures import check_finite
from train.loop.fingerprint import fingerprint
from train.loop.schedule import adamw
from train.loop.trainer import Trainer
from train.losses.tdfnet import TDFNetObjective
from train.recipes.tdfnet.ablations import TABLE_V
from train.recipes.tdfnet.config import TDFNetTraining, network_config
from train.recipes.tdfnet.utterances import EmbeddedUtterance, EmbeddingCache, hidden


@dataclass(frozen=True)
class FoldData:
    """The utterances of a fold, and what they are read through."""

    fold: Fold
    corpus: Corpus
    embedded: EmbeddingCache
    training: list[EmbeddedUtterance]
    validation: list[EmbeddedUtterance]
    test: list[EmbeddedUtterance]
    left_out: dict[str, int]
    """Why utterances of the test part are not scored, and how many."""

    @property
    def counts(self) -> dict[str, int]:
        """How many utterances there are, for the record."""
        return {"training": len(self.training), "validation": len(self.validation), "test": len(self.test)}

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the network reads."""
        return tuple(self.embedded.specs)


class TDFNetWithLoss(nn.Module):
    """The network and its loss."""

    def __init__(self, network: TDFNet, objective: TDFNetObjective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: tuple[dict[str, Tensor], dict[str, Tensor], Tensor]) -> dict[str, Tensor]:
        """batch: features and lengths as the network takes them, classes int64 [B]."""
        features, lengths, truth = batch
        return {"loss": self.objective(self.network(features, lengths).logits, truth)}


def split_fold(
    config: TDFNetTraining, fold: Fold, corpus: Corpus, embedded: EmbeddingCache, console: Console
) -> FoldData:
    """The fold's parts as utterances, what the store lacks computed. Raises UsageError for an empty part, DiskError."""
    split = validation_split if config.apart == "speakers" else Corpus.split
    parts = (*split(fold.train, config.validation_share, config.plan_seed), fold.test)
    (training, _), (validation, _), (test, left_out) = (embedded.utterances(part, console) for part in parts)
    if not training or not validation or not test:
        raise UsageError(f"Fold {fold.name} leaves a part without labelled utterances: choose another plan or share.")
    return FoldData(fold, corpus, embedded, training, validation, test, left_out)


def train_fold(config: TDFNetTraining, place: Path, data: FoldData, fabric: Fabric, console: Console) -> None:
    """Train on the fold in the folder `place` and write its checkpoint there.

    Raises UsageError, Diverged, OutOfMemory, DiskError.
    """
    schedule, labels = config.schedule, data.corpus.labels
    torch.manual_seed(schedule.seed)
    network = _make_network(config, data)
    settings = fingerprint(config) | {"fold": data.fold.name, "counts": data.counts}
    # A fold's run is the same whichever other folds are asked for beside it.
    del settings["folds"]
    settings["specs"] = {modality: spec.describe() for modality, spec in data.embedded.specs.items()}
    module = TDFNetWithLoss(network, config.objective)
    optimizer = adamw(module.parameters(), schedule)
    trainer = Trainer(place, schedule, settings, module, optimizer, fabric, console, title=place.name)
    _fit_network(config, trainer, network, data)
    shares = torch.bincount(classes_of(data.training, labels), minlength=len(labels)) / len(data.training)
    record: dict[str, Any] = {
        "run": {"name": config.name, "seed": schedule.seed},
        "selection": selection_of(config),
        "select_on": "validation",
        "row": config.row,
        "plan": config.plan,
        "fold": data.fold.name,
        "stamp": data.fold.stamp,
        "lines": data.counts,
        "prior": [round(share, 6) for share in shares.tolist()],
        "config": fingerprint(config),
        **trainer.record(),
    }
    sidecar = Sidecar(
        model="tdfnet",
        config=sidecar_config(network.config),
        labels=labels.name,
        features=data.embedded.specs,
        window=network.config.window,
        record=record,
    )
    save(place / "checkpoint", network, sidecar)


def predict_utterances(
    network: Any, data: FoldData, utterances: Sequence[EmbeddedUtterance], shown: Sequence[str], batch: int
) -> tuple[Tensor, Tensor]:
    """(logits [n, C], classes [n]) of the utterances that have one of the modalities `shown`; others are masked."""
    counted = [one for one in utterances if any(has_modality(one, m) for m in shown)]
    device = next(network.parameters()).device
    # A fold may have no utterance with these modalities; an empty list cannot be joined.
    logits = [torch.zeros(0, len(data.corpus.labels))]
    with torch.inference_mode():
        for start in range(0, len(counted), batch):
            features, lengths = data.embedded.batch(counted[start : start + batch])
            masked = {m: n.to(device) if m in shown else torch.zeros_like(n).to(device) for m, n in lengths.items()}
            features = {m: x.to(device) for m, x in features.items()}
            logits.append(network(features, masked).logits.float().cpu())
    return torch.cat(logits), classes_of(counted, data.corpus.labels)


def stored_network(place: Path, device: torch.device) -> tuple[Any, str]:
    """(network in half precision's numbers, digest) of the checkpoint that `train_fold` wrote."""
    stored = load(place / "checkpoint", device)
    return stored.model, stored.digest


def selection_of(config: TDFNetTraining) -> str:
    """How the pass is chosen, in words."""
    return f"loss on {config.validation_share:.0%} of training, {config.apart} apart"


def classes_of(utterances: Sequence[EmbeddedUtterance], labels: LabelSet) -> Tensor:
    """int64 [n]"""
    return torch.tensor([labels.index(one.line.label or "") for one in utterances], dtype=torch.long)


def has_modality(one: EmbeddedUtterance, modality: str) -> bool:
    """Whether there is something to read, or to hear."""
    return bool(one.tokens if modality == "text" else one.frames)


def _make_network(config: TDFNetTraining, data: FoldData) -> TDFNet:
    widths = {modality: spec.dimension for modality, spec in data.embedded.specs.items()}
    given = {**config.model, **TABLE_V[config.row].model}
    network = TDFNet(network_config(given, widths, len(data.corpus.labels), data.embedded.speaker))
    for statistics in data.embedded.statistics(data.training):
        network.set_statistics(*statistics)
    return network


def _fit_network(config: TDFNetTraining, trainer: Trainer, network: TDFNet, data: FoldData) -> None:
    schedule, labels = config.schedule, data.corpus.labels

    def batches(epoch: int) -> list[list[EmbeddedUtterance]]:
        lengths = [one.frames + one.tokens for one in data.training]
        listed = bucket_by_length(lengths, schedule.batch, seed=(schedule.seed, 0, epoch))
        return [[data.training[row] for row in rows] for rows in listed]

    def step(utterances: list[EmbeddedUtterance]) -> dict[str, Tensor]:
        features, lengths = data.embedded.batch(utterances)
        batch = features, hidden(lengths, config.hide), classes_of(utterances, labels)
        losses: dict[str, Tensor] = trainer.model(trainer.fabric.to_device(batch))
        return losses

    def validate() -> dict[str, float]:
        logits, truth = predict_utterances(network, data, data.validation, data.modalities, schedule.batch)
        check_finite({"logits": logits}, "validation")
        found = score(logits, truth, labels)
        return {"score": -float(TDFNetObjective()(logits, truth)), "WA": found.accuracy, "UA": found.uar}

    trainer.fit(batches, step, validate)
