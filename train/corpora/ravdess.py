"""RAVDESS (Livingstone and Russo, 2018): acted speech whose file names say what is in it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MELD7, RAVDESS8, LabelSet
from train.corpora.dialogues import Corpus, Dialogue, Utterance, relabel

_STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")

# A man and a woman on whom passes are chosen.
VALIDATION_ACTORS = (17, 18)
# Two men and two women whom nothing that ships has heard: the voices' scores on RAVDESS are of them.
HELD_OUT_ACTORS = (5, 10, 15, 20)

# modality-channel-emotion-intensity-statement-repetition-actor; modality 03 is sound alone, channel 01 is speech.
_NAME = re.compile(r"03-01-0([1-8])-0[12]-0([12])-0[12]-(\d\d)")


def read_ravdess(root: Path, actors: Collection[int] | None = None, labels: LabelSet = MELD7) -> Corpus:
    """Every spoken clip under `root`, each a dialogue of one utterance with sound and words; its group is the actor.

    `root` holds flac or wav files by their official names, in one folder or in `Actor_NN` folders; files by
    other names (song, video) are passed over. Odd actors are men, even ones women. `labels` is RAVDESS8, or a
    set that its eight have a map into (calm is neutral among the seven). Raises UsageError where nothing is left.
    """
    dialogues = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in {".flac", ".wav"}):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            continue
        emotion, statement, actor = (int(part) for part in match.groups())
        if actors is not None and actor not in actors:
            continue
        utterance = Utterance(
            path.stem, f"actor {actor}", _STATEMENTS[statement - 1], RAVDESS8.labels[emotion - 1], audio=path
        )
        dialogues.append(Dialogue(path.stem, (utterance,), group=f"{actor:02}"))
    if not dialogues:
        raise UsageError(
            f"{root} holds no RAVDESS speech"
            f"{'' if actors is None else f' of actors {sorted(actors)}'}: expected files like "
            "03-01-06-01-02-01-12.wav in it or in its Actor_NN folders; set the corpus folder."
        )
    return relabel(Corpus("ravdess", RAVDESS8, tuple(dialogues)), labels)[0]
