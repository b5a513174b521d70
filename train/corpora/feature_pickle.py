"""The community's feature files of IEMOCAP (12 items) and MELD (13): words, labels and vectors in one pickle.

Both began with DialogueRNN (Majumder et al., 2019) and are what SDT, CMATH and others report on. Items: turn ids,
speakers, labels, four RoBERTa-large vectors (1024 each), openSMILE (IS10's 1582; MELD: 300), DenseNet (342),
sentences, each by dialogue; ids of training and of test dialogues; MELD one more, unused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.labels import IEMOCAP6, MELD7, LabelSet
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.safe_unpickle import load_pickle

PICKLES = {".pkl", ".pickle"}
# Modality -> (its item, its name); of the four text vectors only the first is used, as in SDT.
VECTORS = {"text": (3, "roberta-large"), "voice": (7, "opensmile"), "face": (8, "densenet")}

# Number of items -> corpus, label set, and the label that each number stands for.
_OWNERS: Mapping[int, tuple[str, LabelSet, tuple[str, ...]]] = {
    12: ("iemocap", IEMOCAP6, ("happy", "sad", "neutral", "angry", "excited", "frustrated")),
    13: ("meld", MELD7, ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")),
}
# Places in the pickled tuple, which has 12 items for IEMOCAP and 13 for MELD.
_IDS, _SPEAKERS, _LABELS, _SENTENCES, _TRAIN, _TEST = 0, 1, 2, 9, 10, 11


@dataclass(frozen=True)
class FeatureFile:
    """What such a file holds."""

    corpus: Corpus
    """Every dialogue, training before test."""
    train: frozenset[str]
    """Ids of the dialogues that papers train on; MELD's hold its dev."""
    ids: list[str]
    """Ids of all utterances, in the order of the vectors."""
    vectors: dict[str, NDArray[np.float32]]
    """Modality -> float32 [utterances, d]."""


def read_pickled(path: Path, corpus: str, split: str | None = None) -> Corpus:
    """The dialogues of `split` (train or test, None for all; MELD's train holds its dev and is train+dev as well).

    Raises UsageError for a file of another corpus.
    """
    file = read_feature_file(path)
    if file.corpus.name != corpus:
        raise UsageError(f"{path} holds features of {file.corpus.name}: set --corpus {file.corpus.name}.")
    if split in (None, "all"):
        return file.corpus
    split = "train" if split == "train+dev" and corpus == "meld" else split
    if split not in ("train", "test"):
        raise UsageError(f"{path} has no split {split!r}: use train or test, or hold out part of train.")
    return file.corpus.where(lambda dialogue: (dialogue.id in file.train) == (split == "train"))


def read_feature_file(path: Path) -> FeatureFile:
    """The whole file, read once. Raises UsageError for one that is laid out otherwise or is more than data."""
    try:
        return _read_items(path, path.stat().st_mtime_ns)
    except OSError:
        raise UsageError(f"There is no {path}: set the path of the feature pickle.") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is not laid out as the community's feature pickle ({error}): expected 12 items (IEMOCAP) or 13 "
            "(MELD) by dialogue."
        ) from None


@lru_cache(maxsize=1)
def _read_items(path: Path, changed: int) -> FeatureFile:
    items = load_pickle(path)
    if not isinstance(items, tuple | list) or len(items) not in _OWNERS:
        raise ValueError(f"{len(items) if isinstance(items, tuple | list) else type(items).__name__} items")
    name, labels, order = _OWNERS[len(items)]
    dialogues: list[Dialogue] = []
    ids: list[str] = []
    rows: dict[str, list[NDArray[np.float32]]] = {modality: [] for modality in VECTORS}
    keys = [*_in_order(items[_TRAIN]), *_in_order(items[_TEST])]
    for key in keys:
        dialogue = _build_dialogue(items, key, order)
        dialogues.append(dialogue)
        ids += [utterance.id for utterance in dialogue.utterances]
        for modality, (item, _) in VECTORS.items():
            own = np.asarray(items[item][key], dtype=np.float32)
            if own.ndim != 2 or len(own) != len(dialogue.utterances):
                raise ValueError(f"item {item} of dialogue {key} is {list(own.shape)}")
            rows[modality].append(own)
    vectors = {modality: np.concatenate(parts) for modality, parts in rows.items()}
    train = frozenset(str(key) for key in items[_TRAIN])
    return FeatureFile(Corpus(name, labels, tuple(dialogues)), train, ids, vectors)


def _in_order(keys: Any) -> list[Any]:
    """Dialogue ids, which may come as a set, in an order that is the same everywhere."""
    return sorted(keys, key=lambda key: (key if isinstance(key, int) else 0, str(key)))


def _build_dialogue(items: Any, key: Any, order: tuple[str, ...]) -> Dialogue:
    parts = [items[item][key] for item in (_IDS, _SPEAKERS, _LABELS, _SENTENCES)]
    if len({len(part) for part in parts}) != 1 or not len(parts[0]):
        raise ValueError(f"dialogue {key} has {' and '.join(str(len(part)) for part in parts)} entries")
    utterances = tuple(
        Utterance(_utterance_id(key, turn), _speaker_name(speaker), str(sentence).strip(), order[_label_number(label)])
        for turn, speaker, label, sentence in zip(*parts, strict=True)
    )
    session = re.match(r"Ses(\d\d)", str(key))
    style = None if session is None else "scripted" if "script" in str(key) else "improvised"
    return Dialogue(str(key), utterances, str(int(session.group(1))) if session else None, style)


def _utterance_id(key: Any, turn: Any) -> str:
    """IEMOCAP's turn names stand for themselves, MELD's numbers in their dialogue."""
    return str(turn) if str(turn).startswith(f"{key}_") else f"{key}/{turn}"


def _label_number(label: Any) -> int:
    if int(label) != label or label < 0:
        raise ValueError(f"{label!r} is no label")
    return int(label)


def _speaker_name(speaker: Any) -> str:
    """`M` or `F`, or the place of the one in a one-hot row."""
    return speaker if isinstance(speaker, str) else f"speaker {int(np.argmax(speaker))}"
