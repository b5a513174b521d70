"""Scores of a checkpoint on a corpus: `python -m train eval --checkpoint default --corpus meld ...`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from core_models.checkpoint import Checkpoint, load
from core_models.errors import DiskError, UsageError
from core_models.features.spec import MODALITIES
from core_models.labels import LABEL_SETS, LabelSet
from train.corpora.dialogues import Corpus
from train.corpora.fer2013 import read_fer2013
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess
from train.dialogues_in_tensors import TensorDialogue, prior_offset, to_tensors
from train.extract import extract
from train.extractors import Extractor, open_extractor
from train.fit import predict
from train.objectives.sdt import IGNORED
from train.scores import score


@dataclass(frozen=True)
class EvalConfig:
    """What is evaluated on what."""

    root: Path
    """Folder of the corpus, in its owner's layout."""
    corpus: Literal["meld", "ravdess", "fer2013"]
    """Which corpus that is."""
    checkpoint: str = "default"
    """Name under core_models/weights, or a folder."""
    split: str = "dev"
    """Split of MELD (train, dev, test) or FER-2013 (train, validation, test); RAVDESS is split by `actors`."""
    modalities: tuple[str, ...] = MODALITIES
    """The others are masked throughout."""
    actors: tuple[int, ...] = ()
    """RAVDESS actors; all of them if none is named."""
    prior: Literal["checkpoint", "uniform"] = "checkpoint"
    """Classes as frequent as in the checkpoint's training dialogues, or all alike (for corpora that are balanced)."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    json: str | None = None
    """Write the result as JSON to this file, or with `-` to standard output; else a table is printed."""


def evaluate(config: EvalConfig) -> dict[str, Any]:
    """Score the checkpoint, causal, on whole dialogues, with the features of the live code.

    An item is left out where its label has no twin in the checkpoint's set or none of its modalities is there;
    `left_out` counts both. Raises CheckpointError, UsageError, WeightsError.
    """
    checkpoint = load(config.checkpoint)
    labels = LABEL_SETS[checkpoint.sidecar.labels]
    corpus = _read(config)
    if corpus.labels != labels:
        raise UsageError(
            f"{corpus.name} is labelled with {corpus.labels.name}, checkpoint {checkpoint.name} with {labels.name}: "
            "choose a checkpoint of that label set."
        )
    dialogues, missing = _dialogues(config, checkpoint, corpus)
    if config.prior == "uniform":
        offset = prior_offset(torch.ones(len(labels)), torch.tensor(checkpoint.sidecar.record["prior"]) * 1e6)
        dialogues = [replace(d, offset=offset) for d in dialogues]
    logits, truth = predict(checkpoint.model, dialogues)
    scores = score(logits / _temperatures(checkpoint, dialogues)[:, None], truth, labels)
    lines = sum(1 for _ in corpus.lines())
    return {
        "checkpoint": checkpoint.name,
        "digest": checkpoint.digest,
        "corpus": corpus.name,
        "split": _split(config),
        **scores.rounded(),
        "labels": list(labels.labels),
        "label_map": corpus.label_map,
        "prior": config.prior,
        "left_out": lines - len(truth),
        "modalities_used": sorted(
            {m for d in dialogues for m, there in zip(MODALITIES, d.present.any(dim=0), strict=True) if there},
            key=MODALITIES.index,
        ),
        "modalities_missing": missing,
    }


def show(result: dict[str, Any], config: EvalConfig) -> None:
    """Print or write what `evaluate` gave. Raises DiskError."""
    if config.json is None:
        Console().print(_table(result))
        return
    text = json.dumps(result, indent=1) + "\n"
    if config.json == "-":
        sys.stdout.write(text)
        return
    try:
        Path(config.json).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(
            f"The result cannot be written to {config.json} ({error.strerror}): name another file."
        ) from None


def _read(config: EvalConfig) -> Corpus:
    if config.corpus == "meld":
        return read_meld(config.root, config.split)
    if config.corpus == "ravdess":
        return read_ravdess(config.root, config.actors or None)
    return read_fer2013(config.root, config.split, None)


def _split(config: EvalConfig) -> str:
    if config.corpus != "ravdess":
        return config.split
    return f"actors {', '.join(map(str, config.actors))}" if config.actors else "all actors"


def _dialogues(
    config: EvalConfig, checkpoint: Checkpoint, corpus: Corpus
) -> tuple[list[TensorDialogue], dict[str, int]]:
    """The corpus as tensors, and for each modality asked for how many lines lack it."""
    specs = checkpoint.sidecar.features
    unknown = set(config.modalities) - set(MODALITIES)
    if unknown:
        raise UsageError(f"{sorted(unknown)[0]!r} is no modality: use {', '.join(MODALITIES)}.")
    vectors, missing = {}, {}
    lines = sum(1 for _ in corpus.lines())
    for modality in MODALITIES:
        if modality in config.modalities and modality in specs:
            extractor = _extractor(checkpoint, modality)
            checkpoint.require({modality: extractor.spec})
            vectors[modality] = extract(corpus, extractor, config.store).vectors
            missing[modality] = lines - len(vectors[modality])
    dimensions = {m: spec.dimension for m, spec in specs.items()}
    dialogues = to_tensors(corpus, vectors, dimensions, checkpoint.model.config.speakers)
    if not dialogues:
        raise UsageError(
            f"{corpus.name} has nothing on disk of {', '.join(config.modalities)} that {checkpoint.name} knows: "
            "ask for other modalities."
        )
    return dialogues, missing


def _extractor(checkpoint: Checkpoint, modality: str) -> Extractor:
    settings = checkpoint.sidecar.features[modality].settings
    if modality == "text":
        adapter = str(settings["adapter"])
        return open_extractor("text", str(settings["base"]), None if adapter == "none" else adapter)
    return open_extractor(modality, str(settings["whisper"]) if modality == "voice" else "face-landmarker")


def _temperatures(checkpoint: Checkpoint, dialogues: list[TensorDialogue]) -> Tensor:
    """float32 [n], the temperature of each counted item's own pattern of modalities, in the order of `predict`."""
    temperatures = []
    for dialogue in dialogues:
        for there, label in zip(dialogue.present.tolist(), dialogue.labels.tolist(), strict=True):
            if label != IGNORED and any(there):
                pattern = "+".join(m for m, here in zip(MODALITIES, there, strict=True) if here)
                temperatures.append(checkpoint.sidecar.temperature.get(pattern, 1.0))
    return torch.tensor(temperatures)


def _table(result: dict[str, Any]) -> Table:
    table = Table("", "%", title=f"{result['checkpoint']} on {result['corpus']} {result['split']}, n = {result['n']}")
    for name in ("weighted_f1", "macro_f1", "accuracy", "uar", "ece"):
        table.add_row(name, f"{100 * result[name]:.1f}")
    for label, value in result["per_class_f1"].items():
        table.add_row(f"F1 {label}", f"{100 * value:.1f}")
    for name in ("modalities_used", "label_map", "left_out", "prior"):
        table.add_row(name, str(result[name]))
    return table


def draw_confusion(result: dict[str, Any], labels: LabelSet, path: Path) -> None:
    """The confusion matrix of one result as a PNG, rows the truth, each row in shares of its class."""
    from matplotlib.figure import Figure

    counts = torch.tensor(result["confusion"])
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(
        title=f"{result['corpus']} {result['split']}: {' + '.join(result['modalities_used'])}",
        xlabel="said",
        ylabel="labelled",
        xticks=range(len(labels)),
        yticks=range(len(labels)),
    )
    axes.set_xticklabels(labels.labels, rotation=45, ha="right")
    axes.set_yticklabels(labels.labels)
    for row in range(len(labels)):
        for column in range(len(labels)):
            dark = float(shares[row, column]) > 0.5
            axes.text(
                column, row, str(int(counts[row, column])), ha="center", va="center", fontsize=7,
                color="white" if dark else "black",
            )
    figure.savefig(path, dpi=110)
