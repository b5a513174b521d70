"""What every corpus is read into: lines said by speakers, in dialogues."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from core_models.labels import LabelSet


@dataclass(frozen=True)
class Line:
    """One utterance of a corpus: whatever of words, sound and picture its owner has of it.

    `label` is a name in the corpus's own label set, None where the utterance has no label that the set
    knows (it stays as context). Times are milliseconds on the clock of the dialogue's recording.
    """

    id: str
    speaker: str
    text: str | None = None
    label: str | None = None
    audio: Path | None = None
    image: Path | None = None
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True)
class Turn:
    """A line and the lines before it in its dialogue, oldest first."""

    line: Line
    before: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """Lines in the corpus's own order.

    `group` names what must not be torn apart by an honest split beyond the dialogue itself: an episode,
    a session, an actor.
    """

    id: str
    lines: tuple[Line, ...]
    group: str | None = None


@dataclass(frozen=True)
class Corpus:
    """Dialogues whose labels are names of `labels`; `label_map` names the map from the owner's labels."""

    name: str
    labels: LabelSet
    dialogues: tuple[Dialogue, ...]
    label_map: str = "own"

    def lines(self) -> Iterator[Line]:
        """Every line of every dialogue, in order."""
        for dialogue in self.dialogues:
            yield from dialogue.lines

    def turns(self) -> Iterator[Turn]:
        """Every line with those before it."""
        for dialogue in self.dialogues:
            for index, line in enumerate(dialogue.lines):
                yield Turn(line, dialogue.lines[:index])

    def split(self, share: float, seed: int) -> tuple[Corpus, Corpus]:
        """(rest, held out): whole dialogues drawn by `seed` until they hold `share` of all lines.

        Dialogues are drawn one by one in an order that depends on their ids and the seed alone, so the
        same dialogues are held out by every program that trains on this corpus.
        """
        order = sorted(self.dialogues, key=lambda dialogue: dialogue.id)
        random.Random(seed).shuffle(order)
        wanted = share * sum(len(dialogue.lines) for dialogue in order)
        held: set[str] = set()
        count = 0
        for dialogue in order:
            if count >= wanted:
                break
            held.add(dialogue.id)
            count += len(dialogue.lines)
        return (
            replace(self, dialogues=tuple(d for d in self.dialogues if d.id not in held)),
            replace(self, dialogues=tuple(d for d in self.dialogues if d.id in held)),
        )
