"""M-MELD (Ghosh et al., 2023): MELD's dialogues with the film's subtitles in French, Spanish or Greek."""

from __future__ import annotations

import re
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.csv_rows import episode_of, group_utterances, require_split
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.meld import COLUMNS
from train.corpora.text_files import parse_csv, read_text_file

# Language (Greek as its files call it) -> the column of its words.
LANGUAGES = {"fr": "french_text", "es": "spanish_text", "gr": "greek_text"}

_TAG = re.compile(r"</?i>", re.IGNORECASE)
# Subtitles write an ellipsis as single dots with blanks between; a recogniser writes three dots.
_ELLIPSIS = re.compile(r"\s*\.(?: \.){2,}")


def read_mmeld(root: Path, split: str, language: str = "fr") -> Corpus:
    """The dialogues of one split and language, labels of MELD7; dialogues and groups are named as MELD names its own.

    `root` holds mmeld_LANG_SPLIT.csv, also gzipped. It is MELD in other words: whoever is trained on it must not be
    scored on the same dialogues of MELD. Words that were read in the wrong encoding are repaired, tags taken out.
    Times are left out, since they are those of the English words. Raises UsageError.
    """
    require_split(split, "M-MELD")
    if language not in LANGUAGES:
        raise UsageError(f"M-MELD has no language {language!r}: use one of {', '.join(LANGUAGES)}.")
    path, column = root / f"mmeld_{language}_{split}.csv", LANGUAGES[language]
    groups: dict[int, str] = {}

    def parse_row(row: dict[str, str]) -> tuple[int, int, Utterance]:
        dialogue, number = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
        groups[dialogue] = episode_of(row)
        label = row["Emotion"].strip().lower()
        MELD7.index(label)
        identity = f"{split}/dia{dialogue}_utt{number}"
        return dialogue, number, Utterance(identity, row["Speaker"].strip(), subtitle(row[column]), label)

    rows = parse_csv(read_text_file(path, "M-MELD"), path, (*COLUMNS, column), "M-MELD")
    found = group_utterances(rows, path, "M-MELD", parse_row)
    dialogues = tuple(
        Dialogue(f"{split}/dia{number}", utterances, groups[number]) for number, utterances in sorted(found.items())
    )
    return Corpus("mmeld", MELD7, dialogues, numbered=True)


def subtitle(text: str) -> str:
    """A subtitle's words: UTF-8 that was read as Windows-1252 is read anew, italics' tags go, ". . ." becomes "..."."""
    return _ELLIPSIS.sub("...", _TAG.sub("", _repair_encoding(text))).strip()


def _repair_encoding(text: str) -> str:
    raw = bytearray()
    for character in text:
        try:
            raw += character.encode("cp1252")
        except UnicodeEncodeError:
            # Windows-1252 has no sign for five bytes, and readers pass those on as they are.
            if ord(character) > 0xFF:
                return text
            raw.append(ord(character))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return text
