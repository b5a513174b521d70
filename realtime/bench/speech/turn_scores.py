"""How right turns are: diarization error rate, words by person, and what a reader of the finals notices. Pure.

The error rate is that of NIST's rich transcription evaluations (RT-09): missed, false and confused speaker time over
the reference's, overlap counted, under the best one-to-one naming. cpWER: Watanabe et al., CHiME-6 challenge (2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Spans = Sequence[tuple[float, float]]

_GRAIN_S = 0.01
_ONE_PERSON = 0.9
_LEAST_SINGLE_S = 0.2  # speech outside overlaps that a final must have to be asked about it


@dataclass(frozen=True)
class DiarizationError:
    """Percent of the reference's speaker time, and whom each heard speaker is taken for."""

    missed: float
    false: float
    confused: float
    naming: dict[str, str]

    @property
    def total(self) -> float:
        """The error rate in percent."""
        return self.missed + self.false + self.confused


def diarization_error(
    reference: Mapping[str, Spans], heard: Mapping[str, Spans], seconds: float, *, collar_s: float
) -> DiarizationError:
    """Compare who speaks when; `collar_s` to both sides of each edge of the reference is left out."""
    said, found = _grid(reference, seconds), _grid(heard, seconds)
    asked = np.ones(said.shape[1], bool)
    for spans in reference.values():
        for edge in (edge for span in spans for edge in span):
            asked[_at(max(0.0, edge - collar_s)) : _at(edge + collar_s)] &= collar_s == 0
    shared = (said[:, None] & found[None] & asked).sum(axis=2)
    rows, columns = linear_sum_assignment(-shared)
    right = sum(((said[i] & found[j]) for i, j in zip(rows, columns, strict=True)), np.zeros(said.shape[1], int))
    speaking, hearing = said.sum(axis=0), found.sum(axis=0)
    total = float((speaking * asked).sum()) or 1.0

    def share(frames: NDArray[np.int_]) -> float:
        return 100 * float((frames * asked).sum()) / total

    names = list(reference), list(heard)
    return DiarizationError(
        missed=share(np.maximum(speaking - hearing, 0)),
        false=share(np.maximum(hearing - speaking, 0)),
        confused=share(np.minimum(speaking, hearing) - right),
        naming={names[1][j]: names[0][i] for i, j in zip(rows, columns, strict=True)},
    )


@dataclass(frozen=True)
class FinalScores:
    """Of a conversation's finals: counts of those of one person and of all, and seconds rightly named and of all."""

    of_one: int
    asked: int
    right_s: float
    spoken_s: float


def score_finals(
    reference: Mapping[str, Spans],
    finals: Sequence[tuple[str, float, float]],
    naming: Mapping[str, str],
    seconds: float,
) -> FinalScores:
    """`finals` are (speaker, start, end); what either side calls overlapped is left out."""
    said = _grid(reference, seconds)
    heard = sum((_mask([(start, end)], seconds) for _, start, end in finals), np.zeros(said.shape[1], int))
    single = (said.sum(axis=0) == 1) & (heard == 1)
    of_one = asked = 0
    right = spoken = 0.0
    for speaker, start, end in finals:
        within = _mask([(start, end)], seconds) & single
        shares = {person: float((within & row).sum()) for person, row in zip(reference, said, strict=True)}
        total = sum(shares.values())
        spoken += total
        right += shares.get(naming.get(speaker, ""), 0.0)
        if total >= _LEAST_SINGLE_S / _GRAIN_S:
            asked += 1
            of_one += max(shares.values()) >= _ONE_PERSON * total
    return FinalScores(of_one, asked, right * _GRAIN_S, spoken * _GRAIN_S)


def word_errors_by_person(
    reference: Mapping[str, Sequence[str]], heard: Mapping[str, Sequence[str]]
) -> tuple[int, int]:
    """Word errors under the best one-to-one naming, and words of the reference (cpWER is their ratio)."""
    said, found = list(reference.values()), list(heard.values())
    size = max(len(said), len(found))
    said += [()] * (size - len(said))
    found += [()] * (size - len(found))
    costs = [[count_word_errors(one, other) for other in found] for one in said]
    least = min(sum(costs[i][j] for i, j in enumerate(order)) for order in permutations(range(size)))
    return least, sum(len(words) for words in said)


def count_word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Least insertions, deletions and substitutions from one to the other."""
    row = list(range(len(heard) + 1))
    for count, word in enumerate(said, 1):
        before, row[0] = row[0], count
        for at, other in enumerate(heard, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != other))
    return row[-1]


def _at(seconds: float) -> int:
    return round(seconds / _GRAIN_S)


def _mask(spans: Spans, seconds: float) -> NDArray[np.bool_]:
    mask = np.zeros(_at(seconds) + 1, bool)
    for start, end in spans:
        mask[_at(start) : _at(end)] = True
    return mask


def _grid(people: Mapping[str, Spans], seconds: float) -> NDArray[np.bool_]:
    """[people, hundredths of a second]."""
    if not people:
        return np.zeros((0, _at(seconds) + 1), bool)
    return np.stack([_mask(spans, seconds) for spans in people.values()])
