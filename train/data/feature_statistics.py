"""Mean and deviation of features over a training set, by which a network standardises its input."""

from __future__ import annotations

import torch
from torch import Tensor

# A dimension that is constant in training says nothing of the emotion; should it move live, this deviation, far above
# any feature's own, keeps it from moving the network.
CONSTANT_DIMENSION_DEVIATION = 1e4
# Below this a float32 mean over tens of thousands of equal vectors can deviate by rounding alone.
CONSTANT_BELOW = 1e-5


def mean_and_deviation(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(mean [d], deviation [d]) of `vectors` [n, d]; constant dimensions get CONSTANT_DIMENSION_DEVIATION."""
    deviation, mean = torch.std_mean(vectors, dim=0)
    return mean, torch.where(deviation < CONSTANT_BELOW, CONSTANT_DIMENSION_DEVIATION, deviation)
