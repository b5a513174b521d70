"""XED (Öhman et al., 2020): lines of film subtitles with Plutchik's eight emotions, in English and by projection."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import PLUTCHIK9
from train.corpora.detokenization import detokenize, fill_masks, normalize
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.text_files import read_text_file

SPLITS = ("train", "dev", "all")

_CODES = ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust", "neutral")  # 1 to 9
_LABELS = re.compile(r"\s*[1-9](?:\s*,\s*[1-9])*\s*")
# One in so many lines, or blocks of lines.
_DEV = 10
# Projections stand nearly in the order of their films, whose lines resemble each other: a block is about a third of
# the lines that XED has of one film.
_BLOCK = 40


def read_xed(root: Path, split: str = "all", language: str = "en") -> Corpus:
    """The lines of one language, each a dialogue of one utterance, labels of PLUTCHIK9, several as candidates.

    `root` is the owner's folder: AnnotatedData/en-annotated.tsv and neu_en.txt, Projections/LANG-projections.tsv, also
    gzipped. English text is detokenised and its masks are filled. XED has no splits; `dev` is a tenth of it, in English
    by a digest of the words, so that the same words are on one side, otherwise in blocks of neighbouring lines; the
    films of English lines are not known. Rows that are not text, tab and labels are left out and counted. Raises
    UsageError.
    """
    if split not in SPLITS:
        raise UsageError(f"XED has no split {split!r}: use one of {', '.join(SPLITS)}.")
    if language == "en":
        annotated = _read_rows(root / "AnnotatedData" / "en-annotated.tsv")
        rows = [("annotated", number, row) for number, row in annotated]
        for number, row in _read_rows(root / "AnnotatedData" / "neu_en.txt"):
            code, _, text = row.partition("\t")
            rows.append(("neutral", number, f"{text.strip()}\t{code}"))
    else:
        rows = [("projected", n, row) for n, row in _read_rows(root / "Projections" / f"{language}-projections.tsv")]
    dialogues = []
    broken = 0
    for part, number, row in rows:
        fields = row.split("\t")
        text = fields[0].strip()
        if len(fields) != 2 or not text or text == "nan" or not _LABELS.fullmatch(fields[1]):
            broken += 1
            continue
        if language == "en":
            text = fill_masks(detokenize(text))
            held = int(hashlib.sha256(normalize(text).encode()).hexdigest()[:8], 16) % _DEV == 0
        else:
            held = number // _BLOCK % _DEV == 0
        if split != "all" and held != (split == "dev"):
            continue
        labels = tuple(sorted({_CODES[int(code) - 1] for code in fields[1].split(",")}))
        one = labels[0] if len(labels) == 1 else None
        utterance = Utterance(f"{language}/{part}/{number}", "film", text, one, candidates=() if one else labels)
        dialogues.append(Dialogue(utterance.id, (utterance,)))
    if not dialogues:
        raise UsageError(f"{root} holds no lines of XED in {language!r}: set the corpus folder to XED's own.")
    return Corpus("xed", PLUTCHIK9, tuple(dialogues), left_out={"broken row": broken} if broken else {})


def _read_rows(path: Path) -> list[tuple[int, str]]:
    """(number from 1, row) of each row that is not empty."""
    rows = read_text_file(path, "XED").split("\n")
    return [(number, row.strip("\r")) for number, row in enumerate(rows, start=1) if row.strip()]
