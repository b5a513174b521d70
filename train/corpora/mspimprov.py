"""MSP-IMPROV (Busso et al., 2017): turns of pairs of actors, as a table of labels and words beside voice features."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import MSPIMPROV5
from train.corpora.dialogues import Affect, Corpus, Dialogue, Utterance
from train.corpora.text_files import parse_csv, read_text_file

COLUMNS = (
    *("utt_id", "session", "dialogue", "speaker", "scenario", "turn"),
    *("category", "valence", "arousal", "dominance", "transcript"),
)

_CATEGORIES = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness", "O": "other", "X": None}
# Scenarios in which the actor says the scene's given sentence: its words tell nothing of the emotion.
_READ = {"R", "T"}
# The recogniser put a full stop behind its own: ".." right before a word ends one sentence and begins another.
_RUN_ON = re.compile(r"\.\.(?=\S)")


@dataclass(frozen=True)
class _Row:
    """A row of turns.csv, placed where it stands in its dialogue."""

    place: tuple[bool, int, str]
    utterance: Utterance
    session: int
    scripted: bool


def read_mspimprov(root: Path, sessions: Collection[int] | None = None) -> Corpus:
    """The dialogues of `sessions` (all where None), labels of MSPIMPROV5; turns without agreement have none.

    `root` holds turns.csv, beside features.npz with the 47 voice numbers by the same ids. There is no sound. A
    dialogue's group is its session; its style is "scripted" where a given sentence is read (R) and "improvised"
    otherwise. Actors' turns are numbered by themselves: they are put in turn, the actor whose name comes first
    beginning, and the given sentence (T) at the end. The corpus rates arousal backwards, from active (1) to calm (5);
    `affect` runs from 0 calm to 1 active. Raises UsageError.
    """
    path = root / "turns.csv"
    found: dict[str, list[_Row]] = defaultdict(list)
    for number, row in enumerate(parse_csv(read_text_file(path, "MSP-IMPROV"), path, COLUMNS, "MSP-IMPROV"), start=2):
        try:
            session, read = int(row["session"]), row["scenario"] in _READ
            if sessions is not None and session not in sessions:
                continue
            found[row["dialogue"]].append(
                _Row((read, int(row["turn"]), row["speaker"]), _read_utterance(row), session, row["scenario"] == "R")
            )
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"{path} line {number} is not a turn of MSP-IMPROV ({error}): use its own table."
            ) from None
    if not found:
        raise UsageError(f"{path} holds no turns of sessions {sorted(sessions or ())}: choose others by --subset.")
    dialogues = []
    for name, rows in found.items():
        rows.sort(key=lambda one: one.place)
        style = "scripted" if all(row.scripted for row in rows) else "improvised"
        dialogues.append(Dialogue(name, tuple(row.utterance for row in rows), str(rows[0].session), style))
    return Corpus("mspimprov", MSPIMPROV5, tuple(dialogues))


def transcript(text: str) -> str | None:
    """The recogniser's words: a full stop that was put behind its own punctuation goes, sentences are set apart."""
    text = _RUN_ON.sub(". ", text.strip().removesuffix("."))
    return text.strip() or None


def _read_utterance(row: dict[str, str]) -> Utterance:
    valence, arousal, dominance = (float(row[name]) for name in ("valence", "arousal", "dominance"))
    affect = Affect((valence - 1) / 4, (5 - arousal) / 4, (dominance - 1) / 4)
    label = _CATEGORIES[row["category"]]
    return Utterance(row["utt_id"], row["speaker"], transcript(row["transcript"]), label, affect=affect)
