"""Scores a checkpoint on a corpus: `python -m train eval --checkpoint NAME|PATH --corpus NAME --root FOLDER`."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from core_models.checkpoint import Checkpoint, load
from core_models.errors import DiskError, UsageError
from core_models.features.spec import MODALITIES
from core_models.labels import LABEL_SETS
from core_models.sdt import SDT
from train.corpora.choose import CorpusConfig, read_corpus
from train.corpora.dialogues import Corpus
from train.dialogues_in_tensors import TensorDialogue, prior_offset, to_tensors
from train.extract import Extracted, extract
from train.extractors import extractor_of, has
from train.fit import predict
from train.objectives.sdt import IGNORED
from train.scores import score
from train.speech import cut_to_speech


@dataclass(frozen=True, kw_only=True)
class EvalConfig(CorpusConfig):
    """What is scored on what, and how the result is told."""

    checkpoint: str = "default"
    """Name of a checkpoint that ships, or a folder."""
    modalities: str | None = None
    """Let the model have only these, such as `text,voice` (default: all that both it and the corpus have)."""
    cut: Literal["clip", "speech"] = "clip"
    """Sound as the corpus holds it, or cut to its speech as the live run cuts it."""
    prior: Literal["checkpoint", "uniform"] = "checkpoint"
    """`uniform` takes out the class frequencies that the model learnt (MELD's) before the decision."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    json: str | None = None
    """Write the result as JSON to this file, `-` for standard output, instead of printing a table."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation. Scores are shares in [0, 1]."""

    checkpoint: str
    digest: str
    corpus: str
    split: str
    subset: str | None
    n: int
    """Utterances scored."""
    weighted_f1: float
    macro_f1: float
    accuracy: float
    uar: float
    ece: float
    per_class_f1: dict[str, float]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    """Rows the truth, columns the prediction, in the order of `labels`."""
    label_map: str
    left_out: dict[str, int]
    """Why utterances of the split were not scored, and how many for each reason."""
    accuracy_left_out_as_errors: float
    """Accuracy if every utterance in which nothing was found, or that was broken, counts as wrong."""
    modalities_used: tuple[str, ...]
    """Those that at least one scored utterance had."""
    cut: str
    """`clip`: sound as the corpus holds it; `speech`: as the live run cuts it."""
    prior: str
    """`checkpoint`: the model's own; `uniform`: its class frequencies taken out."""
    context: str
    """How much of the dialogue an utterance saw."""


def evaluate(config: EvalConfig) -> Result:
    """Score the checkpoint, causal, on whole dialogues, with `forward`. Raises UsageError, CheckpointError."""
    checkpoint = load(config.checkpoint)
    corpus = read_corpus(config)
    if config.cut == "speech":
        corpus = cut_to_speech(corpus)
    labels = LABEL_SETS[checkpoint.sidecar.labels]
    if corpus.labels != labels:
        raise UsageError(
            f"{corpus.name} is labelled with {corpus.labels.name}, checkpoint {checkpoint.name} with {labels.name}: "
            "choose a checkpoint of the corpus's own label set."
        )
    wanted = wanted_modalities(config, checkpoint)
    extracted = vectors_of(corpus, checkpoint, wanted, config.store)
    vectors = {m: e.vectors for m, e in extracted.items()}
    network: SDT = checkpoint.model
    dialogues = to_tensors(corpus, vectors, network.config.dimensions, network.config.speakers)
    if not dialogues:
        raise UsageError(
            f"Nothing of {corpus.name} at {config.root} gives {', '.join(wanted)}: choose other --modalities."
        )
    used = tuple(m for i, m in enumerate(MODALITIES) if any(d.present[:, i].any() for d in dialogues))
    logits, truth = predict(network, with_prior(dialogues, config.prior, checkpoint))
    scores = score(logits / temperatures(checkpoint, dialogues)[:, None], truth, labels)
    left_out = Counter[str]()
    found = {identity for e in extracted.values() for identity in e.vectors}
    looked = {identity for e in extracted.values() for identity in e.nothing}
    broken = {identity for e in extracted.values() for identity in e.broken}
    for line in corpus.lines():
        if line.label is None:
            left_out["no label of the set"] += 1
        elif line.id not in found:
            reason = "broken" if line.id in broken else "nothing found" if line.id in looked else "no such modality"
            left_out[reason] += 1
    missed = left_out["broken"] + left_out["nothing found"]
    return Result(
        checkpoint=checkpoint.name,
        digest=checkpoint.digest,
        corpus=corpus.name,
        split=config.split or "all",
        subset=config.subset,
        **scores.rounded(),
        labels=labels.labels,
        label_map=corpus.label_map,
        left_out={reason: count for reason, count in left_out.items() if count},
        accuracy_left_out_as_errors=round(scores.accuracy * scores.n / (scores.n + missed), 4),
        modalities_used=used,
        cut=config.cut,
        prior=config.prior,
        context=f"causal, window {network.config.window}" if network.config.causal else "bidirectional",
    )


def wanted_modalities(config: EvalConfig, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The checkpoint's modalities, or those of them that `config` names. Raises UsageError."""
    has = tuple(m for m in MODALITIES if m in checkpoint.sidecar.features)
    if config.modalities is None:
        return has
    named = [name.strip() for name in config.modalities.split(",")]
    unknown = [name for name in named if name not in has]
    if unknown:
        raise UsageError(f"Checkpoint {checkpoint.name} has no modality {unknown[0]!r}: choose from {', '.join(has)}.")
    return tuple(m for m in has if m in named)


def vectors_of(
    corpus: Corpus, checkpoint: Checkpoint, modalities: tuple[str, ...], store: Path
) -> dict[str, Extracted]:
    """Modality -> what of it the corpus has, by the features that the checkpoint was trained on.

    Raises CheckpointError where the weights at hand make other features.
    """
    extracted = {}
    for modality in modalities:
        if not any(has(line, modality) for line in corpus.lines()):
            continue
        extractor = extractor_of(checkpoint.sidecar.features[modality])
        checkpoint.require({modality: extractor.spec})
        extracted[modality] = extract(corpus, extractor, store)
    return extracted


def with_prior(
    dialogues: list[TensorDialogue], prior: Literal["checkpoint", "uniform"], checkpoint: Checkpoint
) -> list[TensorDialogue]:
    """The dialogues, their logits to be moved to `prior`. Raises UsageError where the checkpoint's is not known."""
    if prior == "checkpoint":
        return dialogues
    learnt = torch.tensor(checkpoint.sidecar.record.get("prior", ()))
    if len(learnt) != checkpoint.model.config.classes:
        raise UsageError(f"Checkpoint {checkpoint.name} does not record its prior: leave --prior out.")
    # `prior_offset` takes counts, and a share is none: as counts of a million lines none falls below its floor.
    offset = prior_offset(torch.full_like(learnt, 1e6), learnt * 1e6)
    return [replace(dialogue, offset=offset) for dialogue in dialogues]


def temperatures(checkpoint: Checkpoint, dialogues: list[TensorDialogue]) -> Tensor:
    """float32 [n], of each utterance that `predict` counts, in its order, by its own pattern of modalities."""
    found = []
    for dialogue in dialogues:
        for there, label in zip(dialogue.present.tolist(), dialogue.labels.tolist(), strict=True):
            if label != IGNORED and any(there):
                pattern = "+".join(m for m, here in zip(MODALITIES, there, strict=True) if here)
                found.append(checkpoint.sidecar.temperature.get(pattern, 1.0))
    return torch.tensor(found)


def tell(result: Result, config: EvalConfig) -> None:
    """Print the result as a table, or write it as JSON. Raises DiskError."""
    if config.json is None:
        print_table(result, Console())
        return
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
    if config.json == "-":
        sys.stdout.write(text)
        return
    try:
        Path(config.json).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(
            f"The result cannot be written to {config.json} ({error.strerror}): name another file."
        ) from None


def print_table(result: Result, console: Console) -> None:
    """The result for people: scores, and the confusion matrix with each class's F1."""
    console.print(
        f"{result.checkpoint} ({result.digest[:8]}) on {result.corpus} {result.split} {result.subset or ''}: "
        f"{result.n} utterances, {', '.join(result.modalities_used)}, {result.context}, prior: {result.prior}, "
        f"labels: {result.label_map}, left out: {result.left_out or 'none'}",
        highlight=False,
    )
    console.print(
        f"weighted F1 {result.weighted_f1:.1%}  macro F1 {result.macro_f1:.1%}  accuracy {result.accuracy:.1%}  "
        f"UAR {result.uar:.1%}  ECE {result.ece:.3f}",
        highlight=False,
    )
    table = Table("truth \\ predicted", *result.labels, "F1")
    for label, row in zip(result.labels, result.confusion, strict=True):
        table.add_row(label, *map(str, row), f"{result.per_class_f1[label]:.1%}")
    console.print(table)
