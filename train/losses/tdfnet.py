"""What TDFNet is trained for, and the rows of its Table V; the paper is named in core_models/networks/tdfnet.py.

Named choice: the paper speaks of a loss without saying which. It is the cross entropy of the softmax that stands for
P of eq. 11, all utterances alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from core_models.errors import UsageError


@dataclass(frozen=True)
class TDFNetObjective:
    """Settings of the loss; calling it gives that of a batch."""

    smoothing: float = 0.0
    """Share of each label that is spread over all classes."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"objective.smoothing is {self.smoothing}: expected a share below 1.")

    def __call__(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The mean over the batch; logits [B, C], truth int64 [B]."""
        return F.cross_entropy(logits, truth, label_smoothing=self.smoothing)
