"""Speakers of a corpus as a dialogue model reads them: slots, the corpus's own ids, numbers within a dialogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.registry import CorpusConfig
from train.data.clip_pairing import ClipBanks
from train.data.config import DataConfig
from train.data.corpus_parts import Corpora, Parts, split_corpora
from train.data.data_module import make_tensors
from train.data.dialogue_sampler import SamplerOptions
from train.data.feature_vectors import FeatureVectors

SPOKEN = (("Ross", "Rachel", "Ross"), ("Phoebe", "Ross"), ("Joey", "Phoebe", "Rachel"), ("Monica", "Joey"))


def parts(*, numbered: bool) -> Parts:
    dialogues = tuple(
        Dialogue(f"d{d}", tuple(Utterance(f"d{d}/{i}", name, "words", "joy") for i, name in enumerate(names)))
        for d, names in enumerate(SPOKEN)
    )
    corpus = Corpus("meld", MELD7, dialogues, numbered=numbered)
    data = DataConfig(CorpusConfig(corpus="meld", root=Path("-")), order="corpus", speakers="corpus")
    return split_corpora(Corpora(corpus, corpus.where(lambda d: False), frozenset(), {}), data)


def test_numbers_within_the_dialogue_stand_for_people_s_names() -> None:
    """MELD's speakers are numbered by first appearance in each dialogue, as in its nine-wide one-hot vector."""
    found = parts(numbered=True)
    slots = [found.layout.slots(d.utterances, 9) for d in found.dialogues[0].dialogues]
    assert slots == [[0, 1, 0], [0, 1], [0, 1, 2], [0, 1]]


def test_the_corpus_s_own_ids_are_the_same_in_every_dialogue() -> None:
    """A corpus of few ids (IEMOCAP's F and M) keeps them across dialogues."""
    found = parts(numbered=False)
    assert found.layout.names == ("Joey", "Monica", "Phoebe", "Rachel", "Ross")
    slots = [found.layout.slots(d.utterances, 5) for d in found.dialogues[0].dialogues]
    assert slots == [[4, 3, 4], [2, 4], [0, 2, 3], [1, 0]]


def test_more_names_than_slots_are_refused() -> None:
    """Names that would share the last slot are refused in a sentence that counts both."""
    with pytest.raises(UsageError, match=r"5 speakers for 4 slots.*data\.speakers"):
        make_tensors(
            parts(numbered=False),
            FeatureVectors(),
            ClipBanks((), ()),
            SamplerOptions(),
            slots=4,
            window=3,
            seed=0,
        )
