"""The distillation objective of MCED: eq. 1, 3 and 4 of the paper named in core_models/networks/mced_student.py.

Named choices, where the paper is silent or contradicts itself:

- Eq. 1 as printed has a minus sign before the KL divergence and is then minimised (eq. 4), which would push the
  student away from its teacher. Here +KL(p^t || p^s) is minimised. There is no factor of temperature squared.
- The temperature: 1 by default.
- Eq. 3 is a sum of squares; the sentence above it says mean square loss. `reduction` "sum" (default) is as printed;
  "mean" (ours, for configs of our own) is the mean over a sentence's tokens and dimensions, some ten thousand times
  smaller. Padding counts in neither; both are then means over the pairs.
- The layer pairs are {6,8,10,12} -> {3,4,5,6} for a teacher of twelve layers. A teacher of six (MiniLM) has the same
  depths in halves: {3,4,5,6} -> {3,4,5,6}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from core_models.errors import UsageError
from train.losses.terms import kl_divergence

# Layers of a teacher -> I^t.
TEACHER_LAYERS: Mapping[int, tuple[int, ...]] = {12: (6, 8, 10, 12), 6: (3, 4, 5, 6)}
# I^s.
STUDENT_LAYERS = (3, 4, 5, 6)

# Row of Table 6 -> (`response`, `last`).
TABLE_6: Mapping[str, tuple[bool, int]] = {
    "RL": (True, 0),
    "FL-4layers": (False, 4),
    "RL+FL-1layer": (True, 1),
    "RL+FL-2layers": (True, 2),
    "RL+FL-3layers": (True, 3),
    "RL+FL-4layers": (True, 4),
}


@dataclass(frozen=True)
class MCEDObjective:
    """Settings of the objective; calling it gives the losses of a batch."""

    response: bool = True
    """Response-level distillation, eq. 1; false: Table 6, FL-4layers."""
    last: int | None = None
    """Feature-level distillation over the last so many layer pairs alone (Table 6, FL-k layers); null: over all, 0:
    none (Table 6, RL)."""
    temperature: float = 1.0
    """temp of eq. 1."""
    teacher_layers: tuple[int, ...] | None = None
    """I^t, counted from 1; null: the paper's for twelve layers, the same depths for six."""
    student_layers: tuple[int, ...] = STUDENT_LAYERS
    """I^s, counted from 1."""
    # The paper's lambda of the four pairs, the deepest weighing most.
    weights: tuple[float, ...] = (0.1, 0.1, 0.2, 0.3)
    """lambda of eq. 3, one for each pair."""
    reduction: Literal["mean", "sum"] = "sum"
    """How a sentence's squared distances are reduced."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UsageError(f"temperature is {self.temperature}, a positive number was expected: change it.")
        given = (self.teacher_layers or self.student_layers, self.student_layers, self.weights)
        if len({len(one) for one in given}) > 1:
            raise UsageError(
                "teacher_layers, student_layers and weights must name one another's partners: give as many of each."
            )
        if self.last is not None and not 0 <= self.last <= len(self.student_layers):
            raise UsageError(f"last is {self.last}: choose from 0 to the {len(self.student_layers)} layer pairs.")
        if not self.response and self.last == 0:
            raise UsageError("With response false and last 0 there is nothing to learn from: switch one of them on.")

    def pairs(self, teacher: int, student: int) -> list[LayerPair]:
        """The layer pairs in use, for a teacher and a student of so many layers. Raises UsageError."""
        chosen = self.teacher_layers or TEACHER_LAYERS.get(teacher)
        if chosen is None:
            raise UsageError(f"There is no choice of layers for a teacher of {teacher}: set teacher_layers.")
        if not all(1 <= m <= teacher for m in chosen) or not all(1 <= n <= student for n in self.student_layers):
            raise UsageError(
                f"Layers {list(chosen)} -> {list(self.student_layers)} do not exist in a teacher of {teacher} and a "
                f"student of {student}: change teacher_layers or student_layers."
            )
        found = [LayerPair(*pair) for pair in zip(chosen, self.student_layers, self.weights, strict=True)]
        return found if self.last is None else found[len(found) - self.last :]

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        pairs: Sequence[LayerPair],
        words: Sequence[Tensor],
        aligned: Sequence[Tensor],
        said: Tensor,
    ) -> MCEDLosses:
        """student, teacher: logits [B, C]; words, aligned: h^t_m and its soft-aligned acoustic twin, [B, T_t, d_t]
        for each of `pairs`; said: bool [B, T_t], False at padding."""
        response = self.response_level(student, teacher) if self.response else student.new_zeros(())
        feature = [
            pair.weight * self.distance(h, twin, said) for pair, h, twin in zip(pairs, words, aligned, strict=True)
        ]
        level = torch.stack(feature).sum() if feature else student.new_zeros(())
        return MCEDLosses(response + level, response, level)  # eq. 4

    def response_level(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Eq. 1 with a plus sign: the mean over pairs of KL(p^t || p^s)."""
        return kl_divergence(teacher, student, self.temperature)

    def distance(self, words: Tensor, aligned: Tensor, said: Tensor) -> Tensor:
        """Eq. 3 for one layer pair, before its weight."""
        squares = (words - aligned).square().sum(dim=-1).masked_fill(~said, 0.0).sum(dim=1)  # [B]
        if self.reduction == "mean":
            # By tokens and width, so that a long sentence teaches no more than a short one and eq. 1 keeps its share of
            # eq. 4.
            squares = squares / (said.sum(dim=1) * words.shape[-1])
        return squares.mean()


class LayerPair(NamedTuple):
    """A layer of the teacher, the layer of the student that learns from it, and the weight of that."""

    teacher: int
    student: int
    weight: float


class MCEDLosses(NamedTuple):
    """The terms of eq. 4, attached to the graph."""

    total: Tensor
    response: Tensor
    feature: Tensor
