"""MELD (Poria et al., 2019) in the layout of its official release: `<split>_sent_emo.csv`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from core_models.labels import MELD7
from train.corpora.csv_rows import episode_of, read_utterances, require_split
from train.corpora.dialogues import Corpus, Dialogue, Utterance

# Split -> the folder that its archive of diaX_uttY.mp4 unpacks to.
FILMS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
# What papers without a validation set train on: 1,152 dialogues, by their count of the community's file 1,153.
TRAIN_AND_DEV = "train+dev"
COLUMNS = (
    *("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)

# One official row ends at "00:06:47,28": leading zeros of the milliseconds may be missing.
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


def read_meld(root: Path, split: str) -> Corpus:
    """The dialogues of one split, utterances ordered by Utterance_ID, labels of MELD7; train+dev is both, as in papers.

    Times are milliseconds in the episode; both are None where the file's end precedes its start. The
    group of a dialogue is its season and episode. Sound and picture are those of diaX_uttY.mp4 in FILMS' folder
    of the split, under `root` or `root`/<split>, where it is on disk; the picture shows whoever the scene shows.
    Raises UsageError for a missing or malformed file.
    """
    if split == TRAIN_AND_DEV:
        dialogues = (dialogue for part in split.split("+") for dialogue in read_meld(root, part).dialogues)
        return Corpus("meld", MELD7, tuple(dialogues), numbered=True)
    require_split(split, "MELD")
    films = next((f for f in (root / FILMS[split], root / split / FILMS[split]) if f.is_dir()), None)
    groups: dict[int, str] = {}

    def parse_row(row: dict[str, str]) -> tuple[int, int, Utterance]:
        dialogue, number = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
        groups[dialogue] = episode_of(row)
        name = f"dia{dialogue}_utt{number}"
        utterance = _read_utterance(row, f"{split}/{name}")
        film = None if films is None else films / f"{name}.mp4"
        if film is not None and film.is_file():
            utterance = replace(utterance, audio=film, video=film)
        return dialogue, number, utterance

    found = read_utterances(root / f"{split}_sent_emo.csv", COLUMNS, "MELD", parse_row)
    read = tuple(
        Dialogue(f"{split}/dia{number}", utterances, groups[number]) for number, utterances in sorted(found.items())
    )
    return Corpus("meld", MELD7, read, numbered=True)


def _read_utterance(row: dict[str, str], identity: str) -> Utterance:
    label = row["Emotion"].strip().lower()
    MELD7.index(label)
    start, end = parse_clock(row["StartTime"]), parse_clock(row["EndTime"])
    ordered = start <= end
    return Utterance(
        identity,
        row["Speaker"].strip(),
        row["Utterance"].strip(),
        label,
        start_ms=start if ordered else None,
        end_ms=end if ordered else None,
    )


def parse_clock(clock: str) -> int:
    """Milliseconds of a time like `00:16:16,059`. Raises ValueError."""
    match = _CLOCK.fullmatch(clock.strip())
    if match is None:
        raise ValueError(f"{clock!r} is not a time like 00:16:16,059")
    hours, minutes, seconds, thousandths = map(int, match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths
