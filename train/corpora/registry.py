"""Which part of which corpus: the options of every command that reads one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core_models.errors import UsageError
from core_models.labels import LABEL_SETS, MELD7
from train.corpora.corrections import read_corrections
from train.corpora.dialogues import Corpus, by_end, relabel
from train.corpora.emodb import read_emodb
from train.corpora.emorynlp import read_emorynlp
from train.corpora.feature_pickle import PICKLES, read_pickled
from train.corpora.fer2013 import read_fer2013
from train.corpora.folder import read_folder
from train.corpora.goemotions import read_goemotions
from train.corpora.iemocap import TEST_SESSIONS, TRAIN_SESSIONS, read_iemocap
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess

_SUBSETS = {"iemocap": "sessions=1,2,3", "ravdess": "actors=5,10,15,20", "emodb": "speakers=3,8"}
"""Corpus -> a --subset of it; these corpora need no --split."""

_LABELS = {"iemocap": ("iemocap6", "iemocap4"), "ravdess": ("meld7", "ravdess8"), "folder": tuple(LABEL_SETS)}
_LABELS["corrections"] = _LABELS["folder"]
"""Corpora that can be read with several label sets, the default first."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """A part of a corpus on disk."""

    corpus: Literal["meld", "iemocap", "emorynlp", "goemotions", "ravdess", "emodb", "fer2013", "folder", "corrections"]
    """Which corpus."""
    root: Path
    """Its folder in its owner's layout (FER-2013: or tar; IEMOCAP and MELD: or the community's feature
    pickle; folder: a CSV of path, start, end, speaker, label; corrections: the folder of the journals)."""
    split: str | None = None
    """The corpus's own split: train, dev or test (FER-2013: validation instead of dev). IEMOCAP: train is sessions 1
    to 4 and test session 5, as papers have it; RAVDESS and EmoDB have none."""
    subset: str | None = None
    """`sessions=1,2,3` of IEMOCAP, `actors=5,10` of RAVDESS, `speakers=3,8` of EmoDB."""
    labels: str | None = None
    """IEMOCAP: iemocap6 (the default), or iemocap4 with excitement counted as happiness. RAVDESS: meld7 (the default),
    or ravdess8, its own. folder: the set that its labels are of (default: the first that knows them all).
    corrections: the set that they are mapped to (default: that of the latest session)."""
    order: Literal["end", "corpus"] = "corpus"
    """Turns by their end, as a live run commits them, or in the corpus's own order."""
    limit_per_class: int | None = None
    """At most this many stills of each emotion of FER-2013, the same ones on every machine."""


def read_corpus(config: CorpusConfig) -> Corpus:
    """The part of the corpus that `config` names. Raises UsageError for options that do not go with it."""
    corpus = _read(config)
    if config.order == "corpus":
        return corpus
    return replace(corpus, dialogues=tuple(by_end(dialogue) for dialogue in corpus.dialogues))


def _read(config: CorpusConfig) -> Corpus:
    corpus, root = config.corpus, config.root
    if corpus != "fer2013" and config.limit_per_class is not None:
        raise UsageError(f"--limit_per_class goes with fer2013 alone: leave it out for {corpus}.")
    own = _LABELS.get(corpus, ())
    if config.labels is not None and config.labels not in own:
        expected = f"use {' or '.join(own)}" if own else "leave it out"
        raise UsageError(f"--labels {config.labels} does not go with {corpus}: {expected}.")
    labels = LABEL_SETS[config.labels or (own[0] if own else MELD7.name)]
    if corpus in ("iemocap", "meld") and root.suffix in PICKLES:
        if config.subset is not None:
            raise UsageError(f"{root} knows no subsets: leave --subset out and choose train or test by --split.")
        return relabel(read_pickled(root, corpus, config.split), labels)[0]
    numbers = _numbers(config)
    if corpus == "iemocap":
        return read_iemocap(root, labels, _sessions(config, numbers))
    if corpus in (*_SUBSETS, "folder", "corrections") and config.split not in (None, "all"):
        instead = f" and choose by --subset {_SUBSETS[corpus]}" if corpus in _SUBSETS else ""
        raise UsageError(f"{corpus} has no split {config.split!r}: leave --split out{instead}.")
    if corpus == "ravdess":
        return read_ravdess(root, numbers, labels)
    if corpus == "emodb":
        return read_emodb(root, numbers)
    if corpus in ("folder", "corrections"):
        return (read_folder if corpus == "folder" else read_corrections)(root, labels if config.labels else None)
    if config.split is None:
        raise UsageError(f"{corpus} has splits: name one with --split.")
    if corpus == "fer2013":
        return read_fer2013(root, config.split, config.limit_per_class)
    read = {"meld": read_meld, "emorynlp": read_emorynlp, "goemotions": read_goemotions}[corpus]
    return read(root, config.split)


def _sessions(config: CorpusConfig, numbers: set[int] | None) -> set[int] | None:
    """IEMOCAP's sessions by --split or --subset; None for all."""
    if config.split in (None, "all"):
        return numbers
    parts = {"train": TRAIN_SESSIONS, "test": TEST_SESSIONS}
    if config.split not in parts or numbers is not None:
        raise UsageError(
            f"--split {config.split!r} of IEMOCAP is not understood: use train (sessions 1 to 4) or test (session 5), "
            "or leave it out and choose by --subset sessions=1,2,3."
        )
    return set(parts[config.split])


def _numbers(config: CorpusConfig) -> set[int] | None:
    """The numbers of --subset, such as `actors=5,10,15,20`; None where it is not given."""
    if config.subset is None:
        return None
    example = _SUBSETS.get(config.corpus)
    if example is None:
        raise UsageError(f"--subset {config.subset} does not go with {config.corpus}: use --split.")
    name, _, numbers = config.subset.partition("=")
    try:
        if name != example.partition("=")[0]:
            raise ValueError(name)
        return {int(number) for number in numbers.split(",")}
    except ValueError:
        raise UsageError(f"--subset {config.subset!r} is not understood: expected {example} or the like.") from None
