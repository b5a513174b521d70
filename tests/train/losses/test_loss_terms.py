"""The terms that the objectives share: their values, and 0 with a gradient of 0 where there is nothing to count."""

from __future__ import annotations

import pytest
import torch

from train.losses.terms import cross_entropy, kl_divergence


def test_values_are_those_of_the_definitions() -> None:
    """Weighted cross entropy is the weighted mean of -log p; KL is the mean over rows of sum p (log p - log q)."""
    logits, other, labels = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    weights = torch.tensor([0.5, 1.0, 2.0])
    each = -logits.log_softmax(-1)[range(5), labels] * weights[labels]
    torch.testing.assert_close(cross_entropy(logits, labels, (0.5, 1.0, 2.0)), each.sum() / weights[labels].sum())
    p, q = (logits / 4).softmax(-1), (other / 4).softmax(-1)
    torch.testing.assert_close(kl_divergence(logits, other, 4.0), (p * (p.log() - q.log())).sum(-1).mean())
    assert kl_divergence(logits, logits).item() == pytest.approx(0, abs=1e-6)


def test_no_rows_are_zero_and_part_of_the_graph() -> None:
    """A modality that a batch lacks leaves its parameters a gradient of 0 rather than none, or NaN."""
    weight = torch.ones(3, requires_grad=True)
    empty = torch.zeros(0, 3) * weight
    total = cross_entropy(empty, torch.zeros(0, dtype=torch.long)) + kl_divergence(empty, empty)
    assert total.item() == 0
    total.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.tolist() == [0, 0, 0]
