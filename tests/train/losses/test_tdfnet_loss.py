"""TDFNet's objective: the cross entropy of eq. 11's classes."""

from __future__ import annotations

import pytest
import torch

from core_models.errors import UsageError
from train.losses.tdfnet import TDFNetObjective


def test_objective_is_cross_entropy() -> None:
    """The mean over the batch of minus the logarithm of the label's share."""
    logits, truth = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    expected = -logits.softmax(-1).log()[range(4), truth].mean()
    torch.testing.assert_close(TDFNetObjective()(logits, truth), expected)
    with pytest.raises(UsageError, match="smoothing"):
        TDFNetObjective(smoothing=1.0)
