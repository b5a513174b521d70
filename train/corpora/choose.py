"""Which part of which corpus: the options of every command that reads one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core_models.errors import UsageError
from train.corpora.dialogues import Corpus
from train.corpora.fer2013 import read_fer2013
from train.corpora.goemotions import read_goemotions
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """A part of a corpus on disk."""

    corpus: Literal["meld", "ravdess", "fer2013", "goemotions"]
    """Which corpus."""
    root: Path
    """Its folder (FER-2013: or tar), in its owner's layout."""
    split: str | None = None
    """The corpus's own split: train, dev or test (FER-2013: validation instead of dev); RAVDESS has none."""
    subset: str | None = None
    """Actors of RAVDESS, such as `actors=5,10,15,20`."""
    limit_per_class: int | None = None
    """At most this many stills of each emotion of FER-2013, the same ones on every machine."""


def read_corpus(config: CorpusConfig) -> Corpus:
    """The part of the corpus that `config` names. Raises UsageError for options that do not go with it."""
    if config.corpus != "fer2013" and config.limit_per_class is not None:
        raise UsageError(f"--limit_per_class goes with fer2013 alone: leave it out for {config.corpus}.")
    if config.corpus == "ravdess":
        if config.split not in (None, "all"):
            raise UsageError(f"RAVDESS has no split {config.split!r}: leave --split out and choose actors by --subset.")
        return read_ravdess(config.root, _actors(config.subset))
    if config.subset is not None:
        raise UsageError(f"--subset {config.subset} goes with ravdess alone: leave it out for {config.corpus}.")
    if config.split is None:
        raise UsageError(f"{config.corpus} has splits: name one with --split.")
    if config.corpus == "fer2013":
        return read_fer2013(config.root, config.split, config.limit_per_class)
    return {"meld": read_meld, "goemotions": read_goemotions}[config.corpus](config.root, config.split)


def _actors(subset: str | None) -> set[int] | None:
    if subset is None:
        return None
    name, _, numbers = subset.partition("=")
    try:
        if name != "actors":
            raise ValueError(name)
        return {int(number) for number in numbers.split(",")}
    except ValueError:
        raise UsageError(f"--subset {subset!r} is not understood: expected actors=5,10,15,20.") from None
