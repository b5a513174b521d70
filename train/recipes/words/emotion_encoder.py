"""A sentence encoder that is tuned whole, and its change to the base cut to what an adapter file holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core_models.features.text.sentence_encoder import Encoder, Row
from core_models.labels import LabelSet

EMBEDDING = "embeddings.word_embeddings"


class EmotionEncoder(nn.Module):
    """Encoder and a linear classifier over one label set, both trained."""

    def __init__(self, encoder: Encoder, labels: LabelSet, dropout: float, gain: float) -> None:
        """`gain`: the classifier's logits are so many times its linear layer's, whose weights begin so many times
        smaller. Adam's steps have one size whatever the gradient's, so the logits move so many times as fast."""
        super().__init__()
        self.encoder = encoder
        self.network = encoder.network.requires_grad_(True)
        self.base = {name: value.detach().clone() for name, value in encoder.network.state_dict().items()}
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(encoder.dimension, len(labels))
        self.gain = gain
        with torch.no_grad():
            self.linear.weight.div_(gain)
            self.linear.bias.zero_()

    def forward(self, rows: Sequence[Row]) -> Tensor:
        """Logits [len(rows), classes] under no prior: all classes alike."""
        logits: Tensor = self.gain * self.linear(self.dropout(self.encoder.pool(rows)))
        return logits

    def low_rank_change(self, rank: int) -> tuple[list[str], dict[str, Tensor]]:
        """(names of the matrices that changed, tensors of an adapter file in float16).

        Each matrix's change, that of the word embeddings too, is cut to `rank` (Eckart and Young, 1936); biases and
        normalisations are small, so their changes are kept whole, as `NAME.delta`.
        """
        targets, tensors = [], {}
        for name, value in self.network.state_dict().items():
            change = (value.cpu() - self.base[name].cpu()).float()
            if not change.any():
                continue
            module = name.removesuffix(".weight")
            linear = isinstance(self.network.get_submodule(module), nn.Linear) if name.endswith(".weight") else False
            if linear or module == EMBEDDING:
                targets.append(module)
                # q spare directions make the randomised decomposition exact to rounding at this rank.
                u, values, v = torch.svd_lowrank(change, q=min(*change.shape, rank + 32), niter=6)
                roots = values[:rank].sqrt()
                tensors[f"{module}.lora_B"] = (u[:, :rank] * roots).half().contiguous()
                tensors[f"{module}.lora_A"] = (v[:, :rank] * roots).T.half().contiguous()
            elif change.dim() == 1:
                tensors[f"{name}.delta"] = change.half()
        tensors["classifier.weight"] = (self.gain * self.linear.weight.detach()).cpu().half()
        tensors["classifier.bias"] = (self.gain * self.linear.bias.detach()).cpu().half()
        return targets, tensors
