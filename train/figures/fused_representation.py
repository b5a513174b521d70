"""What a dialogue model has made of an utterance just before it decides, in numbers and in the plane (SDT Fig. 5-6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core_models.checkpoint import Checkpoint
from core_models.labels import IGNORED
from train.data.dialogue_tensors import TensorDialogue, collate_dialogues


def collect_fused(checkpoint: Checkpoint, dialogues: list[TensorDialogue]) -> NDArray[np.float32] | None:
    """float32 [n, d], the input of the classifier at each utterance that counts; None of a model without one."""
    classifier = getattr(checkpoint.model, "classifier", None)
    if not isinstance(classifier, nn.Module):
        return None
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0])

    hook = classifier.register_forward_pre_hook(keep)
    rows = []
    try:
        with torch.inference_mode():
            for dialogue in dialogues:
                batch = collate_dialogues([dialogue])
                seen.clear()
                checkpoint.model(batch.features, batch.present, batch.speakers, batch.padding)
                counts = (dialogue.labels != IGNORED) & dialogue.present.any(dim=-1)
                rows.append(seen[-1].reshape(len(dialogue), -1)[counts])
    finally:
        hook.remove()
    return np.asarray(torch.cat(rows).float().cpu().numpy())


def project_tsne(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """float32 [n, 2]: t-SNE (van der Maaten and Hinton, 2008), the same on every run with the same seed."""
    from sklearn.manifold import TSNE

    # scikit-learn's default of 30, or less below 91 points: t-SNE looks at three times as many neighbours (van der
    # Maaten, 2014).
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    return np.asarray(placed, dtype=np.float32)
