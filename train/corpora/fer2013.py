"""FER-2013 (Goodfellow et al., 2013): 48x48 grey faces in folders by emotion, from a folder or a tar read in place."""

from __future__ import annotations

import hashlib
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError, UsageError
from core_models.labels import MELD7
from train.corpora.dialogues import Corpus, Dialogue, Utterance

LABEL_MAP = "fer2013->meld7: angry as anger, happy as joy, sad as sadness"

_EMOTIONS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "joy",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
_SUFFIXES = {".jpg", ".jpeg", ".png"}
# The landmarker finds next to nothing in 48 pixels.
_ENLARGED = 256
# Borders that a still is looked at with, one after another until a face is found: the faces fill their frame to its
# edge, and a detector expects room around them. Of the training stills, 92.3% are found with the first, 95.5% with
# all; a look that finds nothing takes a third of the time of one that does.
_LOOKS = (
    (96, cv2.BORDER_CONSTANT),
    (64, cv2.BORDER_REPLICATE),
    (128, cv2.BORDER_CONSTANT),
    (0, cv2.BORDER_REPLICATE),
    (128, cv2.BORDER_REPLICATE),
    (192, cv2.BORDER_CONSTANT),
)
_UNSEEN = 5  # one in so many

# Those that the expression network is trained on, and those that it never sees: a fifth.
Stills = Literal["all", "seen", "unseen"]


def read_fer2013(root: Path, split: str, limit_per_class: int | None = None, stills: Stills = "all") -> Corpus:
    """The stills of one split, each a dialogue of one utterance with a picture.

    `root` is a tar of `<split>/<emotion>/*.jpg`, a folder of the same, or a folder of `fer2013_<split>.tar`.
    `limit_per_class` draws that many of each emotion, the same ones on every machine. An `image` inside a
    tar is the tar's path continued by the member's name (see `read_still`). Raises UsageError where nothing is found.
    """
    for source in (root, root / f"fer2013_{split}.tar"):
        if source.is_file():
            names = [(source / name, PurePosixPath(name)) for name in open_archive(source)[1]]
            break
    else:
        names = [(p, PurePosixPath(p.relative_to(root).as_posix())) for p in sorted((root / split).glob("*/*"))]
    by_emotion: dict[str, list[tuple[Path, PurePosixPath]]] = defaultdict(list)
    for path, name in names:
        if name.suffix.lower() in _SUFFIXES and name.parts[-3:-2] == (split,) and name.parent.name in _EMOTIONS:
            by_emotion[name.parent.name].append((path, name))
    if not by_emotion:
        raise UsageError(
            f"{root} holds no FER-2013 stills of split {split!r}: expected {split}/<emotion>/*.jpg in a folder or "
            f"a tar; set the corpus folder."
        )
    dialogues = []
    for emotion, chosen in sorted(by_emotion.items()):
        chosen.sort(key=lambda one: str(one[1]))
        # The emotion is the seed: a limit draws the same stills on every machine and in every order of files.
        random.Random(emotion).shuffle(chosen)
        if stills != "all":
            chosen = [
                (path, name) for path, name in chosen if held_out_for_dialogue_model(path) == (stills == "unseen")
            ]
        for path, name in chosen[:limit_per_class]:
            utterance = Utterance(str(name), "face", label=_EMOTIONS[emotion], image=path)
            dialogues.append(Dialogue(str(name), (utterance,)))
    return Corpus("fer2013", MELD7, tuple(dialogues), LABEL_MAP)


def still_bytes(path: Path) -> bytes:
    """The file of a still, also where `path` leads into a tar. Raises MediaError where there is none."""
    archive = next((parent for parent in path.parents if parent.is_file()), None)
    try:
        if archive is None:
            return path.read_bytes()
        tar, members = open_archive(archive)
        member = tar.extractfile(members[path.relative_to(archive).as_posix()])
        if member is None:
            raise KeyError(path)
        return member.read()
    except (OSError, KeyError, tarfile.TarError):
        raise MediaError(f"{path} cannot be read: expected a picture file.") from None


def read_still(path: Path) -> NDArray[np.uint8]:
    """The picture enlarged, as if a camera had been nearer: RGB uint8 [256, 256, 3]. Raises MediaError."""
    large = cv2.resize(_decode_grey(path), (_ENLARGED, _ENLARGED), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def bordered_views(picture: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """(`picture` with a border around it, the border's width), for a landmarker that must find a face in a still."""
    for border, kind in _LOOKS:
        framed = cv2.copyMakeBorder(picture, border, border, border, border, kind)
        yield np.asarray(framed, dtype=np.uint8), border


def content_of(path: Path) -> str:
    """Digest of the still's pixels: the corpus holds many stills twice, some in two splits. Raises MediaError."""
    return hashlib.sha256(_decode_grey(path).tobytes()).hexdigest()


def held_out_for_dialogue_model(path: Path) -> bool:
    """Whether the expression network never sees this training still: one in five by content, so that copies of one
    picture are on the same side, on every machine. Raises MediaError."""
    return int(content_of(path)[:8], 16) % _UNSEEN == 0


def _decode_grey(path: Path) -> NDArray[np.uint8]:
    grey = cv2.imdecode(np.frombuffer(still_bytes(path), np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise MediaError(f"{path} cannot be decoded: expected a JPEG or PNG picture.")
    return np.asarray(grey, dtype=np.uint8)


@lru_cache(maxsize=4)
def open_archive(path: Path) -> tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]:
    """(the tar, its files by name); it stays open for as long as its stills are read. Raises UsageError."""
    try:
        tar = tarfile.open(path)  # noqa: SIM115
        return tar, {member.name: member for member in tar.getmembers() if member.isfile()}
    except (OSError, tarfile.TarError):
        raise UsageError(f"{path} is not a readable tar: expected one of FER-2013's stills.") from None
