"""The data options of a run: corpora, splits, folds, and what validation shares with training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core_models.errors import UsageError
from train.corpora.dialogues import Corpus, groups_of, without_groups
from train.corpora.fer2013 import Stills
from train.corpora.registry import CorpusConfig, read_corpus
from train.corpora.splits import Plan, folds, validation_split


@dataclass(frozen=True)
class DataConfig:
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
    """Folder of RAVDESS clips: voices for utterances that have none."""
    fer2013: Path | None = None
    """Tar or folder of FER-2013, or a folder of fer2013_train.tar: faces for utterances that have none."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    validation_share: float = 0.1
    """Share of the training utterances, in whole dialogues, and of the stills, that is held out for validation."""
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
