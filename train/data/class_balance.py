"""Class counts, class weights and prior offsets (logit adjustment)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core_models.labels import IGNORED
from train.data.dialogue_tensors import TensorDialogue


def class_weights(classes: Sequence[int], count: int, power: float) -> Tensor:
    """[count] frequency to minus `power`, scaled so that the mean over `classes` is 1."""
    return weights_of_counts(torch.bincount(torch.tensor(classes), minlength=count), power)


def weights_of_counts(counts: Tensor, power: float) -> Tensor:
    """float32 [C], `counts` [C] to minus `power`, scaled so that the mean over what was counted is 1."""
    counts = counts.float()
    # A class that never comes weighs as one that comes once.
    weights = counts.clamp(min=1) ** -power
    return weights * counts.sum() / (weights * counts).sum()


def class_counts(dialogues: Sequence[TensorDialogue], classes: int) -> Tensor:
    """int64 [C], labelled utterances of each class."""
    labels = torch.cat([dialogue.labels for dialogue in dialogues])
    return torch.bincount(labels[labels != IGNORED], minlength=classes)


def prior_offset(corpus: Tensor, reference: Tensor) -> Tensor:
    """float32 [C], log p_corpus(y) - log p_reference(y) from two counts [C].

    Added to logits of a model whose prior is the reference's, it gives the posterior under the corpus's
    prior (Saerens et al., 2002, eq. 2.4, here before the softmax); trained under it, a corpus teaches what
    its classes look like and not how rare they are (Menon et al., 2021, eq. 10). A class that the corpus
    lacks is offset as if it had been seen half a time.
    """
    p, q = (counts.clamp(min=0.5).double() for counts in (corpus, reference))
    return ((p / p.sum()).log() - (q / q.sum()).log()).float()
