"""Where a person who speaks on without a pause may be interrupted: after a sentence, else after a clause or a word."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core_models.features.audio.whisper import SAMPLE_RATE, Whisper, WordTime

_SENTENCE = (".", "?", "!", "。", "？", "！", "؟")
_CLAUSE = (",", ";", ":", "–", "—", "、", "،")
_NO_END = ("...", "…", "mr.", "mrs.", "ms.", "dr.")
_LEAST_S = 2.0
"""Seconds that the part before the cut has: a voice says little of an emotion in less."""
_BEHIND_S = 0.3
"""Seconds that must follow: Whisper puts a full stop behind whatever a stretch ends with."""
_QUIET = SAMPLE_RATE // 33  # 30 ms, as short as a pause between words is
_AROUND_S = 0.15  # by so much the times of words are off


class SentenceEnds:
    """Finds where to cut, with the words and their times of one pass through the recogniser."""

    def __init__(self, whisper: Whisper, language: str = "auto") -> None:
        self._whisper = whisper
        self._language = None if language == "auto" else language

    def find(self, samples: NDArray[np.float32], any_word: bool) -> int | None:
        """The sample after which to cut float32 [n] at 16 kHz, of somebody who speaks on; None where none will do.

        The latest end of a sentence; with `any_word` otherwise that of a clause, or the widest gap between words.
        """
        encoded = self._whisper.encode(samples)
        language = self._language or next(iter(self._whisper.language_probabilities(encoded)))
        words = self._whisper.align_words(encoded, self._whisper.decode(encoded, language))
        gaps = [
            (one, other)
            for one, other in pairwise(words)
            if one.end_s >= _LEAST_S and other.start_s <= encoded.seconds - _BEHIND_S
        ]
        for ending in (_SENTENCE, _CLAUSE):
            found = [gap for gap in gaps if _ends_with(gap[0].word, ending)]
            if found:
                return _quietest(samples, *found[-1])
            if not any_word:
                return None
        if not gaps:
            return None
        return _quietest(samples, *max(gaps, key=lambda gap: gap[1].start_s - gap[0].end_s))


def _ends_with(word: str, ending: tuple[str, ...]) -> bool:
    word = word.strip().lower()
    return word.endswith(ending) and not word.endswith(_NO_END)


def _quietest(samples: NDArray[np.float32], before: WordTime, after: WordTime) -> int:
    """The quietest sample about the edge of two words."""
    start = max(0, round((before.end_s - _AROUND_S) * SAMPLE_RATE))
    end = min(len(samples), round((after.start_s + _AROUND_S) * SAMPLE_RATE))
    sums = np.concatenate([[0.0], np.cumsum(samples[start:end].astype(np.float64) ** 2)])
    if len(sums) <= _QUIET:
        return (start + end) // 2
    return start + int(np.argmin(sums[_QUIET:] - sums[:-_QUIET])) + _QUIET // 2
