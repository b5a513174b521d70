"""Labelled lines as tokens: what a text encoder is trained on, drawn, disturbed and put into batches."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from core_models.features.text.sentence_encoder import Encoder, PastTurn, Row
from core_models.labels import LabelSet
from train.corpora.dialogues import Corpus
from train.recipes.text.asr_errors import WordErrors


@dataclass(frozen=True)
class TextLine:
    """A labelled line: its words, what was said before it, and its class."""

    text: str
    past: tuple[PastTurn, ...]
    label: int


@dataclass(frozen=True)
class Lines:
    """Lines of one corpus and the label set that their classes are of."""

    labels: LabelSet
    lines: tuple[TextLine, ...]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def classes(self) -> list[int]:
        """The class of each line."""
        return [line.label for line in self.lines]

    def rows(self, encoder: Encoder, max_tokens: int, context: int) -> list[Row]:
        """Their tokens, with up to `context` tokens of the past."""
        pasts = [line.past for line in self.lines]
        return encoder.tokenize([line.text for line in self.lines], max_tokens, pasts, context)

    def with_errors(self, errors: WordErrors, seed: object) -> Lines:
        """The same lines as a recogniser might have written them, past and present."""
        chance = random.Random(repr(seed))
        return replace(
            self,
            lines=tuple(
                TextLine(
                    errors(line.text, chance),
                    tuple(PastTurn(own, errors(text, chance)) for own, text in line.past),
                    line.label,
                )
                for line in self.lines
            ),
        )


def labelled_lines(corpus: Corpus, reach: int) -> Lines:
    """The labelled lines of `corpus` that have words, each with up to `reach` turns before it."""
    found = []
    for dialogue in corpus.dialogues:
        for index, line in enumerate(dialogue.utterances):
            if not line.text or line.label is None:
                continue
            before = dialogue.utterances[max(0, index - reach) : index]
            past = tuple(PastTurn(turn.speaker == line.speaker, turn.text) for turn in before if turn.text)
            found.append(TextLine(line.text, past, corpus.labels.index(line.label)))
    return Lines(corpus.labels, tuple(found))


def draw_balanced(lines: Lines, limit: int | None, seed: int) -> Lines:
    """At most `limit` lines: an equal share for each class, what a rare class leaves going to the others."""
    if limit is None or len(lines) <= limit:
        return lines
    members: dict[int, list[int]] = {}
    for index, label in enumerate(lines.classes):
        members.setdefault(label, []).append(index)
    chosen: list[int] = []
    # Rare classes first: what they cannot fill of their share is still there for the others.
    rarest_first = sorted(members.values(), key=len)
    for position, indices in enumerate(rarest_first):
        share = (limit - len(chosen)) // (len(rarest_first) - position)
        chosen += random.Random(seed).sample(indices, min(share, len(indices)))
    return replace(lines, lines=tuple(lines.lines[index] for index in sorted(chosen)))
