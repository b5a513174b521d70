"""A low-rank change cut to a lower rank: its best approximation, by the singular values of the product."""

from __future__ import annotations

import torch
from torch import Tensor


def truncate_rank(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors [r, in] and [out, r] whose product is the best of `rank` to that of the given ones in the least-squares
    sense (Eckart and Young, 1936); behind the first `rank` rows and columns they hold zeros."""
    left, upper = torch.linalg.qr(up.double())
    right, lower = torch.linalg.qr(down.double().T)
    u, values, v = torch.linalg.svd(upper @ lower.T)
    roots = values.sqrt()
    roots[rank:] = 0
    return ((right @ v.T) * roots).T.to(down.dtype), ((left @ u) * roots).to(up.dtype)
