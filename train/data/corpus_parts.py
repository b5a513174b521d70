"""Reads the corpora of a run and splits them: training and validation of each share no dialogue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from core_models.errors import UsageError
from train.corpora.dialogues import Corpus, groups_of, without_groups
from train.corpora.fer2013 import read_fer2013
from train.corpora.ravdess import HELD_OUT_ACTORS, VALIDATION_ACTORS, read_ravdess
from train.corpora.registry import read_corpus
from train.corpora.splits import make_folds, validation_split
from train.data.config import CLIPS, DataConfig
from train.data.dialogue_layout import DialogueLayout
from train.extraction.feature_names import FeatureNames
from train.media.speech_trimming import cut_to_speech

# Of the splits into training and validation, whatever the run's own seed: a text adapter of the same corpus is trained
# under it too, and must not have read what a dialogue model is validated on.
SPLIT_SEED = 0

# `test` is how the papers choose the pass that they report, and is stamped on every result; nothing that ships uses it.
SelectOn = Literal["validation", "test"]


@dataclass(frozen=True)
class Corpora:
    """The corpora of a run as their owners have them."""

    dialogues: Corpus
    """Those of `data.train`."""
    validation: Corpus | None
    """The part that `data.validation` or `data.test` names; None where it is drawn from `dialogues`."""
    left_out: frozenset[str]
    """Groups that must not be trained on (`data.without`)."""
    clips: Mapping[str, Corpus]
    """Name -> corpus of single clips whose modality is used."""


@dataclass(frozen=True)
class Parts:
    """(training, validation) of each corpus, in the order in which a dialogue model reads them."""

    dialogues: tuple[Corpus, Corpus]
    clips: Mapping[str, tuple[Corpus, Corpus]]
    """Name -> parts of a corpus of single clips."""
    layout: DialogueLayout

    @property
    def name(self) -> str:
        """Of the corpus of dialogues."""
        return self.dialogues[0].name

    @property
    def corpora(self) -> dict[str, tuple[Corpus, Corpus]]:
        """Name -> parts, dialogues first."""
        return {self.name: self.dialogues, **self.clips}


def read_corpora(data: DataConfig, features: FeatureNames | None = None, select_on: SelectOn = "validation") -> Corpora:
    """The corpora that `data` names; clips only of modalities that have one of `features`. Raises UsageError."""
    named = data.validation if select_on == "validation" else data.test
    if named is None and select_on == "test":
        raise UsageError("select_on is test, but data.test names no part: set it, such as {split: test}.")
    dialogues = read_corpus(data.train)
    try:
        validation = None if named is None else read_corpus(replace(data.train, **named))
    except TypeError as error:
        raise UsageError(f"data.{select_on} does not name a part ({error}): use keys of data.train.") from None
    left_out: frozenset[str] = frozenset() if data.without is None else frozenset(groups_of(read_corpus(data.without)))
    return Corpora(dialogues, validation, left_out, {} if features is None else _read_clips(data, features))


def split_corpora(corpora: Corpora, data: DataConfig, select_on: SelectOn = "validation") -> Parts:
    """Training and validation of each of `corpora`, which share no dialogue. Raises UsageError."""
    training, validation = split_dialogues(corpora, data, select_on)
    named = data.speakers == "corpus" and not training.numbered
    names = tuple(sorted({utterance.speaker for utterance in training.utterances()})) if named else ()
    layout = DialogueLayout(data.order, data.speakers, data.unlabelled, names)
    clips = {name: _split_clips(name, corpus, data) for name, corpus in corpora.clips.items()}
    for name, (lent, _) in clips.items():
        if lent.labels != training.labels:
            raise UsageError(
                f"{name} is labelled with {lent.labels.name}, {training.name} with {training.labels.name}: leave "
                f"data.{name} out."
            )
    # Before extraction, since a text encoder may read the utterances before.
    arranged = layout.arrange_corpus(training), layout.arrange_corpus(validation)
    return Parts(arranged, clips, layout)


def split_dialogues(corpora: Corpora, data: DataConfig, select_on: SelectOn = "validation") -> tuple[Corpus, Corpus]:
    """(training, validation) of the dialogues, no dialogue in both. Raises UsageError."""
    training = _choose_training(corpora.dialogues, corpora.left_out, data)
    if corpora.validation is not None:
        shared = {d.id for d in training.dialogues} & {d.id for d in corpora.validation.dialogues}
        if shared:
            raise UsageError(
                f"{len(shared)} dialogues, {min(shared)} among them, are in data.train and data.{select_on} both: "
                "choose parts that share none."
            )
        return training, corpora.validation
    if data.apart == "speakers":
        return validation_split(training, data.validation_share, SPLIT_SEED)
    rest, held_out = training.split(data.validation_share, SPLIT_SEED)
    if not rest.dialogues:
        raise UsageError(
            f"{training.name} has one dialogue alone, which cannot be trained on and validated on both: "
            "give more, or name other ones by data.validation."
        )
    return rest, held_out


def _choose_training(corpus: Corpus, left_out: Collection[str], data: DataConfig) -> Corpus:
    """The training part of the fold that `data` names, or all, without the groups that are left out."""
    if data.plan is not None:
        found = {fold.name: fold for fold in make_folds(corpus, data.plan)}
        if data.fold not in found:
            raise UsageError(f"Plan {data.plan} has no fold {data.fold!r}: choose from {', '.join(found)}.")
        corpus = found[data.fold].train
    corpus = without_groups(corpus, left_out)
    if not corpus.dialogues:
        raise UsageError("data.train holds no dialogue outside data.without and the fold: choose a larger part.")
    return corpus


def _read_clips(data: DataConfig, features: FeatureNames) -> dict[str, Corpus]:
    for name, modality in CLIPS.items():
        if getattr(data, name) is not None and modality in features.imported:
            raise UsageError(
                f"data.{name} cannot lend a {modality} where features.imported.{modality} is given: choose one."
            )
    clips = {}
    if data.ravdess is not None and features.voice is not None:
        ravdess = read_ravdess(data.ravdess)
        # Both as the corpus holds the clips and as a live run would cut them.
        clips["ravdess"] = replace(ravdess, dialogues=ravdess.dialogues + cut_to_speech(ravdess).dialogues)
    if data.fer2013 is not None and features.face is not None:
        clips["fer2013"] = read_fer2013(data.fer2013, "train", data.stills_per_class, data.stills)
    return clips


def _split_clips(name: str, corpus: Corpus, data: DataConfig) -> tuple[Corpus, Corpus]:
    """RAVDESS by its actors, so that no validation voice is in training; stills, of unknown people, at random."""
    if name == "ravdess":
        return split_by_actor(corpus, VALIDATION_ACTORS, HELD_OUT_ACTORS)
    return corpus.split(data.validation_share, SPLIT_SEED)


def split_by_actor(corpus: Corpus, validation: Collection[int], held_out: Collection[int]) -> tuple[Corpus, Corpus]:
    """(training, validation) clips, no actor in both; those of `held_out` are in neither."""
    kept = corpus.where(lambda dialogue: int(dialogue.group or 0) not in held_out)
    training = kept.where(lambda dialogue: int(dialogue.group or 0) not in validation)
    return training, kept.where(lambda dialogue: int(dialogue.group or 0) in validation)
