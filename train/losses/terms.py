"""Terms that several papers' objectives share: cross entropy and KL divergence, 0 where a batch has no row for them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """The mean over rows of logits [n, C] with labels int64 [n], weighted by class where weights are given.

    Of no rows it is 0 and still part of the graph: a modality may be absent from a whole batch.
    """
    if not len(labels):
        return logits.sum()
    weights = None if class_weights is None else logits.new_tensor(class_weights)
    return F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing)


def kl_divergence(p: Tensor, q: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(p / temperature) || softmax(q / temperature)), the mean over rows of logits [n, C]; 0 of no rows.

    There is no factor of temperature squared.
    """
    if not len(p):
        return (p + q).sum()
    log_p, log_q = ((logits / temperature).log_softmax(dim=-1) for logits in (p, q))
    # Both in logarithms: a probability that underflows to 0 would make its logarithm infinite.
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
