"""A text encoder's own classifier behind the face of a dialogue model, so that what the dialogue adds is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core_models.checkpoint import Checkpoint, Sidecar, load, locate
from core_models.dialogue import DialogueOutput
from core_models.errors import CheckpointError
from core_models.features.spec import MODALITIES, tensors_digest
from core_models.features.text import load_adapter
from core_models.labels import LABEL_SETS
from train.extractors import open_extractor


@dataclass(frozen=True)
class EncoderAloneConfig:
    """What there is to say of a model that sees one utterance."""

    dimensions: dict[str, int]
    classes: int
    speakers: int = 1
    window: int = 1
    causal: bool = True


class EncoderAlone(nn.Module):
    """The linear classifier with which a sentence encoder was taught emotion (train/text.py)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        classes, width = weight.shape
        self.config = EncoderAloneConfig({"text": width}, classes)
        self.classifier = nn.Linear(width, classes)
        self.classifier.load_state_dict({"weight": weight.float(), "bias": bias.float()})

    def forward(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, padding: Tensor | None = None
    ) -> DialogueOutput:
        """As every dialogue model's: features["text"] is [B, N, d]; nothing but it is looked at."""
        logits = self.classifier(features["text"])
        text = torch.tensor([m == "text" for m in MODALITIES])
        return DialogueOutput(logits, (present & text).float(), logits.new_zeros(*speakers.shape, 0, logits.shape[-1]))


def open_checkpoint(name: str) -> Checkpoint:
    """The checkpoint of that name or in that folder; a text adapter counts as one, by its own classifier.

    Raises CheckpointError, WeightsError.
    """
    folder = locate(name)
    if not (folder / "adapter.safetensors").exists():
        return load(name)
    adapter, tensors = load_adapter(folder)
    try:
        model = EncoderAlone(tensors["classifier.weight"], tensors["classifier.bias"])
    except KeyError:
        raise CheckpointError(f"Adapter {folder.name} holds no classifier: train it again.") from None
    if model.config.classes != len(LABEL_SETS[adapter.labels]):
        raise CheckpointError(f"Adapter {folder.name} has not as many classes as {adapter.labels}: train it again.")
    spec = open_extractor("text", adapter.base, str(folder)).spec
    digest = tensors_digest((key, tensors[key].numpy()) for key in tensors)
    sidecar = Sidecar(
        model="text",
        config={},
        labels=adapter.labels,
        features={"text": spec},
        window=1,
        record={
            "selection": "weighted F1 on held-out training dialogues",
            **adapter.record,
            "run": {"name": folder.name, "seed": adapter.record.get("config", {}).get("seed")},
        },
    )
    return Checkpoint(folder.name, model.eval().requires_grad_(False), sidecar, digest)  # type: ignore[arg-type]
