"""Corpus text as a transcript writes it: contractions joined, blanks before marks taken out, masked names filled.

A sentence encoder tells corpora apart by such traces of their making (MiniLM does not see the blanks, but every split
contraction and every mask) and then learns a corpus's class frequencies in place of emotion.
"""

from __future__ import annotations

import hashlib
import re

# DailyDialog sets the apostrophe apart ("it ’ s"); corpora print it in five forms.
_APOSTROPHE = re.compile(r"\s*[’‘´`']\s+(?=(?:s|m|t|d|re|ve|ll)\b)", re.IGNORECASE)
# The Penn Treebank's tokeniser splits "don't" into "do n't", of these verbs alone; so "n't" behind another word stays.
_NOT = re.compile(r"\b(ca|do|does|did|is|are|was|were|have|has|had|wo|would|could|should|must|need|ai) n't\b", re.I)
_SUFFIX = re.compile(r"(?<=\w) (?='(?:s|m|d|re|ve|ll)\b)", re.IGNORECASE)
# The same tokeniser splits these six colloquial words, of which only `_WORDS` are joined again: "got me" stays two.
_JOINED = re.compile(r"\b(gon|wan|got|gim|lem|can) (na|ta|me|not)\b", re.IGNORECASE)
_WORDS = {"gonna", "wanna", "gotta", "gimme", "lemme", "cannot"}
_MARKS = re.compile(r"\s+(?=(?:[.,?!;:%)]|\.\.\.)(?:\s|$|[.,?!;:\"]))")
_ELLIPSIS = re.compile(r"\.(?: \.){2,}")
_MASK = re.compile(r"\[(PERSON|NAME|LOCATION|RELIGION)\]")

# Common names of both sexes and well-known places. One mask is filled alike on every machine, and no name goes with
# an emotion: which one is chosen depends on the digest of the line.
_FILLINGS = {
    "PERSON": (
        *("Alex", "Anna", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry", "Julia"),
        *("Kevin", "Laura", "Mark", "Nina", "Oscar", "Paula", "Robert", "Sarah", "Thomas", "Victor"),
    ),
    "LOCATION": ("London", "Boston", "Berlin", "Chicago", "Texas", "Paris", "Madrid", "Dublin"),
    "RELIGION": ("Christian", "Muslim", "Jewish", "Buddhist"),
}
_FILLINGS["NAME"] = _FILLINGS["PERSON"]


def detokenize(text: str) -> str:
    """`text` without a tokeniser's blanks: "do n't", "it ’ s", "gon na", "Well , no ." become words and marks."""
    text = _APOSTROPHE.sub("'", _ELLIPSIS.sub("...", text))
    text = _SUFFIX.sub("", _NOT.sub(r"\1n't", text))
    text = _JOINED.sub(lambda match: _join_marks(match[0]), text)
    return " ".join(_MARKS.sub("", text).split())


def fill_masks(text: str) -> str:
    """`text` with a name, place or faith where [PERSON], [NAME], [LOCATION] or [RELIGION] stands, on every machine the
    same one."""
    digest = hashlib.sha256(text.encode()).digest()
    position = 0

    def fill_match(match: re.Match[str]) -> str:
        nonlocal position
        names = _FILLINGS[match[1]]
        position += 1
        return names[(digest[0] + 7 * position) % len(names)]

    return _MASK.sub(fill_match, text)


def normalize(text: str) -> str:
    """Lower case letters and digits with single blanks between words: what makes two lines the same line."""
    return " ".join(re.findall(r"[^\W_]+", text.lower().replace("’", "'").replace("'", "")))


def _join_marks(words: str) -> str:
    joined = words.replace(" ", "")
    return joined if joined.lower() in _WORDS else words
