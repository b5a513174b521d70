"""EmoryNLP (Zahiri and Choi, 2018): scenes of Friends, in the layout `emorynlp_<split>_final.csv`."""

from __future__ import annotations

import ast
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import EMORYNLP7
from train.corpora.dialogues import Corpus, Dialogue, Line
from train.corpora.meld import SPLITS, episode, rows_of

COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")


def read_emorynlp(root: Path, split: str) -> Corpus:
    """The scenes of one split, utterances ordered by Utterance_ID, labels of EMORYNLP7.

    The group of a scene is its season and episode, written as MELD's, since both are the same show. Several
    people who speak at once are one speaker. The file's times are of subtitles and run backwards in more than half
    of the scenes, so they are left out: the order of the script is the order of speech. Raises UsageError for a
    missing or malformed file.
    """
    if split not in SPLITS:
        raise UsageError(f"EmoryNLP has no split {split!r}: use one of {', '.join(SPLITS)}.")
    path = root / f"emorynlp_{split}_final.csv"
    scenes: dict[tuple[str, int], dict[int, Line]] = {}
    for number, row in enumerate(rows_of(path, COLUMNS, "EmoryNLP"), start=2):
        try:
            if None in row or None in row.values():
                raise ValueError("it has another number of fields than the header")
            scene, utterance = int(row["Scene_ID"]), int(row["Utterance_ID"])
            group = episode(row)
            lines = scenes.setdefault((group, scene), {})
            if utterance in lines:
                raise ValueError(f"scene {scene} has utterance {utterance} twice")
            lines[utterance] = _line(row, f"{split}/{group}_scene{scene}_utt{utterance}")
        except ValueError as error:
            raise UsageError(f"{path} line {number} is not an EmoryNLP row: {error}; use the official file.") from None
    dialogues = tuple(
        Dialogue(f"{split}/{group}_scene{scene}", tuple(line for _, line in sorted(lines.items())), group)
        for (group, scene), lines in sorted(scenes.items())
    )
    return Corpus("emorynlp", EMORYNLP7, dialogues)


def _line(row: dict[str, str], identity: str) -> Line:
    label = row["Emotion"].strip().lower()
    EMORYNLP7.index(label)
    return Line(identity, _speaker(row["Speaker"]), row["Utterance"].strip(), label)


def _speaker(cell: str) -> str:
    """`['Ross Geller', 'Joey Tribbiani']` -> `Ross Geller + Joey Tribbiani`."""
    try:
        names = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{cell!r} is not a list of speakers like ['Ross Geller']")
    return " + ".join(names)
