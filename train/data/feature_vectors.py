"""The feature vectors of a run's corpora: imported, kept by a live session, or extracted with the live feature code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from train.corpora.dialogues import Corpus
from train.data.compatibility import require_feature
from train.data.config import CLIPS
from train.data.corpus_parts import Parts
from train.extraction.extract import extract
from train.extraction.extractors import has_modality, open_extractor
from train.extraction.feature_names import FeatureNames
from train.extraction.imported_features import read_imported


@dataclass
class FeatureVectors:
    """What was found of each modality."""

    specs: dict[str, FeatureSpec] = field(default_factory=dict)
    vectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Modality -> id of an utterance -> float32 [dimension]."""
    missed: dict[str, int] = field(default_factory=dict)
    """Corpus -> (utterance, modality) pairs that were looked at and not found, or broken."""
    native: tuple[str, ...] = ()
    """Modalities that the dialogues have of their own, without clips."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Modality -> width of its vector."""
        return {modality: spec.dimension for modality, spec in self.specs.items()}

    def add(self, spec: FeatureSpec, vectors: Mapping[str, Any], missed: Mapping[str, int]) -> None:
        """Keep what was found of one modality."""
        self.specs[spec.modality], self.vectors[spec.modality] = spec, dict(vectors)
        for name, count in missed.items():
            self.missed[name] = self.missed.get(name, 0) + count


def extract_features(
    parts: Parts, features: FeatureNames, store: Path, start: Checkpoint | None = None
) -> FeatureVectors:
    """A vector for each utterance and modality of `parts`; what `store` lacks is computed first.

    A modality that no corpus has is missing throughout. Raises UsageError, WeightsError, and CheckpointError for
    features other than those of `start`.
    """
    found = FeatureVectors(missed=dict.fromkeys(parts.corpora, 0))
    for modality in MODALITIES:
        lending = {name: pair for name, pair in parts.clips.items() if CLIPS[name] == modality}
        corpora = {
            name: replace(training, dialogues=training.dialogues + validation.dialogues)
            for name, (training, validation) in {parts.name: parts.dialogues, **lending}.items()
        }
        if modality in features.imported:
            _import_vectors(found, corpora, modality, features.imported[modality], start)
        elif getattr(features, modality) is not None:
            _extract_vectors(found, corpora, modality, features, store, start)
    if not found.specs:
        raise UsageError(f"No modality of {parts.name} is left to train on: name a feature for one that it has.")
    training = list(parts.dialogues[0].utterances())
    found.native = tuple(
        modality
        for modality in found.specs
        if modality in features.imported or any(has_modality(utterance, modality) for utterance in training)
    )
    return found


def _import_vectors(
    found: FeatureVectors, corpora: Mapping[str, Corpus], modality: str, path: Path, start: Checkpoint | None
) -> None:
    spec, vectors = read_imported(path, modality)
    require_feature(start, spec)
    missed = {}
    for name, corpus in corpora.items():
        ids = [utterance.id for utterance in corpus.utterances()]
        missed[name] = sum(identity not in vectors for identity in ids)
        if missed[name] == len(ids):
            raise UsageError(f"{path} holds no vector of an utterance of {name}: give the file of this corpus.")
    found.add(spec, vectors, missed)


def _extract_vectors(
    found: FeatureVectors,
    corpora: Mapping[str, Corpus],
    modality: str,
    features: FeatureNames,
    store: Path,
    start: Checkpoint | None,
) -> None:
    having = [c for c in corpora.values() if any(has_modality(utterance, modality) for utterance in c.utterances())]
    if not having:
        return
    extractor = open_extractor(modality, getattr(features, modality), features.adapter if modality == "text" else None)
    require_feature(start, extractor.spec)
    vectors: dict[str, Any] = {}
    missed = {}
    for corpus in having:
        extracted = extract(corpus, extractor, store)
        vectors |= extracted.vectors
        missed[corpus.name] = len(extracted.nothing) + len(extracted.broken)
    if vectors:
        found.add(extractor.spec, vectors, missed)
