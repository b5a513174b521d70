"""What a run is trained and validated on: corpora, split honestly, as features of the live code or imported ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.features.spec import MODALITIES, FeatureSpec
from core_models.labels import LabelSet
from train.corpora.choose import CorpusConfig, read_corpus
from train.corpora.dialogues import Corpus, groups_of, without_groups
from train.corpora.fer2013 import Stills, read_fer2013
from train.corpora.ravdess import read_ravdess
from train.corpora.splits import Plan, folds, validation_split
from train.dialogues_in_tensors import Reading, TensorDialogue, class_counts, prior_offset, to_tensors
from train.extract import extract
from train.extractors import Features, has, open_extractor
from train.imported import read_imported
from train.mixture import Bank, Mixture, MixtureOptions, patterns
from train.speech import cut_to_speech
from train.start import require_feature, require_labels

STILL = 1e4  # deviation given to a dimension that never moved in training, so that it says nothing if it moves live
CLIPS = {"ravdess": "voice", "fer2013": "face"}
"""Corpora of single clips, and the modality that each may lend to dialogues that lack it."""


@dataclass(frozen=True)
class Data:
    """The corpora of a run, each in its owner's layout, and how they are split."""

    train: CorpusConfig
    """The dialogues trained on: words, speakers, labels and flow, and what else its owner has on disk."""
    validation: dict[str, Any] | None = None
    """The part that passes are chosen on, as what differs from `train`, such as {split: dev}; whole dialogues drawn
    from `train` where it is null."""
    test: dict[str, Any] | None = None
    """The part that passes are chosen on under `select_on: test`, as what differs from `train`."""
    without: CorpusConfig | None = None
    """Dialogues of the episodes (sessions, actors) of this part are left out of training: EmoryNLP and MELD are both
    Friends, so whoever evaluates on one trains without its episodes in the other."""
    plan: Plan | None = None
    """Train on the training part of one fold of this plan over `train` (train/corpora/splits.py), for `eval --plan`."""
    fold: str | None = None
    """Which fold of `plan`."""
    plan_seed: int = 0
    """Seed of the plans random and holdout."""
    ravdess: Path | None = None
    """Folder of RAVDESS clips: voices for lines that have none."""
    fer2013: Path | None = None
    """Tar or folder of FER-2013, or a folder of fer2013_train.tar: faces for lines that have none."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    validation_share: float = 0.1
    """Share of the training lines, in whole dialogues, and of the stills, that is held out for validation."""
    apart: Literal["dialogues", "speakers"] = "dialogues"
    """What validation does not share with training: dialogues, or speakers too (of IEMOCAP a whole session)."""
    split_seed: int = 0
    """Seed of those splits, whatever the run's own: the text adapter's, which must not have read what is held out."""
    validation_actors: tuple[int, ...] = (17, 18)
    """RAVDESS actors held out for validation."""
    test_actors: tuple[int, ...] = (5, 10, 15, 20)
    """RAVDESS actors of whom neither training nor validation hears anything."""
    stills_per_class: int | None = 950
    """At most this many stills of each emotion; all of them where it is null."""
    stills: Stills = "all"
    """Which of them: all, or for an expression network's feature the fifth that it was not taught (unseen)."""
    order: Literal["end", "corpus"] = "end"
    """Utterances by their end, the order in which a live run commits them, or the corpus's own (the papers)."""
    speakers: Literal["slots", "corpus"] = "slots"
    """Slots by first appearance, permuted in training, or the corpus's own ids (the papers; IEMOCAP's are F and M)."""
    unlabelled: Literal["context", "drop"] = "context"
    """Utterances without a label of the set stay as context, uncounted, or are dropped (the papers)."""

    def __post_init__(self) -> None:
        if (self.plan is None) != (self.fold is None):
            raise UsageError("data.plan and data.fold go together: give both, or neither.")

    def _training(self) -> Corpus:
        corpus = read_corpus(self.train)
        if self.plan is not None:
            found = {fold.name: fold for fold in folds(corpus, self.plan, seed=self.plan_seed)}
            if self.fold not in found:
                raise UsageError(f"Plan {self.plan} has no fold {self.fold!r}: choose from {', '.join(found)}.")
            corpus = found[self.fold].train
        if self.without is not None:
            corpus = without_groups(corpus, groups_of(read_corpus(self.without)))
        if not corpus.dialogues:
            raise UsageError("data.train holds no dialogue outside data.without and the fold: choose a larger part.")
        return corpus

    def parts(self, select_on: Literal["validation", "test"]) -> tuple[Corpus, Corpus]:
        """The dialogues to train on and those to choose passes on, no dialogue in both. Raises UsageError."""
        corpus = self._training()
        chosen = self.validation if select_on == "validation" else self.test
        if chosen is None:
            if select_on == "test":
                raise UsageError("select_on is test, but data.test names no part: set it, such as {split: test}.")
            if self.apart == "speakers":
                return validation_split(corpus, self.validation_share, self.split_seed)
            training, held_out = corpus.split(self.validation_share, self.split_seed)
            if not training.dialogues:
                raise UsageError(
                    f"{corpus.name} has one dialogue alone, which cannot be trained on and validated on both: "
                    "give more, or name other ones by data.validation."
                )
            return training, held_out
        try:
            other = read_corpus(replace(self.train, **chosen))
        except TypeError as error:
            raise UsageError(f"data.{select_on} does not name a part ({error}): use keys of data.train.") from None
        shared = {d.id for d in corpus.dialogues} & {d.id for d in other.dialogues}
        if shared:
            raise UsageError(
                f"{len(shared)} dialogues, {min(shared)} among them, are in data.train and data.{select_on} both: "
                "choose parts that share none."
            )
        return corpus, other


@dataclass
class Material:
    """Everything a run sees."""

    labels: LabelSet
    specs: dict[str, FeatureSpec]
    training: Mixture
    validation: dict[str, list[TensorDialogue]]
    """Pattern such as "text+voice" -> dialogues; "voice clips" and the like are single clips."""
    counts: dict[str, dict[str, int]]
    """What there is of each corpus, for the record."""
    reading: Reading
    """How its dialogues are read."""
    native: str
    """The pattern that the dialogues have of their own, without clips put to their lines."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Modality -> width of its feature vector."""
        return {modality: spec.dimension for modality, spec in self.specs.items()}

    def class_counts(self) -> Tensor:
        """int64 [C], training lines of each class, clips apart."""
        return class_counts(self.training.dialogues, len(self.labels))

    def class_weights(self, power: float) -> Tensor:
        """float32 [C], frequency to minus `power`, scaled so that the mean over the training lines is 1."""
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


def gather(
    data: Data,
    features: Features,
    options: MixtureOptions,
    slots: int,
    window: int,
    seed: int,
    select_on: Literal["validation", "test"] = "validation",
    start: Checkpoint | None = None,
) -> Material:
    """Read the corpora, extract what the store lacks, split, and pair. Raises UsageError, WeightsError.

    `slots` and `window` are the model's. A modality that no corpus has is missing throughout. Labels and features
    other than those of `start` are a CheckpointError.
    """
    dialogues = data.parts(select_on)
    require_labels(start, dialogues[0].labels)
    reading = Reading(
        data.order,
        data.speakers,
        data.unlabelled,
        tuple(sorted({line.speaker for line in dialogues[0].lines()})) if data.speakers == "corpus" else (),
    )
    # Before extraction: a text encoder may read the lines before.
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

    def banks(part: int) -> list[Bank]:
        return [Bank(CLIPS[n], corpora[n][part], vectors, options.mismatch.get(CLIPS[n], 0.0)) for n in singles]

    permuted = slots if data.speakers == "slots" else 0
    mixture = Mixture(parts[name][0], {n: parts[n][0] for n in singles}, banks(0), options, window, permuted, seed)
    validation = pair_for_validation(parts[name][1], banks(1), list(specs), seed)
    classes = len(dialogues[0].labels)
    uniform = prior_offset(torch.ones(classes), class_counts(parts[name][0], classes))
    for n in singles:
        validation[f"{CLIPS[n]} clips"] = [replace(d, offset=uniform) for d in parts[n][1]]
    counts = {n: _count(parts[n], missed[n]) for n in corpora}
    own = "+".join(m for m in specs if any(has(line, m) for line in dialogues[0].lines()) or m in features.imported)
    return Material(dialogues[0].labels, specs, mixture, validation, counts, reading, own)


def _clips(data: Data, features: Features) -> dict[str, tuple[Corpus, Corpus]]:
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
        clips["ravdess"] = by_actor(ravdess, data.validation_actors, data.test_actors)
    if data.fer2013 is not None and features.face is not None:
        stills = read_fer2013(data.fer2013, "train", data.stills_per_class, data.stills)
        clips["fer2013"] = stills.split(data.validation_share, data.split_seed)
    return clips


def _vectors(
    modality: str,
    corpora: Mapping[str, tuple[Corpus, Corpus]],
    features: Features,
    store: Path,
    start: Checkpoint | None,
) -> tuple[FeatureSpec, dict[str, Any], dict[str, int]] | None:
    """(spec, line id -> vector, corpus -> lines in which it was not found), or None where no line has this modality."""
    lines = {n: [line for part in pair for line in part.lines()] for n, pair in corpora.items()}
    if modality in features.imported:
        path = features.imported[modality]
        spec, vectors = read_imported(path, modality)
        require_feature(start, spec)
        lost = {n: sum(line.id not in vectors for line in given) for n, given in lines.items()}
        if any(lost[n] == len(given) for n, given in lines.items()):
            raise UsageError(f"{path} holds no vector of a line of {', '.join(lines)}: give the file of this corpus.")
        return spec, dict(vectors), lost
    weights = getattr(features, modality)
    having = [n for n, given in lines.items() if any(has(line, modality) for line in given)]
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


def _arranged(corpus: Corpus, reading: Reading) -> Corpus:
    return replace(corpus, dialogues=tuple(reading.arrange(dialogue) for dialogue in corpus.dialogues))


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
