"""A checkpoint's predictions for every scored utterance, with its position in the dialogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED, LABEL_SETS
from train.data.class_balance import prior_offset
from train.data.dialogue_tensors import TensorDialogue
from train.evaluation.inference import predict
from train.evaluation.metrics import score
from train.evaluation.results import Part, Scores, part_of

# The class frequencies that a test corpus is scored under: a model that learned MELD's 47% of neutral expects them of
# RAVDESS too, where a fifth of the clips is neutral or calm.
Prior = Literal["checkpoint", "uniform", "train"]


class Place(NamedTuple):
    """Where an utterance stands."""

    dialogue: str
    row: int


@dataclass(frozen=True)
class Predictions:
    """n utterances, in the order of their dialogues."""

    logits: Tensor
    """float32 [n, C], already divided by their temperatures."""
    truth: Tensor
    """int64 [n]."""
    places: tuple[Place, ...]
    labels: str
    """Name of the label set."""

    def scores(self) -> Scores:
        """The scores of all of them."""
        return score(self.logits, self.truth, LABEL_SETS[self.labels])

    def only(self, kept: Sequence[bool]) -> Predictions:
        """Those at which `kept` [n] is true."""
        mask = torch.tensor(kept, dtype=torch.bool)
        places = tuple(place for place, keep in zip(self.places, kept, strict=True) if keep)
        return replace(self, logits=self.logits[mask], truth=self.truth[mask], places=places)

    def at(self, places: Sequence[Place]) -> Predictions:
        """Those at `places`, in that order. KeyError for a place that is not among them."""
        row = {place: index for index, place in enumerate(self.places)}
        order = torch.tensor([row[place] for place in places])
        return replace(self, logits=self.logits[order], truth=self.truth[order], places=tuple(places))

    def part(self, dropped: float | None = None) -> Part:
        """Their scores as they stand in a result."""
        return part_of(self.scores(), dropped)


def predict_calibrated(checkpoint: Checkpoint, dialogues: list[TensorDialogue], prior: Tensor | None) -> Predictions:
    """The checkpoint's predictions for whole `dialogues`, calibrated by its own temperatures.

    `prior` [C] counts the classes as often as they are expected; None leaves the checkpoint's own. Raises UsageError
    where that is to be taken out and is not known.
    """
    logits, truth = predict(checkpoint.model, with_prior(dialogues, prior, checkpoint))
    logits = logits / temperatures_of(checkpoint, dialogues)[:, None]
    return Predictions(logits, truth, tuple(p for p, _ in scored_places(dialogues)), checkpoint.sidecar.labels)


def scored_places(dialogues: Sequence[TensorDialogue]) -> Iterator[tuple[Place, tuple[bool, ...]]]:
    """(place, presence of each of MODALITIES) of the utterances that `predict` counts, in its order."""
    for dialogue in dialogues:
        rows = zip(dialogue.present.tolist(), dialogue.labels.tolist(), strict=True)
        for row, (there, label) in enumerate(rows):
            if label != IGNORED and any(there):
                yield Place(dialogue.id, row), tuple(there)


def temperatures_of(checkpoint: Checkpoint, dialogues: Sequence[TensorDialogue]) -> Tensor:
    """float32 [n], of each utterance that counts, by its own pattern of modalities."""
    found = []
    for _, there in scored_places(dialogues):
        pattern = "+".join(m for m, here in zip(MODALITIES, there, strict=True) if here)
        found.append(checkpoint.sidecar.temperature.get(pattern, 1.0))
    return torch.tensor(found)


def with_prior(dialogues: list[TensorDialogue], prior: Tensor | None, checkpoint: Checkpoint) -> list[TensorDialogue]:
    """The dialogues, their logits to be moved to `prior`. Raises UsageError where the checkpoint's is not known."""
    if prior is None:
        return dialogues
    learnt = torch.tensor(checkpoint.sidecar.record.get("prior", ()))
    if len(learnt) != len(LABEL_SETS[checkpoint.sidecar.labels]):
        raise UsageError(f"Checkpoint {checkpoint.name} does not record its prior: leave --prior out.")
    # `prior_offset` takes counts, and a share is none: as counts of a million utterances none falls below its floor.
    offset = prior_offset(prior, learnt * 1e6)
    return [replace(dialogue, offset=offset) for dialogue in dialogues]
