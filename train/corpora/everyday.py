"""Everyday sentences: 200 that were written for this project by five hands, as people talk of what they feel.

Plain, chatty, terse, formal, and told of others; first and third person; more than half of the sentences with an
emotion have no word for it. Nothing is trained on them.
"""

from __future__ import annotations

from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.dialogues import Corpus, Dialogue, Utterance

SENTENCES = Path(__file__).with_name("everyday.tsv")


def read_everyday() -> Corpus:
    """The sentences, each a dialogue of one utterance, labels of MELD7; a dialogue's group is the hand, its style
    `worded` or `unworded`, by whether it has a word for its emotion. Raises UsageError for a broken file."""
    dialogues = []
    for number, row in enumerate(SENTENCES.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            hand, label, worded, text = row.split("\t")
            MELD7.index(label)
        except ValueError as error:
            raise UsageError(f"{SENTENCES} line {number} is broken ({error}): fetch the file anew.") from None
        utterance = Utterance(f"everyday/{number}", hand, text, label)
        style = None if label == "neutral" else "worded" if worded == "1" else "unworded"
        dialogues.append(Dialogue(utterance.id, (utterance,), hand, style))
    return Corpus("everyday", MELD7, tuple(dialogues))
