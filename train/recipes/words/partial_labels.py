"""Lines of many corpora under one label set: each line admits one or several of MELD's seven.

A corpus's label without a twin among the seven says which of them it may be ("frustrated" is anger, sadness or
disgust): a partial label, learnt by the summed probability of what it admits (Cour et al., 2011).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_models.features.text.sentence_encoder import REACH, PastTurn
from core_models.labels import MELD7, label_map
from train.corpora.detokenization import normalize
from train.corpora.dialogues import Corpus, Utterance

# Label set -> label without a twin among the seven -> those that it may be. What stands in neither is left out.
ADMITTED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "iemocap6": {"frustrated": ("anger", "sadness", "disgust")},
    "mspimprov5": {"other": ("surprise", "fear", "disgust")},
    "emorynlp7": {"peaceful": ("neutral", "joy"), "powerful": ("neutral", "joy", "anger")},
}

# Of MSP-IMPROV's turns those in which a given sentence is read or worked in: its words are the same for every emotion.
_GIVEN = re.compile(r"MSP-IMPROV-.*-[RT]-\w+")


@dataclass(frozen=True)
class PartialLine:
    """A line's words, what was said before it, and which of MELD7 it admits."""

    text: str
    past: tuple[PastTurn, ...]
    admitted: tuple[int, ...]


def partial_lines(corpus: Corpus, context: bool) -> list[PartialLine]:
    """The utterances of `corpus` that have words and admit something; their past where `context` is wanted."""
    found = []
    for dialogue in corpus.dialogues:
        for index, utterance in enumerate(dialogue.utterances):
            admitted = admitted_labels(corpus, utterance)
            if not utterance.text or not admitted or _GIVEN.fullmatch(utterance.id):
                continue
            before = dialogue.utterances[max(0, index - REACH) : index] if context else ()
            past = tuple(PastTurn(turn.speaker == utterance.speaker, turn.text) for turn in before if turn.text)
            found.append(PartialLine(utterance.text, past, admitted))
    return found


def admitted_labels(corpus: Corpus, utterance: Utterance) -> tuple[int, ...]:
    """Indices in MELD7, rising, of what the utterance's label or candidates may be; empty where that is nothing."""
    twins = label_map(corpus.labels, MELD7).mapping
    partial = ADMITTED.get(corpus.labels.name, {})
    admitted: set[int] = set()
    for name in utterance.candidates or (utterance.label,):
        if name is not None:
            among = (twins[name],) if name in twins else partial.get(name, ())
            admitted |= {MELD7.index(one) for one in among}
    return tuple(sorted(admitted))


def without_lines(lines: Sequence[PartialLine], evaluated: Collection[str], shortest: int) -> list[PartialLine]:
    """`lines` without those of `shortest` words or more whose normalized words are in `evaluated`."""
    kept = []
    for line in lines:
        words = normalize(line.text)
        if len(words.split()) < shortest or words not in evaluated:
            kept.append(line)
    return kept


def admission_matrix(lines: Sequence[PartialLine]) -> NDArray[np.bool_]:
    """bool [n, 7], what each line admits."""
    matrix = np.zeros((len(lines), len(MELD7)), dtype=bool)
    for row, line in enumerate(lines):
        matrix[row, list(line.admitted)] = True
    return matrix


def draw_lines(admission: NDArray[np.bool_], wanted: int, power: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """[wanted] rows drawn with weight frequency(class)^-power, the class of a line being the rarest that it admits.

    Systematic sampling over a random order: a row comes as often as its expected number, rounded up or down, so that
    as many different ones as possible are drawn.
    """
    counts = admission.sum(axis=0).clip(min=1)
    weights = np.where(admission, counts[None, :], np.inf).min(axis=1) ** -power
    order = rng.permutation(len(admission))
    edges = np.cumsum(weights[order])
    marks = (np.arange(wanted) + rng.random()) * edges[-1] / wanted
    drawn = order[np.searchsorted(edges, marks, side="right").clip(max=len(order) - 1)]
    return np.asarray(rng.permutation(drawn), dtype=np.int64)


def log_prior(admission: NDArray[np.bool_]) -> NDArray[np.float32]:
    """float32 [7], log of how often each class is expected, a partial label counting for all that it admits alike.

    A class that no line admits gets log 1e-9, which takes it out of the softmax: nothing is learnt of it there.
    """
    shares = (admission / admission.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.asarray(np.log(np.maximum(shares, 1e-9)), dtype=np.float32)
