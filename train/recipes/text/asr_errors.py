"""Words as a recogniser gets them: errors at a measured rate, and marks that it seldom writes.

A text encoder that has read scripts alone leans on what a transcript does not have: exclamation marks, dashes,
"..." and spelt laughter. `WordErrors` takes them away from a share of the lines, and with them words at the rate at
which the recogniser loses or mistakes them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

# Whisper writes commas, full stops and question marks; of the others next to nothing.
_MARKS = re.compile(r"[!;:\"()*_~\[\]-]+|\.{2,}")


@dataclass(frozen=True)
class WordErrors:
    """Disturbs a share of the lines; the same line is disturbed anew at each call."""

    vocabulary: tuple[str, ...]
    """Words that a mistaken one is replaced by, each as often as it occurs."""
    share: float = 0.5
    """Share of lines that are disturbed."""
    rate: float = 0.08
    """Word error rate of a disturbed line: half substitutions, a third deletions,
    the rest insertions."""

    def __call__(self, text: str, chance: random.Random) -> str:
        """`text`, or what a recogniser might have written instead; never empty where `text` was not."""
        if chance.random() >= self.share:
            return text
        plain = _MARKS.sub(_spoken, text)
        words = []
        for word in plain.split():
            kind = chance.random() / self.rate if self.rate else 1.0
            if kind < 1 / 2:
                words.append(chance.choice(self.vocabulary))
            elif kind >= 5 / 6:
                words.append(word)
            if 5 / 6 <= kind < 1:
                words.append(chance.choice(self.vocabulary))
        # A line of one word may lose it, and an encoder cannot read nothing.
        return " ".join(words) or text


def _spoken(match: re.Match[str]) -> str:
    return "." if match[0][0] in "!." else " "


def vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """All words of `texts`, with repetitions, in order."""
    return tuple(word for text in texts for word in text.split())
