"""Logits of a dialogue model for whole dialogues, by `forward`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from train.data.dialogue_tensors import TensorDialogue, collate_dialogues


def predict(model: Any, dialogues: list[TensorDialogue]) -> tuple[Tensor, Tensor]:
    """(logits [n, C], labels [n]) of every labelled utterance at which a modality is present, in order.

    The logits are under the prior of each dialogue's corpus: its `offset` is added.
    """
    device = next(model.parameters()).device
    model.eval()
    logits, labels = [], []
    with torch.inference_mode():
        for start in range(0, len(dialogues), 64):
            batch = collate_dialogues(dialogues[start : start + 64]).to(device)
            output = model(batch.features, batch.present, batch.speakers, batch.padding)
            counted = (batch.labels >= 0) & batch.present.any(dim=-1) & ~batch.padding
            logits.append((output.logits + batch.offset)[counted].cpu())
            labels.append(batch.labels[counted].cpu())
    return torch.cat(logits), torch.cat(labels)
