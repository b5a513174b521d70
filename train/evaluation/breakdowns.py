"""Predictions apart: by emotional shift, length, style, modalities at hand, and modalities gone missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from core_models.feature_spec import MODALITIES
from train.corpora.dialogues import Corpus, Dialogue
from train.data.dialogue_tensors import TensorDialogue, modality_patterns
from train.evaluation.predictions import Predictions
from train.evaluation.results import Breakdown, Part

# The rates of GCNet's figures, 0.0 to 0.7.
RATES = tuple(round(0.1 * step, 1) for step in range(8))

SHIFT = (
    "SDT Table V: with shift where the same speaker's labelled utterance before in the dialogue has another emotion, "
    "without where it has the same; each speaker's first utterance is in neither"
)
LENGTH = "CMATH Fig. 5: dialogues by the number of their labelled utterances"
STYLE = "IEMOCAP's scripted dialogues repeat their lines across sessions; improvised ones do not"
# Corpus whose dialogues' styles are something else -> what they are.
_STYLES = {"everyday": "sentences with a word for their emotion, and without one; neutral ones are neither"}
SUBSETS = "each non-empty subset of the modalities, the others masked throughout; counted where one of it is present"
MISSING = (
    "rate as in GCNet (Lian et al., 2023): that share of all present entries (utterance, modality) is masked, drawn "
    "without replacement, but for the last one of an utterance; `dropped` is the share that could be"
)

# Shortest length of C2 and of C3. CMATH names them for these two corpora; the others have scenes like MELD's.
_BINS = {"iemocap": (40, 70)}
_SCENES = (10, 21)

Predict = Callable[[list[TensorDialogue]], Predictions]


def break_down_predictions(predictions: Predictions, corpus: Corpus) -> dict[str, Breakdown]:
    """Every breakdown that needs no new prediction and tells at least two parts of this corpus apart."""
    dialogues = {dialogue.id: dialogue for dialogue in corpus.dialogues}
    shifts = {dialogue.id: emotional_shifts(dialogue) for dialogue in corpus.dialogues}
    names = {True: "with shift", False: "without shift", None: ""}
    return _break_down_by(
        {
            "shift": (SHIFT, [names[shifts[place.dialogue][place.row]] for place in predictions.places]),
            "length": (LENGTH, [length_class(corpus.name, dialogues[p.dialogue]) for p in predictions.places]),
            "style": (
                _STYLES.get(corpus.name, STYLE),
                [dialogues[place.dialogue].style or "" for place in predictions.places],
            ),
        },
        predictions,
    )


def _break_down_by(groups: Mapping[str, tuple[str, Sequence[str]]], predictions: Predictions) -> dict[str, Breakdown]:
    found = {}
    for breakdown, (protocol, names) in groups.items():
        parts = sorted(set(names) - {""})
        if len(parts) > 1:
            found[breakdown] = Breakdown(
                protocol=protocol,
                parts={part: predictions.only([name == part for name in names]).part() for part in parts},
            )
    return found


def emotional_shifts(dialogue: Dialogue) -> list[bool | None]:
    """For each utterance, whether its speaker's emotion changed since their labelled one before; None where unknown."""
    last: dict[str, str] = {}
    found: list[bool | None] = []
    for utterance in dialogue.utterances:
        before = last.get(utterance.speaker)
        found.append(None if utterance.label is None or before is None else utterance.label != before)
        if utterance.label is not None:
            last[utterance.speaker] = utterance.label
    return found


def length_class(corpus: str, dialogue: Dialogue) -> str:
    """C1, C2 or C3 of CMATH Fig. 5 with its bounds; empty for a corpus of single utterances."""
    if len(dialogue.utterances) == 1 and corpus not in ("meld", "iemocap", "emorynlp"):
        return ""
    middle, long = _BINS.get(corpus, _SCENES)
    length = sum(utterance.label is not None for utterance in dialogue.utterances)
    if length < middle:
        return f"C1 (1-{middle - 1})"
    return f"C2 ({middle}-{long - 1})" if length < long else f"C3 ({long} or more)"


def score_subsets(dialogues: list[TensorDialogue], modalities: Sequence[str], predict: Predict) -> Breakdown:
    """The scores with each non-empty subset of `modalities`."""
    parts = {}
    for pattern in modality_patterns(modalities):
        masked = [dialogue.masked(pattern) for dialogue in dialogues]
        if any(dialogue.present.any() for dialogue in masked):
            # Masked throughout, not left out at random: the score of a call without a camera is wanted.
            parts["+".join(pattern)] = predict(masked).part()
    return Breakdown(protocol=SUBSETS, parts=parts)


def score_missing_rates(dialogues: list[TensorDialogue], seed: int, predict: Predict) -> Breakdown:
    """The scores with each of RATES of the entries gone, as far as they can; more includes what less drops."""
    parts: dict[str, Part] = {}
    before = 0.0
    for rate in RATES:
        left, dropped = drop_entries(dialogues, rate, seed)
        if parts and dropped == before:  # nothing is left that may go
            break
        before = dropped
        parts[str(rate)] = predict(left).part(dropped=round(dropped, 4))
    return Breakdown(protocol=f"{MISSING}; seed {seed}", parts=parts)


def drop_entries(dialogues: Sequence[TensorDialogue], rate: float, seed: int) -> tuple[list[TensorDialogue], float]:
    """(the dialogues without `rate` of their present entries, the share that went).

    No utterance loses its last modality, so a high rate may not be reached.
    """
    present = torch.cat([dialogue.present for dialogue in dialogues]).clone()
    entries = present.nonzero()
    # One order for all rates: what a lower rate drops is dropped by every higher one, so that a curve falls for its
    # rate and not for its luck.
    order = torch.randperm(len(entries), generator=torch.Generator().manual_seed(seed))
    wanted, gone = round(rate * len(entries)), 0
    for row, column in entries[order].tolist():
        if gone == wanted:
            break
        if present[row].sum() > 1:
            present[row, column] = False
            gone += 1
    parts = torch.split(present, [len(dialogue) for dialogue in dialogues])
    left = [replace(dialogue, present=part) for dialogue, part in zip(dialogues, parts, strict=True)]
    return left, gone / len(entries)


def modalities_of(dialogues: Sequence[TensorDialogue]) -> tuple[str, ...]:
    """Those that at least one utterance has."""
    return tuple(m for i, m in enumerate(MODALITIES) if any(d.present[:, i].any() for d in dialogues))
