"""What a run is trained and validated on: corpora, split honestly, as features of the live code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core_models.features.spec import MODALITIES, FeatureSpec
from core_models.labels import LabelSet
from core_models.sdt import SDTConfig
from train.corpora.dialogues import Corpus
from train.corpora.fer2013 import read_fer2013
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess
from train.dialogues_in_tensors import TensorDialogue, class_counts, prior_offset, to_tensors
from train.extract import extract
from train.extractors import Features, open_extractor
from train.mixture import Bank, Mixture, MixtureOptions, patterns
from train.speech import cut_to_speech

STILL = 1e4  # deviation given to a dimension that never moved in training, so that it says nothing if it moves live


@dataclass(frozen=True)
class Data:
    """The corpora of a run, each in its owner's layout, and how they are split."""

    meld: Path
    """Folder of MELD's CSV files: words, speakers, labels and the flow of dialogues."""
    ravdess: Path | None = None
    """Folder of RAVDESS clips: voices; without it the model has no voice."""
    fer2013: Path | None = None
    """Tar or folder of FER-2013, or a folder of fer2013_train.tar: faces; without it the model has no face."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    validation_share: float = 0.1
    """Share of MELD's training lines, in whole dialogues, and of the stills, that is held out for validation."""
    split_seed: int = 0
    """Seed of those splits, whatever the run's own: the text adapter's, which must not have read what is held out."""
    validation_actors: tuple[int, ...] = (17, 18)
    """RAVDESS actors held out for validation."""
    test_actors: tuple[int, ...] = (5, 10, 15, 20)
    """RAVDESS actors of whom neither training nor validation hears anything."""
    stills_per_class: int | None = 950
    """At most this many stills of each emotion; all of them where it is null."""


@dataclass
class Material:
    """Everything a run sees."""

    labels: LabelSet
    specs: dict[str, FeatureSpec]
    training: Mixture
    validation: dict[str, list[TensorDialogue]]
    """Pattern such as "text+voice" -> dialogues; "voice clips" and the like are single clips."""
    counts: dict[str, Any]
    """What there is of each corpus, for the record."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Modality -> width of its feature vector."""
        return {modality: spec.dimension for modality, spec in self.specs.items()}

    def class_counts(self) -> Tensor:
        """int64 [C], MELD's training lines of each class."""
        return class_counts(self.training.dialogues, len(self.labels))

    def class_weights(self, power: float) -> Tensor:
        """float32 [C], frequency to minus `power`, scaled so that the mean over MELD's training lines is 1."""
        counts = self.class_counts().float()
        weights = counts.clamp(min=1) ** -power
        return weights * counts.sum() / (weights * counts).sum()

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality -> (mean [d], deviation [d]) over the training vectors."""
        result = {}
        for modality in self.specs:
            column = MODALITIES.index(modality)
            dialogues = [*self.training.dialogues, *(d for clips in self.training.clips.values() for d in clips)]
            vectors = torch.cat([d.features[modality][d.present[:, column]] for d in dialogues])
            deviation, mean = torch.std_mean(vectors, dim=0)
            result[modality] = (mean, torch.where(deviation < 1e-5, STILL, deviation))
        return result

    def describe(self) -> str:
        """A line for each corpus: what of it is used."""
        return "\n".join(
            f"{name}: " + ", ".join(f"{value} {what}" for what, value in counts.items())
            for name, counts in self.counts.items()
        )


def gather(data: Data, features: Features, options: MixtureOptions, model: dict[str, Any], seed: int) -> Material:
    """Read the corpora, extract what the store lacks, split, and pair. Raises UsageError, WeightsError."""
    meld = read_meld(data.meld, "train")
    corpora: dict[str, tuple[Corpus, Corpus]] = {"meld": meld.split(data.validation_share, data.split_seed)}
    if data.ravdess is not None and features.voice is not None:
        ravdess = read_ravdess(data.ravdess)
        # Both as the corpus holds the clips and as a live run would cut them.
        ravdess = replace(ravdess, dialogues=ravdess.dialogues + cut_to_speech(ravdess).dialogues)
        corpora["ravdess"] = by_actor(ravdess, data.validation_actors, data.test_actors)
    if data.fer2013 is not None and features.face is not None:
        stills = read_fer2013(data.fer2013, "train", data.stills_per_class)
        corpora["fer2013"] = stills.split(data.validation_share, data.split_seed)
    modality_of = {"meld": "text", "ravdess": "voice", "fer2013": "face"}
    specs: dict[str, FeatureSpec] = {}
    vectors: dict[str, dict[str, Any]] = {}
    counts: dict[str, Any] = {}
    for name, (training, held_out) in corpora.items():
        modality = modality_of[name]
        weights = getattr(features, modality)
        if weights is None:
            continue
        extractor = open_extractor(modality, weights, features.adapter if modality == "text" else None)
        both = replace(training, dialogues=training.dialogues + held_out.dialogues)
        extracted = extract(both, extractor, data.store)
        specs[modality], vectors[modality] = extractor.spec, dict(extracted.vectors)
        counts[name] = {
            "training lines": sum(line.id in extracted.vectors for line in training.lines()),
            "validation lines": sum(line.id in extracted.vectors for line in held_out.lines()),
            "not found or broken": len(extracted.nothing) + len(extracted.broken),
        }
    specs = {m: specs[m] for m in MODALITIES if m in specs}
    slots, window = (int(model.get(k, getattr(SDTConfig, k))) for k in ("speakers", "window"))
    dimensions = {m: spec.dimension for m, spec in specs.items()}
    parts = {
        name: tuple(to_tensors(part, vectors, dimensions, slots) for part in pair)
        for name, pair in corpora.items()
        if modality_of[name] in specs
    }
    clips = [name for name in parts if name != "meld"]

    def bank(name: str, part: int) -> Bank:
        modality = modality_of[name]
        return Bank(modality, corpora[name][part], vectors, options.mismatch.get(modality, 0.0))

    mixture = Mixture(
        parts["meld"][0],
        {name: parts[name][0] for name in clips},
        [bank(name, 0) for name in clips],
        options,
        window,
        slots,
        seed,
    )
    banks = [bank(name, 1) for name in clips]
    validation = pair_for_validation(parts["meld"][1], banks, list(specs), seed)
    reference = class_counts(parts["meld"][0], len(meld.labels))
    for name in clips:
        uniform = prior_offset(torch.ones(len(meld.labels)), reference)
        validation[f"{modality_of[name]} clips"] = [replace(d, offset=uniform) for d in parts[name][1]]
    return Material(meld.labels, specs, mixture, validation, counts)


def by_actor(corpus: Corpus, validation: Sequence[int], test: Sequence[int]) -> tuple[Corpus, Corpus]:
    """(training, validation) clips, actors apart; those of `test` are in neither."""
    kept = [d for d in corpus.dialogues if int(d.group or 0) not in test]
    held = [d for d in kept if int(d.group or 0) in validation]
    rest = [d for d in kept if int(d.group or 0) not in validation]
    return replace(corpus, dialogues=tuple(rest)), replace(corpus, dialogues=tuple(held))


def pair_for_validation(
    dialogues: Sequence[TensorDialogue], banks: Sequence[Bank], modalities: Sequence[str], seed: int
) -> dict[str, list[TensorDialogue]]:
    """Pattern -> the dialogues under it, clips put to their lines once and for all patterns alike."""
    rng = np.random.default_rng([seed, 2**31])
    paired = list(dialogues)
    for bank in banks:
        paired = [bank.attach(dialogue, rng) for dialogue in paired]
    return {"+".join(p): [dialogue.masked(p) for dialogue in paired] for p in patterns(modalities)}
