"""FER+ (Barsoum et al., 2016): ten people's votes on each of FER-2013's faces, with its original pixels."""

from __future__ import annotations

import csv
import io
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import FERPLUS8
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.fer2013 import open_archive, still_bytes

# Split -> the official folder, or tar, of its part.
PARTS = {"train": "FER2013Train", "validation": "FER2013Valid", "dev": "FER2013Valid", "test": "FER2013Test"}

# FER+ names its parts after its own folders, FER-2013 the same pictures by their use in the contest.
_USAGE = {"FER2013Train": "Training", "FER2013Valid": "PublicTest", "FER2013Test": "PrivateTest"}
_VOTED = len(FERPLUS8) + 2  # unknown, no face


@dataclass(frozen=True)
class Votes:
    """What ten people said of a picture."""

    picture: Path
    """Its file, or the path of its tar continued by the member's name (see `still_bytes`)."""
    counts: tuple[int, ...]
    """Votes for each of FERPLUS8, then for `unknown` and for `no face`."""

    @property
    def label(self) -> str | None:
        """The emotion with most votes; None where two have as many, or `unknown` or `no face` has the most."""
        most = max(self.counts)
        chosen = [place for place, count in enumerate(self.counts) if count == most]
        return FERPLUS8.labels[chosen[0]] if len(chosen) == 1 and chosen[0] < len(FERPLUS8) else None


def read_ferplus(root: Path, split: str) -> Corpus:
    """The pictures of one split, each a dialogue of one utterance with its label by most votes. Raises UsageError."""
    votes, left_out = read_votes(root, split)
    dialogues = tuple(
        Dialogue(name, (Utterance(name, "face", label=found.label, image=found.picture),))
        for name, found in votes.items()
    )
    return Corpus("ferplus", FERPLUS8, dialogues, "ferplus by most votes", left_out)


def read_votes(root: Path, split: str) -> tuple[dict[str, Votes], dict[str, int]]:
    """(`PART/NAME` -> votes, reason -> how many rows were left out) of one split.

    `root` holds FER2013Train, FER2013Valid and FER2013Test: each a folder of pictures with label.csv, or a tar of it,
    label.csv then in a folder beside it, inside it, or its rows in fer2013new.csv. Rows without a picture, and a name's
    second row, are left out. Raises UsageError.
    """
    if split not in PARTS:
        raise UsageError(f"FER+ has no split {split!r}: use train, validation or test.")
    part = PARTS[split]
    folder, archive = root / part, root / f"{part}.tar"
    pictures = {path.name: path for path in folder.glob("*.png")}
    if archive.is_file():
        for member in open_archive(archive)[1]:
            if member.endswith(".png"):
                pictures.setdefault(member.rpartition("/")[2], archive / member)
    if not pictures:
        raise UsageError(f"{root} holds no pictures of {part}, neither in a folder nor in {part}.tar: set the folder.")
    found: dict[str, Votes] = {}
    left_out = Counter[str]()
    for name, counts in _read_rows(root, part):
        identity = f"{part}/{name}"
        if identity in found:
            left_out["second row of a picture"] += 1
        elif name not in pictures:
            left_out["no picture"] += 1
        else:
            found[identity] = Votes(pictures[name], counts)
    return found, dict(left_out)


def _read_rows(root: Path, part: str) -> list[tuple[str, tuple[int, ...]]]:
    """(name, votes) of each row of a part."""
    own, archive, every = root / part / "label.csv", root / f"{part}.tar", root / "fer2013new.csv"
    try:
        if own.is_file():
            # label.csv has each copy's own votes, fer2013new.csv those of the first for all copies.
            path, rows = own, [[row[0], *row[2:]] for row in csv.reader(io.StringIO(own.read_text("utf-8"))) if row]
        elif archive.is_file() and f"{part}/label.csv" in open_archive(archive)[1]:
            path = archive / part / "label.csv"
            text = still_bytes(path).decode("utf-8")
            rows = [[row[0], *row[2:]] for row in csv.reader(io.StringIO(text)) if row]
        else:
            path = every
            table = list(csv.reader(io.StringIO(every.read_text("utf-8"))))
            rows = [row[1:] for row in table[1:] if row and row[0] == _USAGE[part]]
    except (OSError, UnicodeDecodeError, csv.Error, tarfile.TarError):
        raise UsageError(
            f"{root} holds no votes on {part}: expected {part}/label.csv, the same inside {part}.tar, or "
            "fer2013new.csv; set the corpus folder."
        ) from None
    try:
        counted = [(row[0].strip(), tuple(int(float(vote)) for vote in row[1:])) for row in rows]
    except (ValueError, IndexError):
        raise UsageError(f"{path} holds a row that is not a name and {_VOTED} counts: use FER+'s own file.") from None
    if any(len(votes) != _VOTED for _, votes in counted):
        raise UsageError(f"{path} holds a row that is not a name and {_VOTED} counts: use FER+'s own file.")
    return counted
