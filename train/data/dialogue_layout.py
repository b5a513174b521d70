"""How a corpus's dialogues are laid out as input: order of utterances, speaker slots, unlabelled utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from train.corpora.dialogues import Corpus, Dialogue, Utterance, by_end


@dataclass(frozen=True)
class DialogueLayout:
    """How a corpus's dialogues are read, in training and evaluation alike. A checkpoint records it."""

    order: Literal["end", "corpus"] = "end"
    """By the end of each utterance, the order in which a live run commits them, or the corpus's own (the papers)."""
    speakers: Literal["slots", "corpus"] = "slots"
    """Slots by first appearance, permuted in training, or the corpus's own ids (the papers; IEMOCAP's are F and M;
    MELD's are numbers within the dialogue, by first appearance, never permuted)."""
    unlabelled: Literal["context", "drop"] = "context"
    """Utterances without a label of the set stay as context, uncounted, or are dropped (the papers)."""
    names: tuple[str, ...] = ()
    """Under `speakers: corpus`, who has slot 0, 1, ...; whoever is not here shares the last slot. Without any, ids are
    numbers within the dialogue."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> DialogueLayout:
        """The reading of a checkpoint's training record; that of the first checkpoints, which recorded none."""
        return msgspec.convert(record.get("reading", {"order": "corpus"}), cls)

    def arrange(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue's utterances as they are read."""
        arranged = by_end(dialogue) if self.order == "end" else dialogue
        if self.unlabelled == "drop":
            arranged = replace(
                arranged,
                utterances=tuple(utterance for utterance in arranged.utterances if utterance.label is not None),
            )
        return arranged

    def arrange_corpus(self, corpus: Corpus) -> Corpus:
        """The corpus with every dialogue as it is read; dialogues left without an utterance are gone."""
        arranged = (self.arrange(dialogue) for dialogue in corpus.dialogues)
        return replace(corpus, dialogues=tuple(dialogue for dialogue in arranged if dialogue.utterances))

    def slots(self, utterances: Sequence[Utterance], count: int) -> list[int]:
        """The slot of each utterance's speaker, of `count` slots."""
        if self.speakers == "corpus" and self.names:
            known = {name: min(slot, count - 1) for slot, name in enumerate(self.names)}
            return [known.get(utterance.speaker, count - 1) for utterance in utterances]
        seen: dict[str, int] = {}
        return [min(seen.setdefault(utterance.speaker, len(seen)), count - 1) for utterance in utterances]
