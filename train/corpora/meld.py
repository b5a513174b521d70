"""MELD (Poria et al., 2019) in the layout of its official release: `<split>_sent_emo.csv`."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.dialogues import Corpus, Dialogue, Line

SPLITS = ("train", "dev", "test")
FILMS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
"""Split -> the folder that its archive of diaX_uttY.mp4 unpacks to."""
COLUMNS = (
    *("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)

# One official row ends at "00:06:47,28": leading zeros of the milliseconds may be missing.
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
# The first release holds Windows-1252 punctuation as C1 control characters (U+0092 for an apostrophe).
_C1 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}


def read_meld(root: Path, split: str) -> Corpus:
    """The dialogues of one split, utterances ordered by Utterance_ID, labels of MELD7.

    Times are milliseconds in the episode; both are None where the file's end precedes its start. The
    group of a dialogue is its season and episode. Sound and picture are those of diaX_uttY.mp4 in FILMS' folder
    of the split, under `root` or `root`/<split>, where it is on disk; the picture shows whoever the scene shows.
    Raises UsageError for a missing or malformed file.
    """
    if split not in SPLITS:
        raise UsageError(f"MELD has no split {split!r}: use one of {', '.join(SPLITS)}.")
    path = root / f"{split}_sent_emo.csv"
    films = next((f for f in (root / FILMS[split], root / split / FILMS[split]) if f.is_dir()), None)
    rows: dict[int, dict[int, Line]] = {}
    groups: dict[int, str] = {}
    for number, row in enumerate(rows_of(path, COLUMNS, "MELD"), start=2):
        try:
            if None in row or None in row.values():
                raise ValueError("it has another number of fields than the header")
            dialogue, utterance = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
            group = episode(row)
            line = _line(row, f"{split}/dia{dialogue}_utt{utterance}")
            film = None if films is None else films / f"dia{dialogue}_utt{utterance}.mp4"
            if film is not None and film.is_file():
                line = replace(line, audio=film, video=film)
            if utterance in rows.get(dialogue, {}):
                raise ValueError(f"dialogue {dialogue} has utterance {utterance} twice")
        except ValueError as error:
            raise UsageError(f"{path} line {number} is not a MELD row: {error}; use the official file.") from None
        rows.setdefault(dialogue, {})[utterance] = line
        groups[dialogue] = group
    dialogues = tuple(
        Dialogue(f"{split}/dia{number}", tuple(line for _, line in sorted(rows[number].items())), groups[number])
        for number in sorted(rows)
    )
    return Corpus("meld", MELD7, dialogues)


def rows_of(path: Path, columns: Sequence[str], owner: str) -> list[dict[str, str]]:
    """The rows of one of `owner`'s CSV files, which has `columns`. Raises UsageError for any other file."""
    try:
        raw = path.read_bytes()
    except OSError:
        raise UsageError(f"There is no {path}: set the corpus folder to one that holds {owner}'s CSV files.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
    reader = csv.DictReader(text.translate(_C1).splitlines(keepends=True), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num} is not CSV ({error}); use the official file.") from None
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing or not rows:
        what = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise UsageError(f"{path} {what}, which {owner}'s CSV files have; use the official file.")
    return rows


def _line(row: dict[str, str], identity: str) -> Line:
    label = row["Emotion"].strip().lower()
    MELD7.index(label)
    start, end = milliseconds(row["StartTime"]), milliseconds(row["EndTime"])
    ordered = start <= end
    return Line(
        identity,
        row["Speaker"].strip(),
        row["Utterance"].strip(),
        label,
        start_ms=start if ordered else None,
        end_ms=end if ordered else None,
    )


def episode(row: dict[str, str]) -> str:
    """`s01e15`: what MELD and EmoryNLP call the same episode. Raises ValueError."""
    return f"s{int(row['Season']):02}e{int(row['Episode']):02}"


def milliseconds(clock: str) -> int:
    """Milliseconds of a time like `00:16:16,059`. Raises ValueError."""
    match = _CLOCK.fullmatch(clock.strip())
    if match is None:
        raise ValueError(f"{clock!r} is not a time like 00:16:16,059")
    hours, minutes, seconds, thousandths = map(int, match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths
