"""GoEmotions (Demszky et al., 2020) with its labels grouped after Ekman: `<split>.tsv` and `labels.txt`."""

from __future__ import annotations

from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.detokenization import fill_masks
from train.corpora.dialogues import Corpus, Dialogue, Utterance

# A line may carry several labels. It is taken for the rarest of them (order of the training file): the
# common ones lose nothing by it, and disgust and fear have few lines of their own.
RAREST_FIRST = ("fear", "disgust", "sadness", "surprise", "anger", "neutral", "joy")


def read_goemotions(root: Path, split: str) -> Corpus:
    """The comments of one split, each a dialogue of one utterance, labels of MELD7 (Ekman's six and neutral).

    Names stand where the corpus masks them ([NAME]): a call's transcript has no masks. Raises UsageError for a missing
    or malformed file.
    """
    path = root / f"{split}.tsv"
    try:
        names = (root / "labels.txt").read_text(encoding="utf-8").split()
        rows = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"{root} holds no readable labels.txt and {split}.tsv: set the corpus folder to GoEmotions' own."
        ) from None
    if sorted(names) != sorted(MELD7.labels):
        raise UsageError(f"{root / 'labels.txt'} is not the Ekman grouping: expected {', '.join(MELD7.labels)}.")
    dialogues = []
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        try:
            text, indices, comment = row.rstrip("\r").split("\t")
            labels = {names[int(index)] for index in indices.split(",")}
        except (ValueError, IndexError):
            raise UsageError(
                f"{path} line {number} is not text, label numbers and an id apart by tabs; use the official file."
            ) from None
        label = next(name for name in RAREST_FIRST if name in labels)
        utterance = Utterance(f"{split}/{comment}", comment, fill_masks(text), label)
        dialogues.append(Dialogue(utterance.id, (utterance,)))
    return Corpus("goemotions", MELD7, tuple(dialogues), "goemotions ekman groups")
