"""An encoder's own classifier behind the face of a dialogue model, so that what the dialogue adds is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core_models.checkpoint import Checkpoint, Sidecar, load, locate
from core_models.errors import CheckpointError, UsageError
from core_models.feature_network import FeatureNetworkKind
from core_models.feature_spec import MODALITIES, tensors_digest
from core_models.features.face.expression_posteriors import EXPRESSIONS
from core_models.features.voice.emotion_posteriors import HEADS
from core_models.features.voice.mced_embedding import STUDENTS
from core_models.labels import LABEL_SETS
from core_models.networks.dialogue_state import DialogueOutput
from core_models.text_adapter import load_adapter
from train.extraction.extractors import open_extractor

# `Sidecar.model` of a network that is evaluated by itself, and what it sees of a dialogue.
NETWORKS = {"mced": "its own sound", "voice": "its own sound", "expression": "its own face"}


@dataclass(frozen=True)
class UnimodalClassifierConfig:
    """What there is to say of a model that sees one utterance."""

    dimensions: dict[str, int]
    classes: int
    speakers: int = 1
    window: int = 1
    causal: bool = True


class UnimodalClassifier(nn.Module):
    """The classifier that an encoder was trained under: a sentence encoder's (train/recipes/text/fit.py), that of an
    MCED student (train/recipes/mced/fit.py), or the output of a voice head or an expression network as it is."""

    def __init__(self, modality: str, width: int, classes: int, classifier: nn.Module) -> None:
        super().__init__()
        self.config = UnimodalClassifierConfig({modality: width}, classes)
        self.modality = modality
        self.classifier = classifier

    def forward(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, padding: Tensor | None = None
    ) -> DialogueOutput:
        """As every dialogue model's: features of its modality are [B, N, d]; nothing but they are looked at."""
        logits = self.classifier(features[self.modality])
        own = torch.tensor([m == self.modality for m in MODALITIES])
        return DialogueOutput(logits, (present & own).float(), logits.new_zeros(*speakers.shape, 0, logits.shape[-1]))


def open_checkpoint(name: str) -> Checkpoint:
    """The checkpoint of that name or in that folder; a text adapter, an MCED student, a voice head and an expression
    network count as one each, by their own classifiers.

    Raises CheckpointError, WeightsError.
    """
    folder = locate(name)
    if (folder / "adapter.safetensors").exists():
        return _open_adapter(folder)
    if STUDENTS.folder(folder) is not None:
        return _open_student(folder)
    for model, modality, kind in (("voice", "voice", HEADS), ("expression", "face", EXPRESSIONS)):
        if kind.folder(folder) is not None:
            return _open_log_posteriors(model, modality, kind, folder)
    found = load(name)
    if found.sidecar.model == "tdfnet":
        raise UsageError(f"{found.name} is a TDFNet, which reads sequences: `python -m train tdfnet` scores its folds.")
    return found


def _open_student(folder: Path) -> Checkpoint:
    student = STUDENTS.find(folder)
    spec = open_extractor("voice", str(folder)).spec
    classes = student.model.config.classes
    model = UnimodalClassifier("voice", spec.dimension, classes, student.model.classifier)
    record, labels = student.sidecar.record, student.sidecar.labels
    sidecar = Sidecar(model="mced", config={}, labels=labels, features={"voice": spec}, window=1, record=record)
    return Checkpoint(student.name, model.eval().requires_grad_(False), sidecar, student.digest)  # type: ignore[arg-type]


def _open_log_posteriors(name: str, modality: str, kind: FeatureNetworkKind[Any], folder: Path) -> Checkpoint:
    """A network whose feature is its answer already."""
    network = kind.find(folder)
    spec = open_extractor(modality, str(folder)).spec
    as_it_is = nn.Linear(spec.dimension, spec.dimension, bias=False)
    nn.init.eye_(as_it_is.weight)
    model = UnimodalClassifier(modality, spec.dimension, spec.dimension, as_it_is)
    record, labels = network.sidecar.record, network.sidecar.labels
    sidecar = Sidecar(model=name, config={}, labels=labels, features={modality: spec}, window=1, record=record)
    return Checkpoint(network.name, model.eval().requires_grad_(False), sidecar, network.digest)  # type: ignore[arg-type]


def _open_adapter(folder: Path) -> Checkpoint:
    adapter, tensors = load_adapter(folder)
    try:
        weight, bias = tensors["classifier.weight"].float(), tensors["classifier.bias"].float()
    except KeyError:
        raise CheckpointError(f"Adapter {folder.name} holds no classifier: train it again.") from None
    classes, width = weight.shape
    if classes != len(LABEL_SETS[adapter.labels]):
        raise CheckpointError(f"Adapter {folder.name} has not as many classes as {adapter.labels}: train it again.")
    linear = nn.Linear(width, classes)
    linear.load_state_dict({"weight": weight, "bias": bias})
    model = UnimodalClassifier("text", width, classes, linear)
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
