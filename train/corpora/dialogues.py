"""The data model of corpora: utterances of speakers, in dialogues."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core_models.feature_spec import FeatureSpec
from core_models.labels import LabelSet, label_map

# (start, end) in milliseconds of a file.
Span = tuple[int, int]


class Recorded(NamedTuple):
    """A feature that a live session kept of an utterance: what it is, and float32 [dimension]."""

    spec: FeatureSpec
    vector: NDArray[np.float32]


class Affect(NamedTuple):
    """What raters said of an utterance in numbers, each from 0 to 1."""

    valence: float
    """0 unpleasant, 1 pleasant."""
    arousal: float
    """0 calm, 1 active."""
    dominance: float
    """0 submissive, 1 dominant."""


@dataclass(frozen=True)
class Utterance:
    """One utterance of a corpus: whatever of words, sound and picture its owner has of it.

    `label` is a name in the corpus's own label set, None where the utterance has no label that the set
    knows (it stays as context). Times are milliseconds on the clock of the dialogue's recording, which says
    who spoke when; the part of a file that is this utterance is its `audio_span` or `video_span`, None for all of it.
    """

    id: str
    speaker: str
    text: str | None = None
    label: str | None = None
    candidates: tuple[str, ...] = ()
    """All labels that its owner gives it, where they are several: a partial label, of which `label` is none."""
    affect: Affect | None = None
    audio: Path | None = None
    """A file with sound; a film is one too."""
    image: Path | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    audio_span: Span | None = None
    video: Path | None = None
    video_span: Span | None = None
    video_half: Literal["left", "right"] | None = None
    """Which half of the picture shows the speaker, where two people stand side by side in it."""
    recorded: Mapping[str, Recorded] = field(default_factory=dict, compare=False)
    """Modality -> what a live run kept of it, in place of the sound or picture, which is not kept."""


@dataclass(frozen=True)
class UtteranceInContext:
    """An utterance and the utterances before it in its dialogue, oldest first."""

    utterance: Utterance
    context: tuple[Utterance, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """Utterances in the corpus's own order.

    `group` names what must not be torn apart by an honest split beyond the dialogue itself: an episode,
    a session, an actor. `style` is "scripted" or "improvised" where the owner says so.
    """

    id: str
    utterances: tuple[Utterance, ...]
    group: str | None = None
    style: str | None = None


@dataclass(frozen=True)
class Corpus:
    """Dialogues whose labels are names of `labels`; `label_map` names the map from the owner's labels."""

    name: str
    labels: LabelSet
    dialogues: tuple[Dialogue, ...]
    label_map: str = "own"
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Reason -> how many utterances of the owner's files its reader left out."""
    numbered: bool = False
    """Speakers count as numbers within a dialogue where the corpus's own ids are asked for: its files name people, too
    many for a one-hot vector (MELD, whose community files have nine places)."""

    def utterances(self) -> Iterator[Utterance]:
        """Every utterance of every dialogue, in order."""
        for dialogue in self.dialogues:
            yield from dialogue.utterances

    def in_context(self) -> Iterator[UtteranceInContext]:
        """Every utterance with those before it."""
        for dialogue in self.dialogues:
            for index, utterance in enumerate(dialogue.utterances):
                yield UtteranceInContext(utterance, dialogue.utterances[:index])

    def where(self, keep: Callable[[Dialogue], bool]) -> Corpus:
        """The corpus of those dialogues alone of which `keep` is true."""
        return replace(self, dialogues=tuple(dialogue for dialogue in self.dialogues if keep(dialogue)))

    def split(self, share: float, seed: int) -> tuple[Corpus, Corpus]:
        """(rest, held out): whole dialogues drawn by `seed` until they hold `share` of all utterances.

        Dialogues are drawn one by one in an order that depends on their ids and the seed alone, so the
        same dialogues are held out by every program that trains on this corpus.
        """
        order = sorted(self.dialogues, key=lambda dialogue: dialogue.id)
        random.Random(seed).shuffle(order)
        wanted = share * sum(len(dialogue.utterances) for dialogue in order)
        held: set[str] = set()
        count = 0
        for dialogue in order:
            if count >= wanted:
                break
            held.add(dialogue.id)
            count += len(dialogue.utterances)
        return self.where(lambda dialogue: dialogue.id not in held), self.where(lambda dialogue: dialogue.id in held)


def relabel(corpus: Corpus, labels: LabelSet) -> tuple[Corpus, dict[str, int], str]:
    """(`corpus` labelled by `labels`, how many utterances of each label have no twin there, name of the map).

    Utterances without a twin stay as context, their label None; of several candidates those with a twin stay, and
    one that stays alone is the label. `label_map` of the new corpus is the name of the map. Raises UsageError where
    there is no map into `labels`.
    """
    mapped = label_map(corpus.labels, labels)
    if corpus.labels == labels:
        return corpus, {}, corpus.label_map
    name = mapped.describe() if corpus.label_map == "own" else f"{corpus.label_map}; {mapped.describe()}"
    counts = Counter(utterance.label for utterance in corpus.utterances())

    def renamed(utterance: Utterance) -> Utterance:
        found = tuple(dict.fromkeys(mapped.mapping[one] for one in utterance.candidates if one in mapped.mapping))
        if len(found) == 1:
            return replace(utterance, label=found[0], candidates=())
        return replace(utterance, label=mapped.mapping.get(utterance.label or ""), candidates=found)

    dialogues = tuple(
        replace(d, utterances=tuple(renamed(utterance) for utterance in d.utterances)) for d in corpus.dialogues
    )
    left_out = {label: counts[label] for label in mapped.unmapped if counts[label]}
    several = [set(utterance.candidates) for utterance in corpus.utterances() if utterance.candidates]
    if twinless := sum(not candidates & set(mapped.mapping) for candidates in several):
        left_out["any of several labels"] = twinless
    return replace(corpus, labels=labels, dialogues=dialogues, label_map=name), left_out, name


def by_end(dialogue: Dialogue) -> Dialogue:
    """The dialogue with its utterances by their end, the order in which a live run commits them (contract 6).

    An utterance without times ends with the one before it.
    """
    ends = accumulate(
        (utterance.end_ms for utterance in dialogue.utterances),
        lambda before, end: before if end is None else end,
        initial=0,
    )
    ordered = sorted(zip(list(ends)[1:], range(len(dialogue.utterances)), strict=True), key=lambda item: item[0] or 0)
    return replace(dialogue, utterances=tuple(dialogue.utterances[row] for _, row in ordered))


def groups_of(corpus: Corpus) -> set[str]:
    """Every group of the corpus: episodes, sessions, actors."""
    return {dialogue.group for dialogue in corpus.dialogues if dialogue.group is not None}


def without_groups(corpus: Corpus, groups: Collection[str]) -> Corpus:
    """`corpus` without the dialogues of `groups`: what is evaluated must not be trained on under another name.

    EmoryNLP and MELD are both Friends and name their groups alike (`s01e15`).
    """
    return corpus.where(lambda dialogue: dialogue.group not in groups)
