"""The table of corpora, and the options of every command that reads one.

A new corpus is one file beside this one, its name in `CorpusName` and its row in `CORPORA`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core_models.errors import UsageError
from core_models.labels import LABEL_SETS, LabelSet
from train.corpora.brighter import read_brighter
from train.corpora.corrections import read_corrections
from train.corpora.dailydialog import read_dailydialog
from train.corpora.dialogues import Corpus, by_end, relabel
from train.corpora.emodb import read_emodb
from train.corpora.emorynlp import read_emorynlp
from train.corpora.everyday import read_everyday
from train.corpora.feature_pickle import PICKLES, read_pickled
from train.corpora.fer2013 import read_fer2013
from train.corpora.ferplus import read_ferplus
from train.corpora.folder import read_folder
from train.corpora.goemotions import read_goemotions
from train.corpora.iemocap import TEST_SESSIONS, TRAIN_SESSIONS, read_iemocap
from train.corpora.isear import read_isear
from train.corpora.meld import TRAIN_AND_DEV, read_meld
from train.corpora.mmeld import read_mmeld
from train.corpora.mspimprov import read_mspimprov
from train.corpora.ravdess import read_ravdess
from train.corpora.topicalchat import read_topicalchat
from train.corpora.xed import read_xed

CorpusName = Literal[
    "meld",
    "iemocap",
    "emorynlp",
    "goemotions",
    "ravdess",
    "emodb",
    "fer2013",
    "folder",
    "corrections",
    "xed",
    "brighter",
    "mmeld",
    "dailydialog",
    "topicalchat",
    "isear",
    "mspimprov",
    "ferplus",
    "everyday",
]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """A part of a corpus on disk."""

    corpus: CorpusName
    """Which corpus."""
    root: Path = Path()
    """Its folder in its owner's layout (everyday needs none; FER-2013: or tar; IEMOCAP and MELD: or the community's
    feature pickle; folder: a CSV of path, start, end, speaker, label; corrections: the folder of the journals)."""
    split: str | None = None
    """The corpus's own split: train, dev or test (FER-2013: validation instead of dev). IEMOCAP: train is sessions 1
    to 4 and test session 5, as papers have it; MELD also has train+dev; XED: train and dev are our own; Topical-
    Chat: train, valid_freq, valid_rare, test_freq, test_rare; FER+: dev is validation; RAVDESS, EmoDB, ISEAR and
    MSP-IMPROV have none."""
    subset: str | None = None
    """`sessions=1,2,3` of IEMOCAP and MSP-IMPROV, `actors=5,10` of RAVDESS, `speakers=3,8` of EmoDB."""
    labels: str | None = None
    """IEMOCAP: iemocap6 (the default), or iemocap4 with excitement counted as happiness. RAVDESS: meld7 (the default),
    or ravdess8, its own. folder: the set that its labels are of (default: the first that knows them all).
    corrections: the set that they are mapped to (default: that of the latest session)."""
    language: str | None = None
    """XED: en (the default), de, fr, es, it, pt, nl, pl; BRIGHTER: eng (the default), deu, esp, ptbr, ptmz; M-MELD: fr
    (the default), es, gr."""
    order: Literal["end", "corpus"] = "corpus"
    """Turns by their end, as a live run commits them, or in the corpus's own order."""
    limit_per_class: int | None = None
    """At most this many stills of each emotion of FER-2013, the same ones on every machine."""


@dataclass(frozen=True)
class PartOfCorpus:
    """What a reader is asked for, its options checked against its row of the table."""

    root: Path
    split: str
    """One of the row's `splits`; "all" where none was named."""
    numbers: set[int] | None
    """Those of --subset; None for all."""
    labels: LabelSet | None
    """That of --labels, or the first of the row's `labels`; None where the corpus itself decides."""
    limit_per_class: int | None
    language: str = ""
    """That of --language, or the first of the row's `languages`."""


@dataclass(frozen=True, kw_only=True)
class CorpusReader:
    """A row of the table: how a corpus is read, and which options choose a part of it."""

    read: Callable[[PartOfCorpus], Corpus]
    labels: tuple[str, ...] = ()
    """Label sets that --labels may name, the default first; empty where the corpus has one alone."""
    labels_from_data: bool = False
    """Without --labels the corpus itself says which set its labels are of."""
    splits: tuple[str, ...] = ()
    """Splits that --split may name."""
    whole: bool = False
    """It may also be read as a whole, without --split."""
    subset: str | None = None
    """A --subset of it, as an example; None where it has none."""
    pickled: bool = False
    """--root may also be the community's feature pickle of it."""
    languages: tuple[str, ...] = ()
    """Languages that --language may name, the default first; empty where the corpus has one alone."""
    limited: bool = False
    """--limit-per-class goes with it."""


_OFFICIAL = ("train", "dev", "test")


def _choose_sessions(part: PartOfCorpus) -> set[int] | None:
    """IEMOCAP's sessions by --split or --subset; None for all."""
    by_split = {"train": TRAIN_SESSIONS, "test": TEST_SESSIONS}
    if part.split == "all":
        return part.numbers
    if part.numbers is not None:
        raise UsageError("--split and --subset both choose sessions of IEMOCAP: give one of them.")
    return set(by_split[part.split])


CORPORA: dict[str, CorpusReader] = {
    "meld": CorpusReader(
        read=lambda part: read_meld(part.root, part.split), splits=(*_OFFICIAL, TRAIN_AND_DEV), pickled=True
    ),
    "emorynlp": CorpusReader(read=lambda part: read_emorynlp(part.root, part.split), splits=_OFFICIAL),
    "goemotions": CorpusReader(read=lambda part: read_goemotions(part.root, part.split), splits=_OFFICIAL),
    "iemocap": CorpusReader(
        read=lambda part: read_iemocap(part.root, _require_labels(part.labels), _choose_sessions(part)),
        labels=("iemocap6", "iemocap4"),
        splits=("train", "test"),
        whole=True,
        subset="sessions=1,2,3",
        pickled=True,
    ),
    "ravdess": CorpusReader(
        read=lambda part: read_ravdess(part.root, part.numbers, _require_labels(part.labels)),
        labels=("meld7", "ravdess8"),
        whole=True,
        subset="actors=5,10,15,20",
    ),
    "emodb": CorpusReader(read=lambda part: read_emodb(part.root, part.numbers), whole=True, subset="speakers=3,8"),
    "fer2013": CorpusReader(
        read=lambda part: read_fer2013(part.root, part.split, part.limit_per_class),
        splits=("train", "validation", "test"),
        limited=True,
    ),
    "ferplus": CorpusReader(
        read=lambda part: read_ferplus(part.root, part.split), splits=("train", "validation", "dev", "test")
    ),
    "xed": CorpusReader(
        read=lambda part: read_xed(part.root, part.split, part.language),
        splits=("train", "dev"),
        whole=True,
        languages=("en", "de", "fr", "es", "it", "pt", "nl", "pl"),
    ),
    "brighter": CorpusReader(
        read=lambda part: read_brighter(part.root, part.split, part.language),
        splits=_OFFICIAL,
        languages=("eng", "deu", "esp", "ptbr", "ptmz"),
    ),
    "mmeld": CorpusReader(
        read=lambda part: read_mmeld(part.root, part.split, part.language),
        splits=_OFFICIAL,
        languages=("fr", "es", "gr"),
    ),
    "dailydialog": CorpusReader(read=lambda part: read_dailydialog(part.root, part.split), splits=_OFFICIAL),
    "topicalchat": CorpusReader(
        read=lambda part: read_topicalchat(part.root, part.split),
        splits=("train", "valid_freq", "valid_rare", "test_freq", "test_rare"),
    ),
    "isear": CorpusReader(read=lambda part: read_isear(part.root), whole=True),
    "mspimprov": CorpusReader(
        read=lambda part: read_mspimprov(part.root, part.numbers), whole=True, subset="sessions=1,2,3"
    ),
    "everyday": CorpusReader(read=lambda part: read_everyday(), whole=True),
    "folder": CorpusReader(
        read=lambda part: read_folder(part.root, part.labels),
        labels=tuple(LABEL_SETS),
        labels_from_data=True,
        whole=True,
    ),
    "corrections": CorpusReader(
        read=lambda part: read_corrections(part.root, part.labels),
        labels=tuple(LABEL_SETS),
        labels_from_data=True,
        whole=True,
    ),
}


def read_corpus(config: CorpusConfig) -> Corpus:
    """The part of the corpus that `config` names. Raises UsageError for options that do not go with it."""
    reader = CORPORA[config.corpus]
    labels = _choose_labels(config, reader)
    if config.limit_per_class is not None and not reader.limited:
        raise UsageError(f"--limit-per-class goes with fer2013 alone: leave it out for {config.corpus}.")
    if reader.pickled and config.root.suffix in PICKLES:
        corpus = _read_pickle(config, labels)
    else:
        numbers = _parse_subset(config, reader)
        split = _choose_split(config, reader)
        language = _choose_language(config, reader)
        corpus = reader.read(PartOfCorpus(config.root, split, numbers, labels, config.limit_per_class, language))
    if config.order == "corpus":
        return corpus
    return replace(corpus, dialogues=tuple(by_end(dialogue) for dialogue in corpus.dialogues))


def _read_pickle(config: CorpusConfig, labels: LabelSet | None) -> Corpus:
    if config.subset is not None:
        raise UsageError(f"{config.root} knows no subsets: leave --subset out and choose train or test by --split.")
    corpus = read_pickled(config.root, config.corpus, config.split)
    return corpus if labels is None else relabel(corpus, labels)[0]


def _choose_labels(config: CorpusConfig, reader: CorpusReader) -> LabelSet | None:
    if config.labels is None:
        return LABEL_SETS[reader.labels[0]] if reader.labels and not reader.labels_from_data else None
    if config.labels not in reader.labels:
        expected = f"use {' or '.join(reader.labels)}" if reader.labels else "leave it out"
        raise UsageError(f"--labels {config.labels} does not go with {config.corpus}: {expected}.")
    return LABEL_SETS[config.labels]


def _choose_language(config: CorpusConfig, reader: CorpusReader) -> str:
    if config.language is None:
        return reader.languages[0] if reader.languages else ""
    if config.language not in reader.languages:
        expected = f"use {' or '.join(reader.languages)}" if reader.languages else "leave it out"
        raise UsageError(f"--language {config.language} does not go with {config.corpus}: {expected}.")
    return config.language


def _require_labels(labels: LabelSet | None) -> LabelSet:
    """The set of a corpus that has a default one."""
    assert labels is not None
    return labels


def _choose_split(config: CorpusConfig, reader: CorpusReader) -> str:
    if config.split in reader.splits:
        return str(config.split)
    if config.split in (None, "all") and reader.whole:
        return "all"
    by_subset = f"choose by --subset {reader.subset}"
    if config.split is None:
        raise UsageError(f"{config.corpus} has splits: name one with --split, of {', '.join(reader.splits)}.")
    if not reader.splits:
        instead = f" and {by_subset}" if reader.subset else ""
        raise UsageError(f"{config.corpus} has no split {config.split!r}: leave --split out{instead}.")
    otherwise = f", or leave it out and {by_subset}" if reader.subset else ""
    raise UsageError(f"{config.corpus} has no split {config.split!r}: use {' or '.join(reader.splits)}{otherwise}.")


def _parse_subset(config: CorpusConfig, reader: CorpusReader) -> set[int] | None:
    """The numbers of --subset, such as `actors=5,10,15,20`; None where it is not given."""
    if config.subset is None:
        return None
    if reader.subset is None:
        raise UsageError(f"--subset {config.subset} does not go with {config.corpus}: use --split.")
    name, _, numbers = config.subset.partition("=")
    try:
        if name != reader.subset.partition("=")[0]:
            raise ValueError(name)
        return {int(number) for number in numbers.split(",")}
    except ValueError:
        raise UsageError(
            f"--subset {config.subset!r} is not understood: expected {reader.subset} or the like."
        ) from None
