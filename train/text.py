"""Teaches a sentence encoder emotion, corpus after corpus, as a small adapter: `python -m train text`."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from torch import Tensor, nn

from core_models.assets import model_folder
from core_models.errors import UsageError
from core_models.features.text import MAX_TOKENS, AdapterSidecar, Encoder, load_encoder
from core_models.labels import MELD7
from train.corpora.dialogues import Corpus
from train.corpora.goemotions import read_goemotions
from train.corpora.meld import read_meld

READERS: dict[str, Callable[[Path, str], Corpus]] = {"goemotions": read_goemotions, "meld": read_meld}
POOL_BATCHES = 50  # batches that are sorted by length together: little padding, order still random
WARM_UP = 0.05  # share of a stage's steps


@dataclass(frozen=True)
class Stage:
    """One pass of training over one corpus."""

    corpus: Literal["goemotions", "meld"]
    """Which corpus; its folder stands in `data`."""
    epochs: int
    """Epochs; the learning rate falls to zero over all of them."""
    lr: float
    """Peak learning rate, reached after a twentieth of the stage."""
    lines: int | None = None
    """Draw at most this many lines, a class with few lines first (see `draw`); all when null."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike."""
    smoothing: float = 0.0
    """Label smoothing (Szegedy et al., 2016)."""


@dataclass(frozen=True)
class TextConfig:
    """What `fit_text` trains, on what, and where the adapter goes."""

    stages: list[Stage]
    """In order; validation is on the last stage's corpus."""
    data: dict[str, Path]
    """Corpus name to its folder."""
    out: Path
    """Folder of the finished adapter."""
    run: Path
    """Folder of the unfinished one: a killed run goes on from here."""
    base: str = "minilm-l6"
    """Name of the sentence encoder in configs/models.yaml."""
    rank: int = 64
    """Rank of the change to every linear layer."""
    alpha: float = 64.0
    """Its scale is alpha / rank."""
    dropout: float = 0.1
    """Of the adapter's inputs and of the classifier's."""
    batch: int = 32
    """Lines a step."""
    decay: float = 0.01
    """AdamW's weight decay."""
    validation: float = 0.1
    """Share of the last corpus's training lines, in whole dialogues, on which the epoch is chosen."""
    max_tokens: int = MAX_TOKENS
    """Longer lines are cut."""
    seed: int = 0
    """Of the split, the draw, the order and the dropout."""
    checkpoint_every: int = 100
    """Steps between checkpoints of the run."""
    device: str = "auto"
    """Fabric's accelerator: auto, cpu or cuda."""


@dataclass
class Lines:
    """Tokenised lines and their classes, ready to be drawn in batches."""

    ids: list[list[int]]
    classes: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class EmotionClassifier(nn.Module):
    """Encoder with a low-rank change (LoRA) to every linear layer, mean pooling, one linear classifier."""

    def __init__(self, encoder: Encoder, config: TextConfig, classes: int) -> None:
        super().__init__()
        from peft import LoraConfig, inject_adapter_in_model

        linear = [name for name, module in encoder.network.named_modules() if isinstance(module, nn.Linear)]
        encoder.network.requires_grad_(False)
        lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=linear)
        self.network = inject_adapter_in_model(lora, encoder.network)
        self.targets = linear
        self.encoder = encoder
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(encoder.dimension, classes)

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Logits [len(rows), classes]."""
        logits: Tensor = self.classifier(self.dropout(self.encoder.pool(rows)))
        return logits

    def trained(self) -> dict[str, Tensor]:
        """Every tensor that training changes, under the name that an adapter file gives it."""
        return {
            name.removeprefix("network.").replace(".default.weight", ""): value.detach()
            for name, value in self.named_parameters()
            if value.requires_grad
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Sets what `trained` returned."""
        for name, value in self.trained().items():
            value.copy_(tensors[name])


@dataclass
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

    def __init__(self, config: TextConfig, encoder: Encoder, console: Console) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.console = console
        self.fabric = Fabric(accelerator=config.device, devices=1)
        self.model: Any = self.fabric.setup_module(EmotionClassifier(encoder, config, len(MELD7)))
        self.optimizer = self._new_optimizer()
        self.place = Place()
        config.run.mkdir(parents=True, exist_ok=True)
        self._resume()

    def fit(self, stages: Sequence[Lines], validation: Lines) -> None:
        """Runs what is left of the stages; afterwards the model is the best one of the last stage."""
        config, place = self.config, self.place
        while place.stage < len(stages):
            stage = config.stages[place.stage]
            while place.epoch < stage.epochs:
                loss = self._epoch(stage, stages[place.stage])
                self._validate(stage, stages[place.stage], validation, loss)
                place.batch = 0
                place.epoch += 1
                self._checkpoint()
            place.stage, place.epoch = place.stage + 1, 0
            self.optimizer = self._new_optimizer()
            self._checkpoint()
        self.model.restore(load_file(config.run / "best.safetensors"))

    def _epoch(self, stage: Stage, lines: Lines) -> float:
        config, place = self.config, self.place
        batches = bucketed(lines, config.batch, seed=(config.seed, place.stage, place.epoch))
        weights = class_weights(lines.classes, stage.class_weight).to(self.fabric.device)
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
                classes = torch.tensor([lines.classes[index] for index in batch], device=self.fabric.device)
                logits = self.model([lines.ids[index] for index in batch])
                loss = nn.functional.cross_entropy(logits, classes, weights, label_smoothing=stage.smoothing)
                self.fabric.backward(loss)
                self.fabric.clip_gradients(self.model, self.optimizer, max_norm=1.0)
                self.optimizer.step()
                self.optimizer.zero_grad()
                loss_sum += loss.detach()
                place.batch += 1
                place.seconds, clock = place.seconds + time.monotonic() - clock, time.monotonic()
                if place.batch % config.checkpoint_every == 0:
                    self._checkpoint()
                mean = float(loss_sum) / (place.batch - started)
                progress.update(bar, completed=place.batch, loss=mean)
        return float(loss_sum) / max(1, place.batch - started)

    def _validate(self, stage: Stage, lines: Lines, validation: Lines, loss: float) -> None:
        place = self.place
        seen = Lines(lines.ids[:2000], lines.classes[:2000])
        scores = evaluate(self.model, validation)
        gap = {"stage": stage.corpus, "epoch": place.epoch + 1, "loss": loss}
        gap["train_accuracy"] = evaluate(self.model, seen)["accuracy"]
        place.epochs.append(gap | {name: scores[name] for name in ("weighted_f1", "macro_f1", "accuracy")})
        self.console.print(
            f"{stage.corpus} epoch {place.epoch + 1}: loss {loss:.3f}, validation weighted F1 "
            f"{scores['weighted_f1']:.2f}, accuracy {scores['accuracy']:.2f} "
            f"(on lines that it trained on {gap['train_accuracy']:.2f})"
        )
        if place.stage == len(self.config.stages) - 1 and scores["weighted_f1"] > place.best:
            place.best, place.best_epoch = scores["weighted_f1"], place.epoch + 1
            _replace(self.config.run / "best.safetensors", lambda path: save_file(self.model.trained(), path))

    def _new_optimizer(self) -> Any:
        trained = [value for value in self.model.parameters() if value.requires_grad]
        return self.fabric.setup_optimizers(torch.optim.AdamW(trained, lr=0.0, weight_decay=self.config.decay))

    def _checkpoint(self) -> None:
        state = {
            "config": _fingerprint(self.config),
            "place": dataclasses.asdict(self.place),
            "trained": self.model.trained(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        _replace(self.config.run / "last.pt", lambda path: torch.save(state, path))

    def _resume(self) -> None:
        path = self.config.run / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.fabric.device)
        if state["config"] != _fingerprint(self.config):
            raise UsageError(f"{path} is from a run with other settings: remove it, or set another run folder.")
        self.place = Place(**state["place"])
        self.model.restore(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())


def fit_text(config: TextConfig) -> dict[str, Any]:
    """Trains, writes the adapter to `config.out`, and returns its training record.

    The epoch of the last stage with the best weighted F1 on the validation dialogues is kept; that corpus's
    dev split is scored once, after the choice. A run that was killed goes on from its last checkpoint and,
    on a CPU with the same number of threads, ends with the same weights.
    """
    if not config.stages:
        raise UsageError("There are no stages to train: give the config at least one.")
    console = Console(stderr=True)
    corpora = [_read(config, stage.corpus, "train") for stage in config.stages]
    corpora[-1], held_out = corpora[-1].split(config.validation, config.seed)
    encoder = load_encoder(model_folder(config.base))
    digest = encoder.digest
    run = TextRun(config, encoder, console)
    stages = [
        draw(tokenise(encoder, corpus, config.max_tokens), stage.lines, config.seed)
        for corpus, stage in zip(corpora, config.stages, strict=True)
    ]
    validation = tokenise(encoder, held_out, config.max_tokens)
    run.fit(stages, validation)
    dev = tokenise(encoder, _read(config, config.stages[-1].corpus, "dev"), config.max_tokens)
    record: dict[str, Any] = {
        "config": _fingerprint(config),
        "lines": {stage.corpus: len(lines) for stage, lines in zip(config.stages, stages, strict=True)},
        "epochs": run.place.epochs,
        "best_epoch": run.place.best_epoch,
        "seconds": round(run.place.seconds),
        "validation": evaluate(run.model, validation),
        "dev": evaluate(run.model, dev),
    }
    sidecar = AdapterSidecar(
        base=config.base,
        base_digest=digest,
        rank=config.rank,
        alpha=config.alpha,
        targets=run.model.targets,
        labels=MELD7.name,
        record=record,
    )
    config.out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.cpu().half().contiguous() for name, value in run.model.trained().items()},
        config.out / "adapter.safetensors",
    )
    (config.out / "sidecar.json").write_bytes(msgspec.json.format(msgspec.json.encode(sidecar), indent=1))
    console.print(
        f"{config.out}: validation weighted F1 {record['validation']['weighted_f1']:.2f}, "
        f"dev {record['dev']['weighted_f1']:.2f}"
    )
    return record


def tokenise(encoder: Encoder, corpus: Corpus, max_tokens: int) -> Lines:
    """The labelled lines of `corpus` that have words."""
    lines = [line for line in corpus.lines() if line.text and line.label]
    ids = encoder.tokenize([line.text or "" for line in lines], max_tokens)
    return Lines(ids, [corpus.labels.index(line.label or "") for line in lines])


def draw(lines: Lines, limit: int | None, seed: int) -> Lines:
    """At most `limit` lines: an equal share for each class, what a rare class leaves going to the others."""
    if limit is None or len(lines) <= limit:
        return lines
    members: dict[int, list[int]] = {}
    for index, label in enumerate(lines.classes):
        members.setdefault(label, []).append(index)
    chosen: list[int] = []
    rarest_first = sorted(members.values(), key=len)
    for position, indices in enumerate(rarest_first):
        share = (limit - len(chosen)) // (len(rarest_first) - position)
        chosen += random.Random(seed).sample(indices, min(share, len(indices)))
    chosen.sort()
    return Lines([lines.ids[index] for index in chosen], [lines.classes[index] for index in chosen])


def bucketed(lines: Lines, size: int, *, seed: tuple[int, int, int]) -> list[list[int]]:
    """Batches of line indices in random order, lines of like length together: every line once."""
    chance = random.Random(repr(seed))
    order = chance.sample(range(len(lines)), len(lines))
    batches = []
    for start in range(0, len(order), size * POOL_BATCHES):
        pool = sorted(order[start : start + size * POOL_BATCHES], key=lambda index: len(lines.ids[index]))
        batches += [pool[first : first + size] for first in range(0, len(pool), size)]
    chance.shuffle(batches)
    return batches


def class_weights(classes: Sequence[int], power: float) -> Tensor:
    """[len(MELD7)] frequency to minus `power`, scaled so that the mean over `classes` is 1."""
    counts = torch.bincount(torch.tensor(classes), minlength=len(MELD7)).float()
    weights = counts.clamp(min=1) ** -power
    return weights * counts.sum() / (weights * counts).sum()


def evaluate(model: Any, lines: Lines) -> dict[str, Any]:
    """Weighted and macro F1, accuracy and F1 of each class, in percent, and the number of lines."""
    predicted = torch.empty(len(lines), dtype=torch.long)
    order = sorted(range(len(lines)), key=lambda index: len(lines.ids[index]))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            predicted[batch] = model([lines.ids[index] for index in batch]).argmax(1).cpu()
    classes = range(len(MELD7))
    each = f1_score(lines.classes, predicted, labels=list(classes), average=None, zero_division=0)
    return {
        "weighted_f1": 100 * float(f1_score(lines.classes, predicted, average="weighted", zero_division=0)),
        "macro_f1": 100 * float(each.mean()),
        "accuracy": 100 * float((predicted == torch.tensor(lines.classes)).float().mean()),
        "f1": {MELD7.labels[index]: round(100 * float(each[index]), 2) for index in classes},
        "n": len(lines),
    }


def _read(config: TextConfig, corpus: str, split: str) -> Corpus:
    if corpus not in config.data:
        raise UsageError(f"The stages want {corpus}: set data.{corpus} to its folder.")
    return READERS[corpus](config.data[corpus], split)


def _fingerprint(config: TextConfig) -> dict[str, Any]:
    """The settings that decide the result; where the corpora and the outputs lie does not."""
    settings = dataclasses.asdict(config)
    for name in ("data", "out", "run", "checkpoint_every", "device"):
        del settings[name]
    return settings


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    unfinished = path.with_suffix(".unfinished")
    write(unfinished)
    os.replace(unfinished, path)
