"""The data options of a run: corpora, splits, folds, and what validation shares with training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core_models.errors import UsageError
from train.corpora.fer2013 import Stills
from train.corpora.registry import CorpusConfig
from train.corpora.splits import Plan

# Options that name a corpus of single clips, and the modality that it lends to dialogues that lack it.
CLIPS = {"ravdess": "voice", "fer2013": "face"}


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
    Friends, so an evaluation on one needs a training without its episodes in the other."""
    plan: Plan | None = None
    """Train on the training part of one fold of this plan over `train` (train/corpora/splits.py), for `eval --plan`."""
    fold: str | None = None
    """Which fold of `plan`."""
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
    # FER-2013's training part has 7,215 faces of joy and 436 of disgust: a limit evens most of this out.
    stills_per_class: int | None = 950
    """At most this many stills of each emotion; all of them where it is null."""
    stills: Stills = "all"
    """Which of them: all, or for an expression network's feature the fifth that it was not taught (unseen)."""
    order: Literal["end", "corpus"] = "end"
    """Utterances by their end, the order in which a live run commits them, or the corpus's own (the papers)."""
    speakers: Literal["slots", "corpus"] = "slots"
    """Slots by first appearance, permuted in training, or the corpus's own ids (the papers; IEMOCAP's are F and M;
    MELD's are numbers within the dialogue, by first appearance, never permuted)."""
    unlabelled: Literal["context", "drop"] = "context"
    """Utterances without a label of the set stay as context, uncounted, or are dropped (the papers)."""

    def __post_init__(self) -> None:
        if (self.plan is None) != (self.fold is None):
            raise UsageError("data.plan and data.fold go together: give both, or neither.")
