"""The training objective of CMATH: four cross entropies, reconstruction, and distillation on two levels.

Eq. 3-4 and 18-24 of the paper named in core_models/networks/cmath.py. Named choices, where the paper is silent:

- `reduction`: "sum" (default) is eq. 3 and 18 as printed, sums over utterances and dimensions beside means over
  utterances in eq. 20-23; "mean" (ours, for configs of our own) divides each by the numbers that it adds up, so that
  gamma 1 means the same for any width and any batch.
- `detach_teacher`: off (default), so eq. 18 and 23 also move the teacher towards its students, as printed.
- Each mean or sum is over the batch's utterances at which the modality is present (for eq. 21: at which any is);
  a mean over none is 0. An utterance without a label counts in reconstruction alone; padding in nothing, as
  `present` leaves it out.
- `class_weights` and `label_smoothing` shape the four cross entropies, the former as weighted means.

Its Table 4: w/o LLD is `low_level: false`, w/o HLD is `high_level: false`, w/o HD is both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED
from core_models.networks.cmath import CMATHOutput
from train.losses.terms import cross_entropy, kl_divergence


@dataclass(frozen=True)
class CMATHObjective:
    """Settings of the objective; calling it gives the losses of a batch."""

    gamma1: float = 1.0
    """Weight of low-level distillation in eq. 24 (paper: 1)."""
    gamma2: float = 1.2
    """Weight of high-level distillation in eq. 24 (paper: 1.8 for IEMOCAP, 1.2 for MELD)."""
    low_level: bool = True
    """Eq. 18; off is the row w/o LLD of Table 4."""
    high_level: bool = True
    """Eq. 23; off is the row w/o HLD of Table 4."""
    reduction: Literal["mean", "sum"] = "sum"
    """How eq. 3 and 18 add up squares."""
    detach_teacher: bool = False
    """Whether eq. 18 and 23 leave the teacher alone."""
    class_weights: tuple[float, ...] | None = None
    """A weight for each class in the cross entropies, or none."""
    label_smoothing: float = 0.0
    """Share of the probability that the cross entropies spread over all classes."""

    def __post_init__(self) -> None:
        for name in ("gamma1", "gamma2"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}, a number from 0 up was expected; change it.")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(
                f"label_smoothing is {self.label_smoothing}, a share from 0 to below 1 was expected; change it."
            )

    def __call__(self, output: CMATHOutput, labels: Tensor, present: Tensor) -> CMATHLosses:
        """labels: int64 [B, N], IGNORED where there is none; present: bool [B, N, 3] as the model had it."""
        labelled = labels != IGNORED
        known = labelled & present.any(dim=-1)
        logits, fused = output.logits, output.fused
        if self.detach_teacher:
            logits, fused = logits.detach(), fused.detach()
        ce, reconstruction, low, high = [], [], [], []
        for m, modality in enumerate(MODALITIES):
            here, there = present[..., m], labelled & present[..., m]
            student = output.students[..., m, :][there]
            ce.append(self._cross_entropy(student, labels[there]))  # eq. 20
            if modality in output.reconstructed:  # eq. 3
                reconstruction.append(
                    self._squared_error(output.inputs[modality], output.reconstructed[modality], here)
                )
            else:
                reconstruction.append(logits.new_zeros(()))
            low.append(self._squared_error(fused, output.augmented[..., m, :], there))  # eq. 18
            # Without a temperature, other than SDT's eq. 18: the paper names none.
            high.append(kl_divergence(logits[there], student))  # eq. 23
        ce_terms, reconstruction_terms = torch.stack(ce), torch.stack(reconstruction)
        low_terms, high_terms = torch.stack(low), torch.stack(high)
        task = self._cross_entropy(output.logits[known], labels[known])  # eq. 21
        total = task + ce_terms.sum() + reconstruction_terms.sum()  # eq. 4, 22
        if self.low_level:
            total = total + self.gamma1 * low_terms.sum()
        if self.high_level:
            total = total + self.gamma2 * high_terms.sum()  # eq. 24
        return CMATHLosses(total, task, ce_terms, reconstruction_terms, low_terms, high_terms)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, self.class_weights, self.label_smoothing)

    def _squared_error(self, a: Tensor, b: Tensor, there: Tensor) -> Tensor:
        """Of the differences at the entries that are there, [B, N, d] each."""
        squares = (a[there] - b[there]).square()
        return squares.mean() if self.reduction == "mean" and squares.numel() else squares.sum()


class CMATHLosses(NamedTuple):
    """The terms of eq. 24, all still attached to the graph, before their weights."""

    total: Tensor
    """Scalar, eq. 24."""
    task: Tensor
    """Scalar, eq. 21."""
    ce: Tensor
    """[3] in the order of MODALITIES, eq. 20."""
    reconstruction: Tensor
    """[3], eq. 3."""
    low_level: Tensor
    """[3], eq. 18."""
    high_level: Tensor
    """[3], eq. 23."""

    def parts(self) -> dict[str, Tensor]:
        """Name -> detached scalar, for the log: the terms of eq. 24, and each modality's part of them."""
        of_each = {
            "ce": self.ce.detach(),
            "reconstruction": self.reconstruction.detach(),
            "mse": self.low_level.detach(),
            "kl": self.high_level.detach(),
        }
        sums = {name: terms.sum() for name, terms in of_each.items()}
        each = {f"{name} {m}": terms[i] for name, terms in of_each.items() for i, m in enumerate(MODALITIES)}
        return {"task": self.task.detach(), **sums, **each}
