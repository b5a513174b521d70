"""BRIGHTER (Muhammad et al., 2025; SemEval-2025 task 11, track A): posts and news with several emotions or none."""

from __future__ import annotations

import html
import re
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.csv_rows import require_split
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.text_files import parse_csv, read_text_file

_EMOTIONS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
# The task masked the names of users in two ways, as @<username> and as @user: one spelling for both, so that a network
# cannot tell the files apart by it.
_USER = re.compile(r"@<username>|@\s*user\b", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def read_brighter(root: Path, split: str, language: str = "eng") -> Corpus:
    """The lines of one language (eng, deu, esp, ptbr, ptmz, ...), each a dialogue of one utterance, labels of MELD7.

    `root` holds track_a/SPLIT/LANG.csv. A line without any emotion is neutral, one with several has them as candidates;
    a language without a column (English has no disgust) never has that label. Tags and HTML's escapes are taken out.
    Raises UsageError, for a file whose labels are blank as well.
    """
    require_split(split, "BRIGHTER")
    path = root / "track_a" / split / f"{language}.csv"
    rows = parse_csv(read_text_file(path, "BRIGHTER"), path, ("id", "text"), "BRIGHTER")
    columns = [name for name in _EMOTIONS if name in rows[0]]
    if not columns:
        raise UsageError(f"{path} has none of the columns {', '.join(_EMOTIONS)}: use BRIGHTER's own file.")
    dialogues = []
    for number, row in enumerate(rows, start=2):
        if any(row[name].strip() not in ("0", "1") for name in columns):
            raise UsageError(
                f"{path} line {number} has a label that is neither 0 nor 1: the task's own repository leaves test "
                "labels blank, so use the corpus that its authors publish as BRIGHTER."
            )
        labels = tuple(name for name in columns if row[name].strip() == "1") or ("neutral",)
        one = labels[0] if len(labels) == 1 else None
        utterance = Utterance(row["id"], "writer", _clean_text(row["text"]), one, candidates=() if one else labels)
        dialogues.append(Dialogue(utterance.id, (utterance,)))
    return Corpus("brighter", MELD7, tuple(dialogues), "brighter: no emotion as neutral")


def _clean_text(text: str) -> str:
    return " ".join(_TAG.sub(" ", _USER.sub("@user", html.unescape(text))).split())
