"""Scores checkpoints on a corpus: `python -m train eval --checkpoint NAME|PATH --corpus NAME --root FOLDER`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from core_models.checkpoint import Checkpoint, locate
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.labels import LABEL_SETS, LabelSet
from train.corpora.dialogues import Corpus, relabel
from train.corpora.registry import CorpusConfig, read_corpus
from train.corpora.splits import Plan, make_folds
from train.data.dialogue_layout import DialogueLayout
from train.data.dialogue_tensors import TensorDialogue, to_tensors
from train.evaluation.bootstrap import compare_predictions
from train.evaluation.breakdowns import (
    break_down_predictions,
    modalities_of,
    score_missing_rates,
    score_subsets,
)
from train.evaluation.predictions import Predictions, Prior, predict_calibrated
from train.evaluation.results import STAMP, Breakdown, Comparison, Result, Summary, result_of, summarise_results
from train.evaluation.unimodal_classifiers import NETWORKS, open_checkpoint
from train.extraction.extract import Extracted, extract
from train.extraction.extractors import extractor_of, has_modality, open_extractor
from train.extraction.imported_features import read_imported
from train.media.speech_trimming import cut_to_speech


@dataclass(frozen=True)
class Imported:
    """Files of features that were computed elsewhere, such as gemaps47.npz."""

    text: Path | None = None
    """Of words."""
    voice: Path | None = None
    """Of voices."""
    face: Path | None = None
    """Of faces."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig(CorpusConfig):
    """What is evaluated on which data, and how the result is printed."""

    checkpoint: Sequence[str] = ("default",)
    """Names of checkpoints that ship, or folders, a text adapter's too; several are the seeds of one run, reported with
    their mean and deviation."""
    modalities: str | None = None
    """Let the model have only these, such as `text,voice` (default: all that both it and the corpus have)."""
    plan: Plan | None = None
    """Score the test part of one fold of this plan over the corpus (train/corpora/splits.py)."""
    fold: str | None = None
    """Its name, such as `4` under loso."""
    cut: str = "clip"
    """`clip`: sound as the corpus holds it; `speech`: cut to its speech as the live run cuts it."""
    imported: Imported = field(default_factory=Imported)
    """Features computed elsewhere, for checkpoints of such; looked for beside the corpus where none is given."""
    prior: Prior = "checkpoint"
    """Class frequencies before the decision: those that the model learnt, all alike (`uniform`), or those of the
    corpus's own training part (`train`), which is what `subset` or `fold` leaves where there are no splits."""
    subsets: bool = False
    """Also with each subset of the modalities."""
    missing: bool = False
    """Also with 0 to 70% of all present entries missing."""
    against: Sequence[str] = ()
    """Checkpoints to compare with, one for each of `checkpoint`: the difference, and its bootstrap interval."""
    seed: int = 0
    """Of what goes missing, of the bootstrap and of t-SNE."""
    figures: Path | None = None
    """Draw confusion, t-SNE, attention (and missing rates) into this folder, as PNG."""
    utterance: str | None = None
    """Whose attention is drawn, such as `dev/dia3:7` (dialogue and number from 0); the clearest where it is null."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    json: str | None = None
    """Write the result as JSON to this file, `-` for standard output, instead of printing a table."""

    def __post_init__(self) -> None:
        if self.cut not in ("clip", "speech"):
            raise UsageError(f"cut is {self.cut!r}: use clip or speech.")
        if (self.plan is None) != (self.fold is None):
            raise UsageError("--plan and --fold go together: give both, or neither.")
        if self.against and len(self.against) != len(self.checkpoint):
            raise UsageError(
                f"--against names {len(self.against)} checkpoints, --checkpoint {len(self.checkpoint)}: give pairs."
            )


@dataclass(frozen=True)
class CheckpointOnCorpus:
    """A checkpoint on a corpus: what it was shown, and what it said."""

    checkpoint: Checkpoint
    corpus: Corpus
    dialogues: list[TensorDialogue]
    prior: Tensor | None
    """[C], the counts of classes under which it decided; None: its own."""
    predictions: Predictions
    left_out: dict[str, int]
    stamp: str

    @property
    def context(self) -> str:
        """How much of the dialogue an utterance saw."""
        config = self.checkpoint.model.config
        if self.checkpoint.sidecar.model in NETWORKS:
            return NETWORKS[self.checkpoint.sidecar.model]
        if self.checkpoint.sidecar.model == "text":
            tokens = self.checkpoint.sidecar.features["text"].settings.get("context", 0)
            return f"its own words and {tokens} tokens before" if tokens else "its own words"
        return f"causal, window {config.window}" if config.causal else "bidirectional"


# Draws the figures of a result and returns their names (train/figures/evaluation_figures.py).
Draw = Callable[..., tuple[str, ...]]


def evaluate(config: EvalConfig, draw: Draw | None = None) -> Result | Summary:
    """The result of the checkpoint, or the mean over several. Raises UsageError, CheckpointError."""
    others = config.against or (None,) * len(config.checkpoint)
    results = [evaluate_one(config, *pair, draw) for pair in zip(config.checkpoint, others, strict=True)]
    return results[0] if len(results) == 1 else summarise_results(results)


def evaluate_one(config: EvalConfig, name: str, against: str | None = None, draw: Draw | None = None) -> Result:
    """Score one checkpoint on whole dialogues, with `forward`. Raises UsageError, CheckpointError."""
    measured = measure_checkpoint(config, name)
    breakdown = break_down(config, measured)
    comparison = None if against is None else compare_with(config, measured, against)
    result = _make_result(config, measured, breakdown, comparison)
    if config.figures is None or draw is None:
        return result
    stem = f"{result.corpus}_{result.split}" if config.json in (None, "-") else Path(str(config.json)).stem
    names = draw(
        result,
        measured.checkpoint,
        measured.corpus,
        measured.dialogues,
        config.figures,
        stem,
        measured.predictions,
        config.seed,
        config.utterance,
    )
    return msgspec.structs.replace(result, figures=names)


def break_down(config: EvalConfig, measured: CheckpointOnCorpus) -> dict[str, Breakdown]:
    """The scores of parts of the utterances, and those under other conditions that `config` asks for."""

    def predict(others: list[TensorDialogue]) -> Predictions:
        return predict_calibrated(measured.checkpoint, others, measured.prior)

    breakdown = break_down_predictions(measured.predictions, measured.corpus)
    if config.subsets:
        breakdown["modalities"] = score_subsets(measured.dialogues, modalities_of(measured.dialogues), predict)
    if config.missing:
        breakdown["missing"] = score_missing_rates(measured.dialogues, config.seed, predict)
    return breakdown


def compare_with(config: EvalConfig, measured: CheckpointOnCorpus, name: str) -> Comparison:
    """The checkpoint that was measured against the one of that name. Raises UsageError, CheckpointError."""
    other = measure_checkpoint(config, name)
    return compare_predictions(measured.predictions, other.predictions, other.checkpoint, other.context, config.seed)


def _make_result(
    config: EvalConfig, measured: CheckpointOnCorpus, breakdown: dict[str, Breakdown], comparison: Comparison | None
) -> Result:
    checkpoint = measured.checkpoint
    run = checkpoint.sidecar.record.get("run", {})
    return result_of(
        measured.predictions.scores(),
        measured.corpus,
        left_out=measured.left_out,
        missed=measured.left_out.get("broken", 0) + measured.left_out.get("nothing found", 0),
        checkpoint=checkpoint.name,
        digest=checkpoint.digest,
        model=checkpoint.sidecar.model,
        run=str(run.get("name", checkpoint.name)).partition("/")[0],  # seeds lie in folders of their run
        seed=run.get("seed"),
        selection=selection_of(checkpoint),
        split=config.split or "all",
        subset=config.subset,
        fold=config.fold or "",
        stamp=measured.stamp,
        modalities_used=modalities_of(measured.dialogues),
        cut=config.cut,
        prior=config.prior,
        context=measured.context,
        breakdown=breakdown,
        against=comparison,
    )


def selection_of(checkpoint: Checkpoint) -> str:
    """What chose the pass that the checkpoint holds, under a stamp where that was a test score."""
    record = checkpoint.sidecar.record
    return f"{STAMP}: " * (record.get("select_on") == "test") + str(record.get("selection", ""))


def measure_checkpoint(config: EvalConfig, name: str) -> CheckpointOnCorpus:
    """The checkpoint's predictions for the corpus. Raises UsageError, CheckpointError."""
    checkpoint = open_checkpoint(name)
    labels = LABEL_SETS[checkpoint.sidecar.labels]
    layout = DialogueLayout.of(checkpoint.sidecar.record)
    corpus, stamp = _choose_part(config, read_corpus(_in_labels(config, labels.name)))
    if config.cut == "speech":
        corpus = cut_to_speech(corpus)
    reasons = dict(corpus.left_out)
    if unknown := sum(u.label is None and not u.candidates for u in corpus.utterances()):
        reasons["no label of the set"] = unknown
    corpus, unmapped, _ = relabel(corpus, labels)
    if several := sum(bool(u.candidates) for u in corpus.utterances()):
        reasons["several labels"] = several
    corpus = layout.arrange_corpus(corpus)
    wanted = wanted_modalities(config, checkpoint)
    extracted = vectors_of(config, corpus, checkpoint, wanted, locate(name))
    vectors = {modality: found.vectors for modality, found in extracted.items()}
    shape = checkpoint.model.config
    dialogues = to_tensors(corpus, vectors, shape.dimensions, shape.speakers, layout)
    if not dialogues:
        raise UsageError(
            f"Nothing of {corpus.name} at {config.root} gives {', '.join(wanted)}: choose other --modalities."
        )
    prior = expected_counts(config, labels, {utterance.id for utterance in corpus.utterances()})
    reasons |= {f"no twin of {label}": count for label, count in unmapped.items()}
    reasons |= count_without_modality(corpus, extracted)
    predicted = predict_calibrated(checkpoint, dialogues, prior)
    return CheckpointOnCorpus(checkpoint, corpus, dialogues, prior, predicted, reasons, stamp)


def expected_counts(config: EvalConfig, labels: LabelSet, scored: Container[str]) -> Tensor | None:
    """[C], how often each class is to be expected by `config.prior`; None leaves it to the checkpoint.

    `scored` has the ids of what is scored, which count for nothing. Raises UsageError.
    """
    if config.prior == "checkpoint":
        return None
    if config.prior == "uniform":
        return torch.ones(len(labels))
    if config.split is None and config.subset is None and config.plan is None:
        raise UsageError("--prior train needs a training part: name the --split, --subset or --plan that is scored.")
    subset = config.subset if config.plan is not None else None
    whole = replace(_in_labels(config, labels.name), split=config.split and "train", subset=subset)
    train, *_ = relabel(read_corpus(whole), labels)
    indices = [
        labels.index(utterance.label)
        for utterance in train.utterances()
        if utterance.label is not None and utterance.id not in scored
    ]
    return torch.bincount(torch.tensor(indices), minlength=len(labels))


def _choose_part(config: EvalConfig, corpus: Corpus) -> tuple[Corpus, str]:
    """The test part of the fold that `config` names, or all, and what every result on it must say. UsageError."""
    if config.plan is None:
        return corpus, ""
    plan = {fold.name: fold for fold in make_folds(corpus, config.plan)}
    if config.fold not in plan:
        raise UsageError(f"Plan {config.plan} has no fold {config.fold!r}: choose from {', '.join(plan)}.")
    return plan[config.fold].test, plan[config.fold].stamp


def _in_labels(config: EvalConfig, labels: str) -> EvalConfig:
    """`config`, reading a corpus that has several label sets in the checkpoint's, unless it names one."""
    if config.labels is None and config.corpus == "iemocap" and labels == "iemocap4":
        return replace(config, labels="iemocap4")
    if config.labels is None and config.corpus == "ravdess" and labels == "ravdess8":
        return replace(config, labels="ravdess8")
    return config


def count_without_modality(corpus: Corpus, extracted: Mapping[str, Extracted]) -> dict[str, int]:
    """Reason -> how many labelled utterances are not scored because none of their modalities is there."""
    found = {identity for e in extracted.values() for identity in e.vectors}
    looked = {identity for e in extracted.values() for identity in e.nothing}
    broken = {identity for e in extracted.values() for identity in e.broken}
    reasons = Counter[str]()
    for utterance in corpus.utterances():
        if utterance.label is not None and utterance.id not in found:
            reason = (
                "broken"
                if utterance.id in broken
                else "nothing found"
                if utterance.id in looked
                else "no such modality"
            )
            reasons[reason] += 1
    return dict(reasons)


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
    config: EvalConfig, corpus: Corpus, checkpoint: Checkpoint, modalities: tuple[str, ...], folder: Path
) -> dict[str, Extracted]:
    """Modality -> what of it the corpus has_modality, by the features that the checkpoint in `folder` was trained on.

    Raises CheckpointError where the weights at hand make other features, UsageError where imported ones are not found.
    """
    extracted = {}
    for modality in modalities:
        if checkpoint.sidecar.features[modality].settings.get("imported"):
            extracted[modality] = imported_vectors(config, corpus, checkpoint, modality)
            continue
        if not any(has_modality(utterance, modality) for utterance in corpus.utterances()):
            continue
        spec = checkpoint.sidecar.features[modality]
        # An adapter is at hand itself, wherever it lies.
        if checkpoint.sidecar.model == "text":
            extractor = open_extractor("text", str(spec.settings["base"]), str(folder))
        elif checkpoint.sidecar.model in NETWORKS:
            extractor = open_extractor(modality, str(folder))
        else:
            extractor = extractor_of(spec)
        checkpoint.require({modality: extractor.spec})
        extracted[modality] = extract(corpus, extractor, config.store)
    return extracted


def imported_vectors(config: EvalConfig, corpus: Corpus, checkpoint: Checkpoint, modality: str) -> Extracted:
    """What a file of features computed elsewhere holds of the corpus. Raises UsageError, CheckpointError."""
    trained = checkpoint.sidecar.features[modality]
    beside = [folder / f"{trained.name}.npz" for folder in (config.root, config.root.parent)]
    path = getattr(config.imported, modality) or next((p for p in beside if p.is_file()), None)
    if path is None:
        raise UsageError(
            f"Checkpoint {checkpoint.name} was trained on imported features [{trained.describe()}]: "
            f"name their file with --imported.{modality}."
        )
    spec, vectors = read_imported(path, modality)
    checkpoint.require({modality: spec})
    found = {utterance.id: vectors[utterance.id] for utterance in corpus.utterances() if utterance.id in vectors}
    return Extracted(found, kept=len(found), without={utterance.id for utterance in corpus.utterances()} - set(found))
