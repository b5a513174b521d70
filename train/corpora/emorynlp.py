"""EmoryNLP (Zahiri and Choi, 2018): scenes of Friends, in the layout `emorynlp_<split>_final.csv`."""

from __future__ import annotations

import ast
from pathlib import Path

from core_models.labels import EMORYNLP7
from train.corpora.csv_rows import episode_of, read_utterances, require_split
from train.corpora.dialogues import Corpus, Dialogue, Utterance

COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")


def read_emorynlp(root: Path, split: str) -> Corpus:
    """The scenes of one split, utterances ordered by Utterance_ID, labels of EMORYNLP7.

    The group of a scene is its season and episode, written as MELD's, since both are the same show. Several
    people who speak at once are one speaker. The file's times are of subtitles and run backwards in more than half
    of the scenes, so they are left out: the order of the script is the order of speech. Raises UsageError for a
    missing or malformed file.
    """
    require_split(split, "EmoryNLP")

    def parse_row(row: dict[str, str]) -> tuple[tuple[str, int], int, Utterance]:
        scene, number, group = int(row["Scene_ID"]), int(row["Utterance_ID"]), episode_of(row)
        return (group, scene), number, _read_utterance(row, f"{split}/{group}_scene{scene}_utt{number}")

    found = read_utterances(root / f"emorynlp_{split}_final.csv", COLUMNS, "EmoryNLP", parse_row)
    dialogues = tuple(
        Dialogue(f"{split}/{group}_scene{scene}", utterances, group)
        for (group, scene), utterances in sorted(found.items())
    )
    return Corpus("emorynlp", EMORYNLP7, dialogues)


def _read_utterance(row: dict[str, str], identity: str) -> Utterance:
    label = row["Emotion"].strip().lower()
    EMORYNLP7.index(label)
    return Utterance(identity, _parse_speakers(row["Speaker"]), row["Utterance"].strip(), label)


def _parse_speakers(cell: str) -> str:
    """`['Ross Geller', 'Joey Tribbiani']` -> `Ross Geller + Joey Tribbiani`."""
    try:
        names = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{cell!r} is not a list of speakers like ['Ross Geller']")
    return " + ".join(names)
