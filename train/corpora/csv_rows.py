"""The CSV files in which MELD and EmoryNLP come: one utterance a row, dialogues by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from core_models.errors import UsageError
from train.corpora.dialogues import Utterance
from train.corpora.text_files import parse_csv

SPLITS = ("train", "dev", "test")

Key = TypeVar("Key")

# The first release of MELD holds Windows-1252 punctuation as C1 control characters (U+0092 for an apostrophe).
_C1 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}


def require_split(split: str, owner: str) -> None:
    """Raises UsageError for a split that `owner` does not publish."""
    if split not in SPLITS:
        raise UsageError(f"{owner} has no split {split!r}: use one of {', '.join(SPLITS)}.")


def read_utterances(
    path: Path,
    columns: Sequence[str],
    owner: str,
    parse_row: Callable[[dict[str, str]], tuple[Key, int, Utterance]],
) -> dict[Key, tuple[Utterance, ...]]:
    """Dialogue -> its utterances in the order of their numbers, of a file of `owner`'s that has `columns`.

    `parse_row` gives (dialogue, number of the utterance in it, utterance); what it raises as ValueError becomes a
    UsageError that names the row, as does a number that comes twice.
    """
    return group_utterances(read_rows(path, columns, owner), path, owner, parse_row)


def group_utterances(
    rows: Sequence[dict[str, str]],
    path: Path,
    owner: str,
    parse_row: Callable[[dict[str, str]], tuple[Key, int, Utterance]],
) -> dict[Key, tuple[Utterance, ...]]:
    """As `read_utterances`, of `rows` that were read from `path`."""
    found: dict[Key, dict[int, Utterance]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            dialogue, place, utterance = parse_row(row)
            if place in found.setdefault(dialogue, {}):
                raise ValueError(f"{utterance.id.rpartition('_')[0]} has utterance {place} twice")
            found[dialogue][place] = utterance
        except ValueError as error:
            raise UsageError(f"{path} line {number} is not a row of {owner}: {error}; use the official file.") from None
    return {
        dialogue: tuple(utterance for _, utterance in sorted(numbered.items(), key=lambda item: item[0]))
        for dialogue, numbered in found.items()
    }


def read_rows(path: Path, columns: Sequence[str], owner: str) -> list[dict[str, str]]:
    """The rows of one of `owner`'s CSV files, which has `columns`. Raises UsageError for any other file."""
    try:
        raw = path.read_bytes()
    except OSError:
        raise UsageError(f"There is no {path}: set the corpus folder to one that holds {owner}'s CSV files.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    return parse_csv(text.translate(_C1), path, columns, owner)


def episode_of(row: dict[str, str]) -> str:
    """`s01e15`: what MELD and EmoryNLP call the same episode. Raises ValueError."""
    return f"s{int(row['Season']):02}e{int(row['Episode']):02}"
