"""The table of corpora: every name has a row, and an option that a corpus does not have is one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from core_models.errors import UsageError
from core_models.labels import LABEL_SETS
from train.corpora.registry import CORPORA, CorpusConfig, CorpusName, read_corpus


def test_every_corpus_that_an_option_offers_has_a_row() -> None:
    """The command line offers what the table can read, and no more; default label sets exist."""
    assert set(get_args(CorpusName)) == set(CORPORA)
    assert all(name in LABEL_SETS for reader in CORPORA.values() for name in reader.labels)
    assert all(reader.splits or reader.whole for reader in CORPORA.values())


@pytest.mark.parametrize("corpus", get_args(CorpusName))
def test_options_that_a_corpus_does_not_have_are_refused(corpus: CorpusName, tmp_path: Path) -> None:
    """Whatever the corpus, an unknown split, subset, label set or limit is refused by name before a file is read."""
    reader = CORPORA[corpus]
    missing = tmp_path / "nothing"
    split = None if reader.whole else reader.splits[0]
    with pytest.raises(UsageError, match=f"{corpus} has no split 'half'"):
        read_corpus(CorpusConfig(corpus=corpus, root=missing, split="half"))
    with pytest.raises(UsageError, match="--labels goemotions does not go with"):
        read_corpus(CorpusConfig(corpus=corpus, root=missing, split=split, labels="goemotions"))
    with pytest.raises(UsageError, match=reader.subset or "--subset shoes=1 does not go with"):
        read_corpus(CorpusConfig(corpus=corpus, root=missing, split=split, subset="shoes=1"))
    if not reader.limited:
        with pytest.raises(UsageError, match="goes with fer2013 alone"):
            read_corpus(CorpusConfig(corpus=corpus, root=missing, split=split, limit_per_class=1))
    if not reader.whole:
        with pytest.raises(UsageError, match=re.escape(", ".join(reader.splits))):
            read_corpus(CorpusConfig(corpus=corpus, root=missing))
