"""TDFNet, fold after fold: `python -m train tdfnet --config configs/train/tdfnet_....yaml`.

A fold's checkpoint is chosen by its loss on utterances held out of its training part, since the paper names no
validation set, and scored once on its test part. A run that was killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import DiskError, UsageError
from core_models.labels import LabelSet
from core_models.networks.tdfnet import TDFNet, TDFNetConfig
from train.corpora.dialogues import Corpus
from train.corpora.registry import CorpusConfig, read_corpus
from train.corpora.splits import Fold, Plan, folds, validation_split
from train.evaluation.metrics import Scores, score
from train.evaluation.results import Breakdown, Part, Result, mean_and_deviation, write_result
from train.loop.fingerprint import fingerprint
from train.loop.schedule import Schedule
from train.loop.trainer import Trainer
from train.losses.tdfnet import TDFNetObjective
from train.recipes.tdfnet.ablations import TABLE_V
from train.recipes.tdfnet.utterances import EmbeddedUtterance, EmbeddingCache, Embeddings, hidden


@dataclass(frozen=True, kw_only=True)
class TDFNetTraining:
    """What is trained and tested, on which folds of what, and where it goes."""

    corpus: CorpusConfig
    """The corpus, whole; its folds say what is trained on."""
    plan: Plan = "loso"
    """loso, lopo or random (paper), or another of train/corpora/splits.py."""
    folds: tuple[str, ...] = ()
    """Names of the folds that are run; all of the plan without any."""
    plan_seed: int = 0
    """Seed of the plans random and holdout."""
    validation_share: float = 0.1
    """Share of a fold's training lines on which the epoch is chosen."""
    apart: Literal["dialogues", "speakers"] = "dialogues"
    """What validation does not share with training: dialogues, or speakers too."""
    name: str = "tdfnet"
    """Name of the run, for tables; its folder is runs/NAME."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    row: str = "TDFNet"
    """Row of Table V: TDFNet, AUDIO PATH, TEXT PATH, w/o DST, w/o MT or w/o ME."""
    embeddings: Embeddings = field(default_factory=Embeddings)
    """The three pretrained models."""
    model: dict[str, Any] = field(default_factory=dict)
    """Fields of TDFNetConfig but for dimensions, classes and speaker, which the data decide."""
    objective: TDFNetObjective = field(default_factory=TDFNetObjective)
    """The loss."""
    hide: float = 0.0
    """Share of training utterances of both modalities in which one is hidden (contract 4; the paper hides none)."""
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20, warm_up=0.0, falls=False, patience=3))
    """How long and how fast (paper: batches of 32, AdamW at 1e-4, 20 epochs, patience 3)."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is computed first."""

    def __post_init__(self) -> None:
        if self.row not in TABLE_V:
            raise UsageError(f"row is {self.row!r}: choose from {', '.join(TABLE_V)}.")
        if not 0 < self.validation_share < 1 or not 0 <= self.hide <= 1:
            raise UsageError("validation_share must be between 0 and 1, and hide from 0 to 1: change them.")
        network_config({**self.model, **TABLE_V[self.row].model}, {"text": 1}, 2, 0)


class TDFNetWithLoss(nn.Module):
    """The network and its loss."""

    def __init__(self, network: TDFNet, objective: TDFNetObjective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: tuple[dict[str, Tensor], dict[str, Tensor], Tensor]) -> dict[str, Tensor]:
        """batch: features and lengths as the network takes them, classes int64 [B]."""
        features, lengths, truth = batch
        return {"loss": self.objective(self.network(features, lengths).logits, truth)}


def fit_tdfnet(config: TDFNetTraining) -> list[Result]:
    """Train and test on each fold, write checkpoints and results under runs/NAME, and print Table I of them.

    Results lie in runs/NAME/results, one file a fold, as `python -m train table` reads them. Raises UsageError,
    WeightsError, Diverged, DiskError.
    """
    console = Console(stderr=True)
    torch.set_num_threads(config.schedule.threads)
    corpus = read_corpus(config.corpus)
    chosen = _chosen(config, corpus)
    embedded = EmbeddingCache(_embeddings(config), config.store, config.schedule.threads)
    results = []
    for number, fold in chosen:
        console.rule(f"{config.plan} {fold.name}")
        if fold.stamp:
            console.print(f"{fold.stamp}.", style="bold red", highlight=False)
        results.append(_one(config, number, fold, corpus, embedded, console))
    console.print(table_i(results))
    return results


def network_config(given: dict[str, Any], dimensions: dict[str, int], classes: int, speaker: int) -> TDFNetConfig:
    """The network's configuration from fields `given` by a person and those that the data decide. UsageError."""
    decided = {"dimensions": dimensions, "classes": classes, "speaker": speaker}
    known = {f.name for f in dataclasses.fields(TDFNetConfig)} - set(decided)
    unknown = sorted(set(given) - known)
    if unknown:
        raise UsageError(f"model.{unknown[0]} is no setting of TDFNet: choose from {', '.join(sorted(known))}.")
    try:
        return msgspec.convert({**given, **decided}, TDFNetConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"model of TDFNet is wrong: {error}; correct it.") from None


def table_i(results: Sequence[Result]) -> Table:
    """WA and UA (eq. 12) of each fold in percent, their means, and what training and test of a fold share."""
    table = Table("fold", "n", "WA", "UA", "shared with training", title=f"{results[0].run}: {results[0].corpus}")
    for one in results:
        table.add_row(one.fold, str(one.n), f"{one.accuracy:.2%}", f"{one.uar:.2%}", one.stamp or "-")
    means = [mean_and_deviation([getattr(one, name) for one in results])[0] for name in ("accuracy", "uar")]
    table.add_row("mean", str(sum(one.n for one in results)), *(f"{mean:.2%}" for mean in means), "")
    return table


def _embeddings(config: TDFNetTraining) -> Embeddings:
    """Those that the row of Table V leaves."""
    ablation, given = TABLE_V[config.row], config.embeddings
    if ablation.without == "text":
        return dataclasses.replace(given, text=None)
    if ablation.without == "voice":
        return dataclasses.replace(given, frames=None)
    return dataclasses.replace(given, frames=ablation.frames or given.frames)


def _chosen(config: TDFNetTraining, corpus: Corpus) -> list[tuple[int, Fold]]:
    every = {f.name: (n, f) for n, f in enumerate(folds(corpus, config.plan, seed=config.plan_seed), start=1)}
    for name in config.folds:
        if name not in every:
            raise UsageError(f"Plan {config.plan} has no fold {name!r}: choose from {', '.join(every)}.")
    return [every[name] for name in config.folds or every]


def _one(
    config: TDFNetTraining, number: int, fold: Fold, corpus: Corpus, embedded: EmbeddingCache, console: Console
) -> Result:
    """Train and test on one fold."""
    schedule, labels = config.schedule, corpus.labels
    place = config.runs / config.name / f"{number:02}-{re.sub(r'[^a-z0-9]+', '-', fold.name.lower()).strip('-')}"
    seed = config.plan_seed
    split = validation_split if config.apart == "speakers" else Corpus.split
    parts = (*split(fold.train, config.validation_share, seed), fold.test)
    (training, _), (validation, _), (test, left_out) = (embedded.utterances(part, console) for part in parts)
    if not training or not validation or not test:
        raise UsageError(f"Fold {fold.name} leaves a part without labelled utterances: choose another plan or share.")
    torch.manual_seed(schedule.seed)
    widths = {modality: spec.dimension for modality, spec in embedded.specs.items()}
    given = {**config.model, **TABLE_V[config.row].model}
    network = TDFNet(network_config(given, widths, len(labels), embedded.speaker))
    for statistics in embedded.statistics(training):
        network.set_statistics(*statistics)
    counts = {"training": len(training), "validation": len(validation), "test": len(test)}
    settings = fingerprint(config) | {"fold": fold.name, "counts": counts}
    del settings["folds"]
    settings["specs"] = {modality: spec.describe() for modality, spec in embedded.specs.items()}
    run = Trainer(place, schedule, settings, TDFNetWithLoss(network, config.objective), console)

    def learn(rows: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        chosen = [training[row] for row in rows]
        features, lengths = embedded.batch(chosen)
        return features, hidden(lengths, config.hide), _classes(chosen, labels)

    def said(utterances: Sequence[EmbeddedUtterance], shown: Sequence[str] = tuple(widths)) -> tuple[Tensor, Tensor]:
        """(logits [n, C], classes [n]) of the utterances that have one of the modalities `shown`."""
        counted = [u for u in utterances if (u.tokens and "text" in shown) or (u.frames and "voice" in shown)]
        logits = [torch.zeros(0, len(labels))]
        with torch.inference_mode():
            for start in range(0, len(counted), schedule.batch):
                features, lengths = run.fabric.to_device(embedded.batch(counted[start : start + schedule.batch]))
                masked = {m: n if m in shown else torch.zeros_like(n) for m, n in lengths.items()}
                logits.append(network(features, masked).logits.float().cpu())
        return torch.cat(logits), _classes(counted, labels)

    def validate() -> dict[str, float]:
        logits, truth = said(validation)
        loss = float(TDFNetObjective()(logits, truth))
        found = score(logits, truth, labels)
        return {"score": -loss, "WA": found.accuracy, "UA": found.uar}

    run.fit([u.frames + u.tokens for u in training], learn, validate, f"fold {number}")
    shares = torch.bincount(_classes(training, labels), minlength=len(labels)) / len(training)
    selection = f"loss on {config.validation_share:.0%} of training, {config.apart} apart"
    record: dict[str, Any] = {
        "run": {"name": config.name, "seed": schedule.seed},
        "selection": selection,
        "select_on": "validation",
        "row": config.row,
        "plan": config.plan,
        "fold": fold.name,
        "stamp": fold.stamp,
        "lines": counts,
        "prior": [round(share, 6) for share in shares.tolist()],
        "config": fingerprint(config),
        **run.record(),
    }
    sidecar = Sidecar(
        model="tdfnet",
        config=sidecar_config(network.config),
        labels=labels.name,
        features=embedded.specs,
        window=network.config.window,
        record=record,
    )
    save(place / "checkpoint", network, sidecar)
    stored = load(place / "checkpoint")
    network.load_state_dict(stored.model.state_dict())  # what is scored is what was kept, in half precision
    whole, truth = said(test)
    scores = score(whole, truth, labels)
    breakdown = {}
    if len(widths) > 1:
        alone = {m: score(*said(test, (m,)), labels) for m in widths if any(_has(u, m) for u in test)}
        breakdown["modalities"] = Breakdown(
            protocol="the same utterances with the other modality masked; those that lack the one are not counted",
            parts={m: _part(found) for m, found in alone.items()},
        )
    broken = left_out.get("broken", 0)
    result = Result(
        checkpoint=place.name,
        digest=stored.digest,
        model="tdfnet",
        run=config.name,
        seed=schedule.seed,
        selection=selection,
        corpus=corpus.name,
        split=config.corpus.split or "all",
        subset=config.corpus.subset,
        fold=fold.name,
        stamp=fold.stamp,
        **scores.rounded(),
        labels=labels.labels,
        label_map=corpus.label_map,
        left_out=left_out,
        accuracy_left_out_as_errors=round(scores.accuracy * scores.n / (scores.n + broken), 4),
        modalities_used=tuple(m for m in widths if any(_has(u, m) for u in test)),
        cut="clip",
        prior="checkpoint",
        context="its own words and sound",
        breakdown=breakdown,
    )
    results = config.runs / config.name / "results"
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{results} cannot be written ({error.strerror}): set runs to another folder.") from None
    write_result(result, str(results / f"{place.name}.json"))
    console.print(f"{fold.name}: WA {scores.accuracy:.2%}, UA {scores.uar:.2%}, n {scores.n}", highlight=False)
    return result


def _classes(utterances: Sequence[EmbeddedUtterance], labels: LabelSet) -> Tensor:
    return torch.tensor([labels.index(one.line.label or "") for one in utterances], dtype=torch.long)


def _has(one: EmbeddedUtterance, modality: str) -> bool:
    return bool(one.tokens if modality == "text" else one.frames)


def _part(scores: Scores) -> Part:
    rounded = scores.rounded()
    return Part(**{name: rounded[name] for name in ("n", "weighted_f1", "macro_f1", "accuracy", "uar", "ece")})
