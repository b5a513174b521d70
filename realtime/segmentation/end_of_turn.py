"""Whether a turn has ended, by its words: how long to wait in the silence behind them."""

from __future__ import annotations

import re

_FINAL = (".", "?", "!", "。", "？", "！", "؟")
_TRAILING = ("...", "…", ",", "-", "–", ":", ";")
# English words that seldom end a sentence; Whisper puts a full stop behind them all the same.
_UNFINISHED = frozenset(
    "a an and are as at because but by can could for from has have i if in is its like my of on or our so than "
    "that the their then to uh um was were when which while who will with would your".split()
)


def end_of_turn(text: str, language: str) -> bool | None:
    """True after a finished sentence, False after one that will go on, None where the words do not tell."""
    text = text.strip()
    words = re.findall(r"[\w']+", text.lower())
    if text.endswith(_TRAILING) or (language == "en" and words and words[-1] in _UNFINISHED):
        return False
    return True if text.endswith(_FINAL) else None
