"""Calibration: temperature scaling (Guo et al., 2017) and the threshold below which a live run abstains."""

from __future__ import annotations

import torch
from torch import Tensor


def abstain_below(logits: Tensor, truth: Tensor, right: float) -> float:
    """The least confidence from which on a share of at least `right` is right (selective classification, Geifman and
    El-Yaniv, 2017), in [0, 1]; 0 where that holds of everything, 1 where it holds of nothing.

    logits [n, C], already divided by their temperature; truth int64 [n].
    """
    confidence, predicted = logits.double().softmax(dim=-1).max(dim=-1)
    falling, order = confidence.sort(descending=True)
    share = (predicted == truth)[order].double().cumsum(0) / torch.arange(1, len(truth) + 1)
    enough = (share >= right).nonzero()
    if not len(enough):
        return 1.0
    last = int(enough[-1])
    return 0.0 if last == len(truth) - 1 else float(falling[last])


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """The T > 0 that minimises the cross entropy of logits / T (Guo et al., 2017, section 4.2), by L-BFGS."""
    # Its logarithm is fitted, so that T stays positive without a bound; double, since the loss changes by less than
    # float32 can tell near its minimum.
    log_temperature = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")
    fixed = logits.double()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(fixed / log_temperature.exp(), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    # Held-out utterances that are all right, or all wrong, would drive the temperature to 0 or without bound.
    return float(log_temperature.detach().exp().clamp(0.05, 20))
