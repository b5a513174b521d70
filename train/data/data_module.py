"""What a run is trained and validated on: corpora, split honestly, as features of the live code or imported ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.labels import LabelSet
from train.corpora.dialogues import Corpus
from train.corpora.fer2013 import read_fer2013
from train.corpora.ravdess import read_ravdess
from train.data.class_balance import class_counts, prior_offset
from train.data.clip_pairing import CLIPS, ClipBank, pair_for_validation, split_by_actor
from train.data.compatibility import require_feature, require_labels
from train.data.config import DataConfig
from train.data.dialogue_layout import DialogueLayout
from train.data.dialogue_sampler import DialogueSampler, SamplerOptions
from train.data.dialogue_tensors import TensorDialogue, to_tensors
from train.extraction.extract import extract
from train.extraction.extractors import has, open_extractor
from train.extraction.feature_names import FeatureNames
from train.extraction.imported_features import read_imported
from train.media.speech_trimming import cut_to_speech

DEAD_DIMENSION_DEVIATION = 1e4  # of a dimension that is constant in training, so that it says nothing if it moves live


@dataclass
class DataModule:
    """Everything a run sees."""

    labels: LabelSet
    specs: dict[str, FeatureSpec]
    training: DialogueSampler
    validation: dict[str, list[TensorDialogue]]
    """Pattern such as "text+voice" -> dialogues; "voice clips" and the like are single clips."""
    counts: dict[str, dict[str, int]]
    """What there is of each corpus, for the record."""
    reading: DialogueLayout
    """How its dialogues are read."""
    native: str
    """The pattern that the dialogues have of their own, without clips put to their utterances."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Modality -> width of its feature vector."""
        return {modality: spec.dimension for modality, spec in self.specs.items()}

    def class_counts(self) -> Tensor:
        """int64 [C], training utterances of each class, clips apart."""
        return class_counts(self.training.dialogues, len(self.labels))

    def class_weights(self, power: float) -> Tensor:
        """float32 [C], frequency to minus `power`, scaled so that the mean over the training utterances is 1."""
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
            result[modality] = (mean, torch.where(deviation < 1e-5, DEAD_DIMENSION_DEVIATION, deviation))
        return result

    def describe(self) -> str:
        """An utterance for each corpus: what of it is used."""
        return "\n".join(
            f"{name}: " + ", ".join(f"{value} {what}" for what, value in counts.items())
            for name, counts in self.counts.items()
        )


def gather(
    data: DataConfig,
    features: FeatureNames,
    options: SamplerOptions,
    slots: int,
    window: int,
    seed: int,
    select_on: Literal["validation", "test"] = "validation",
    start: Checkpoint | None = None,
) -> DataModule:
    """Read the corpora, extract what the store lacks, split, and pair. Raises UsageError, WeightsError.

    `slots` and `window` are the model's. A modality that no corpus has is missing throughout. Labels and features
    other than those of `start` are a CheckpointError.
    """
    dialogues = data.parts(select_on)
    require_labels(start, dialogues[0].labels)
    reading = DialogueLayout(
        data.order,
        data.speakers,
        data.unlabelled,
        tuple(sorted({utterance.speaker for utterance in dialogues[0].utterances()}))
        if data.speakers == "corpus"
        else (),
    )
    # Before extraction: a text encoder may read the utterances before.
    dialogues = (_arranged(dialogues[0], reading), _arranged(dialogues[1], reading))
    name = dialogues[0].name
    corpora = {name: dialogues, **_clips(data, features)}
    for clips in corpora.values():
        if clips[0].labels != dialogues[0].labels:
            raise UsageError(
                f"{clips[0].name} is labelled with {clips[0].labels.name}, {name} with {dialogues[0].labels.name}: "
                f"leave data.{clips[0].name} out."
            )
    specs: dict[str, FeatureSpec] = {}
    vectors: dict[str, dict[str, Any]] = {}
    missed = dict.fromkeys(corpora, 0)
    for modality in MODALITIES:
        of_clips = {n: pair for n, pair in corpora.items() if n == name or CLIPS[n] == modality}
        found = _vectors(modality, of_clips, features, data.store, start)
        if found is not None:
            specs[modality], vectors[modality], lost = found
            missed = {n: count + lost.get(n, 0) for n, count in missed.items()}
    if not specs:
        raise UsageError(f"No modality of {name} is left to train on: name a feature for one that it has.")
    dimensions = {m: spec.dimension for m, spec in specs.items()}
    parts = {
        n: tuple(to_tensors(part, vectors, dimensions, slots, reading) for part in pair) for n, pair in corpora.items()
    }
    for part, what in zip(parts[name], ("train", select_on), strict=True):
        if not part:
            raise UsageError(f"data.{what} holds no dialogue of {name} with a feature at all: choose a larger part.")
    singles = [n for n in parts if n != name]

    def banks(part: int) -> list[ClipBank]:
        return [ClipBank(CLIPS[n], corpora[n][part], vectors, options.mismatch.get(CLIPS[n], 0.0)) for n in singles]

    permuted = slots if data.speakers == "slots" else 0
    lent = {n: parts[n][0] for n in singles}
    mixture = DialogueSampler(parts[name][0], lent, banks(0), options, window, permuted, seed)
    validation = pair_for_validation(parts[name][1], banks(1), list(specs), seed)
    classes = len(dialogues[0].labels)
    uniform = prior_offset(torch.ones(classes), class_counts(parts[name][0], classes))
    for n in singles:
        validation[f"{CLIPS[n]} clips"] = [replace(d, offset=uniform) for d in parts[n][1]]
    counts = {n: _count(parts[n], missed[n]) for n in corpora}
    own = "+".join(
        m for m in specs if any(has(utterance, m) for utterance in dialogues[0].utterances()) or m in features.imported
    )
    return DataModule(dialogues[0].labels, specs, mixture, validation, counts, reading, own)


def _clips(data: DataConfig, features: FeatureNames) -> dict[str, tuple[Corpus, Corpus]]:
    """Name -> (training, validation) of each corpus of clips whose modality is used."""
    clips = {}
    for name, modality in CLIPS.items():
        if getattr(data, name) is not None and modality in features.imported:
            raise UsageError(
                f"data.{name} cannot lend a {modality} where features.imported.{modality} is given: choose one."
            )
    if data.ravdess is not None and features.voice is not None:
        ravdess = read_ravdess(data.ravdess)
        # Both as the corpus holds the clips and as a live run would cut them.
        ravdess = replace(ravdess, dialogues=ravdess.dialogues + cut_to_speech(ravdess).dialogues)
        clips["ravdess"] = split_by_actor(ravdess, data.validation_actors, data.test_actors)
    if data.fer2013 is not None and features.face is not None:
        stills = read_fer2013(data.fer2013, "train", data.stills_per_class, data.stills)
        clips["fer2013"] = stills.split(data.validation_share, data.split_seed)
    return clips


def _vectors(
    modality: str,
    corpora: Mapping[str, tuple[Corpus, Corpus]],
    features: FeatureNames,
    store: Path,
    start: Checkpoint | None,
) -> tuple[FeatureSpec, dict[str, Any], dict[str, int]] | None:
    """(spec, utterance id -> vector, corpus -> how many lack it); None where none has the modality."""
    utterances = {n: [utterance for part in pair for utterance in part.utterances()] for n, pair in corpora.items()}
    if modality in features.imported:
        path = features.imported[modality]
        spec, vectors = read_imported(path, modality)
        require_feature(start, spec)
        lost = {n: sum(utterance.id not in vectors for utterance in given) for n, given in utterances.items()}
        if any(lost[n] == len(given) for n, given in utterances.items()):
            raise UsageError(
                f"{path} holds no vector of an utterance of {', '.join(utterances)}: give the file of this corpus."
            )
        return spec, dict(vectors), lost
    weights = getattr(features, modality)
    having = [n for n, given in utterances.items() if any(has(utterance, modality) for utterance in given)]
    if weights is None or not having:
        return None
    extractor = open_extractor(modality, weights, features.adapter if modality == "text" else None)
    require_feature(start, extractor.spec)
    found: dict[str, Any] = {}
    missed: dict[str, int] = {}
    for n in having:
        training, held_out = corpora[n]
        extracted = extract(replace(training, dialogues=training.dialogues + held_out.dialogues), extractor, store)
        found |= extracted.vectors
        missed[n] = len(extracted.nothing) + len(extracted.broken)
    return (extractor.spec, found, missed) if found else None


def _count(parts: Sequence[Sequence[TensorDialogue]], missed: int) -> dict[str, int]:
    present = [torch.cat([dialogue.present for dialogue in part]) if part else torch.zeros(0, 3) for part in parts]
    training, validation = (int(there.any(dim=1).sum()) for there in present)
    each = {f"with {m}": int(torch.cat(present)[:, i].sum()) for i, m in enumerate(MODALITIES)}
    several = {what: count for what, count in each.items() if count} if sum(map(bool, each.values())) > 1 else {}
    return {"training lines": training, "validation lines": validation, **several, "not found or broken": missed}


def _arranged(corpus: Corpus, reading: DialogueLayout) -> Corpus:
    return replace(corpus, dialogues=tuple(reading.arrange(dialogue) for dialogue in corpus.dialogues))
