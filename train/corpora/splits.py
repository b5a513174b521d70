"""Honest partitions of a corpus: what is trained on, what is tested on, and what a reader must know of the two."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from core_models.errors import UsageError
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.iemocap import TEST_SESSIONS

# `standard`: IEMOCAP's sessions 1 to 4 against 5 (120 and 31 dialogues); `loso`: one group (session, episode, actor)
# left out at a time; `lopo`: one person at a time; `random`: utterances drawn at random (TDFNet); `holdout`: a random
# share of dialogues (CMATH).
Plan = Literal["standard", "loso", "lopo", "random", "holdout"]

SHARED = "dialogues are shared: lines of one dialogue are in training and in test"


@dataclass(frozen=True)
class Fold:
    """One way to divide a corpus. In `train` and `test` an utterance without a label is there as context alone."""

    name: str
    train: Corpus
    test: Corpus
    stamp: str
    """What every result of this fold must say; empty where training and test share nothing."""


def make_folds(corpus: Corpus, plan: Plan, *, count: int = 10, share: float = 0.2, seed: int = 0) -> tuple[Fold, ...]:
    """The folds of `plan` over `corpus`; `count` is that of `random`, `share` of `holdout`, `seed` of both.

    Raises UsageError where the corpus is not made for the plan.
    """
    if plan == "standard":
        return (_split_standard(corpus),)
    if plan == "loso":
        return _leave_out_groups(corpus)
    if plan == "lopo":
        return _leave_out_people(corpus)
    if plan == "random":
        return _deal_at_random(corpus, count, seed)
    train, test = corpus.split(share, seed)
    return (Fold(f"{share:.0%} of dialogues, seed {seed}", train, test, _describe_shared_people(train, test)),)


def validation_split(corpus: Corpus, share: float, seed: int) -> tuple[Corpus, Corpus]:
    """(training, validation): whole dialogues, no speaker in both, about `share` of the utterances held out.

    Speakers who meet in a dialogue stay together, with all whom they meet elsewhere (an IEMOCAP session, a
    RAVDESS actor), so as many such circles are held out as `share` asks for, one at least. Where one circle holds
    more than half of the utterances (a show with its cast, a corpus that names no speakers), dialogues alone are apart.
    """
    circles = _connected_speakers(corpus)
    sizes = Counter[str]()
    for dialogue in corpus.dialogues:
        sizes[circles[dialogue.id]] += len(dialogue.utterances)
    total = sizes.total()
    # Held out whole it would leave less to learn from than to choose by.
    if not sizes or max(sizes.values()) * 2 > total:
        return corpus.split(share, seed)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    held: set[str] = set()
    for circle in order:
        if held and sum(sizes[one] for one in held) >= share * total:
            break
        held.add(circle)
    return corpus.where(lambda d: circles[d.id] not in held), corpus.where(lambda d: circles[d.id] in held)


def person_of(corpus: Corpus, dialogue: Dialogue, utterance: Utterance) -> str:
    """Who speaks, by a name that is theirs throughout the corpus (IEMOCAP's M is another man in each session)."""
    return f"session {dialogue.group} {utterance.speaker}" if corpus.name == "iemocap" else utterance.speaker


def _split_standard(corpus: Corpus) -> Fold:
    if corpus.name != "iemocap":
        raise UsageError(f"{corpus.name} comes with its own splits: choose them by --split, or another plan.")
    last = {str(number) for number in TEST_SESSIONS}
    test = corpus.where(lambda d: d.group in last)
    if not test.dialogues or len(test.dialogues) == len(corpus.dialogues):
        raise UsageError("The standard split of IEMOCAP needs session 5 and the four before it: fetch all five.")
    return Fold("sessions 1-4 against 5", corpus.where(lambda d: d.group not in last), test, "")


def _leave_out_groups(corpus: Corpus) -> tuple[Fold, ...]:
    groups = sorted({d.group for d in corpus.dialogues if d.group is not None})
    if len(groups) < 2 or any(d.group is None for d in corpus.dialogues):
        raise UsageError(f"{corpus.name} is not in groups of which one could be left out: choose another plan.")

    def fold_without(group: str) -> Fold:
        train, test = corpus.where(lambda d: d.group != group), corpus.where(lambda d: d.group == group)
        return Fold(f"without {group}", train, test, _describe_shared_people(train, test))

    return tuple(fold_without(group) for group in groups)


def _leave_out_people(corpus: Corpus) -> tuple[Fold, ...]:
    """Training has nothing of the person; the test keeps the other speakers as context."""
    people = sorted({person_of(corpus, d, utterance) for d in corpus.dialogues for utterance in d.utterances})
    if len(people) < 2:
        raise UsageError(f"{corpus.name} names fewer than two people: choose another plan.")

    def fold_without(one: str) -> Fold:
        def spoken_by_one(dialogue: Dialogue, utterance: Utterance) -> bool:
            return person_of(corpus, dialogue, utterance) == one

        train = _map_utterances(corpus, lambda d, utterance: None if spoken_by_one(d, utterance) else utterance)
        there = corpus.where(lambda d: any(spoken_by_one(d, utterance) for utterance in d.utterances))
        test = _map_utterances(
            there, lambda d, utterance: utterance if spoken_by_one(d, utterance) else replace(utterance, label=None)
        )
        partners = any(not spoken_by_one(d, utterance) for d in there.dialogues for utterance in d.utterances)
        stamp = "training holds the other side of the dialogues that are tested on" if partners else ""
        return Fold(f"without {one}", train, test, stamp)

    return tuple(fold_without(one) for one in people)


def _deal_at_random(corpus: Corpus, count: int, seed: int) -> tuple[Fold, ...]:
    """Labelled utterances dealt out to `count` folds; those of the other side are context without a label."""
    ids = sorted(utterance.id for utterance in corpus.utterances() if utterance.label is not None)
    if not 2 <= count <= len(ids):
        raise UsageError(
            f"{len(ids)} labelled utterances cannot be dealt out to {count} folds: choose from 2 to {len(ids)}."
        )
    random.Random(seed).shuffle(ids)

    def fold_of(number: int) -> Fold:
        tested = set(ids[number::count])
        train = _map_utterances(
            corpus, lambda _, utterance: replace(utterance, label=None) if utterance.id in tested else utterance
        )
        test = _map_utterances(
            corpus, lambda _, utterance: utterance if utterance.id in tested else replace(utterance, label=None)
        )
        train, test = (
            part.where(lambda d: any(utterance.label for utterance in d.utterances)) for part in (train, test)
        )
        shared = {d.id for d in train.dialogues} & {d.id for d in test.dialogues}
        return Fold(f"{number + 1} of {count}", train, test, SHARED if shared else _describe_shared_people(train, test))

    return tuple(fold_of(number) for number in range(count))


def _map_utterances(corpus: Corpus, change: Callable[[Dialogue, Utterance], Utterance | None]) -> Corpus:
    """The corpus with each utterance as `change` gives it, without those that become None and dialogues left empty."""
    dialogues = []
    for dialogue in corpus.dialogues:
        utterances = tuple(new for utterance in dialogue.utterances if (new := change(dialogue, utterance)) is not None)
        if utterances:
            dialogues.append(replace(dialogue, utterances=utterances))
    return replace(corpus, dialogues=tuple(dialogues))


def _describe_shared_people(train: Corpus, test: Corpus) -> str:
    here, there = (
        {person_of(part, d, utterance) for d in part.dialogues for utterance in d.utterances} for part in (train, test)
    )
    return f"{len(here & there)} of {len(there)} speakers of the test are in training" if here & there else ""


def _connected_speakers(corpus: Corpus) -> dict[str, str]:
    """Dialogue id -> one name for all dialogues whose speakers meet, directly or through others."""
    above: dict[str, str] = {}

    def root_of(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for dialogue in corpus.dialogues:
        names = [root_of(person_of(corpus, dialogue, utterance)) for utterance in dialogue.utterances]
        for name in names:
            above[root_of(name)] = min(names)
    return {d.id: root_of(person_of(corpus, d, d.utterances[0])) for d in corpus.dialogues}
