"""Dialogues as tensors: what a dialogue model is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_models.features.spec import MODALITIES
from train.corpora.dialogues import Corpus, Dialogue
from train.objectives.sdt import IGNORED

Vectors = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""Modality -> line id -> feature vector."""


@dataclass(frozen=True)
class TensorDialogue:
    """One dialogue of N utterances. `features` holds zeros where `present` says that there is nothing."""

    id: str
    features: dict[str, Tensor]
    """Modality -> float32 [N, d_m]."""
    present: Tensor
    """bool [N, 3] in the order of MODALITIES."""
    speakers: Tensor
    """int64 [N], slots by first appearance."""
    labels: Tensor
    """int64 [N], IGNORED where the label set has no such label."""
    offset: Tensor
    """float32 [C], what the prior of this dialogue's corpus adds to the logits (see `prior_offset`)."""

    def __len__(self) -> int:
        return len(self.labels)

    def masked(self, pattern: Sequence[str]) -> TensorDialogue:
        """The same dialogue as if only the modalities of `pattern` had been there at all."""
        allowed = torch.tensor([m in pattern for m in MODALITIES])
        return replace(self, present=self.present & allowed)


@dataclass(frozen=True)
class Batch:
    """B dialogues side by side, N utterances long, the shorter ones padded."""

    features: dict[str, Tensor]
    """Modality -> float32 [B, N, d_m]."""
    present: Tensor
    """bool [B, N, 3]."""
    speakers: Tensor
    """int64 [B, N]."""
    padding: Tensor
    """bool [B, N], True behind a dialogue's end."""
    labels: Tensor
    """int64 [B, N], IGNORED in the padding."""
    offset: Tensor
    """float32 [B, 1, C]."""

    def to(self, device: torch.device) -> Batch:
        """This batch on `device`."""
        return Batch(
            {m: x.to(device) for m, x in self.features.items()},
            *(x.to(device) for x in (self.present, self.speakers, self.padding, self.labels, self.offset)),
        )


def to_tensors(corpus: Corpus, vectors: Vectors, dimensions: Mapping[str, int], slots: int) -> list[TensorDialogue]:
    """Every dialogue of `corpus` that has a vector at all; missing vectors are missing modalities."""
    dialogues = [_dialogue(corpus, dialogue, vectors, dimensions, slots) for dialogue in corpus.dialogues]
    return [dialogue for dialogue in dialogues if dialogue.present.any()]


def _dialogue(
    corpus: Corpus, dialogue: Dialogue, vectors: Vectors, dimensions: Mapping[str, int], slots: int
) -> TensorDialogue:
    count = len(dialogue.lines)
    features = {m: torch.zeros(count, width) for m, width in dimensions.items()}
    present = torch.zeros(count, len(MODALITIES), dtype=torch.bool)
    for row, line in enumerate(dialogue.lines):
        for modality in dimensions:
            vector = vectors.get(modality, {}).get(line.id)
            if vector is not None:
                features[modality][row] = torch.from_numpy(vector)
                present[row, MODALITIES.index(modality)] = True
    seen: dict[str, int] = {}
    speakers = [min(seen.setdefault(line.speaker, len(seen)), slots - 1) for line in dialogue.lines]
    labels = [IGNORED if line.label is None else corpus.labels.index(line.label) for line in dialogue.lines]
    return TensorDialogue(
        dialogue.id, features, present, torch.tensor(speakers), torch.tensor(labels), torch.zeros(len(corpus.labels))
    )


def collate(dialogues: Sequence[TensorDialogue]) -> Batch:
    """The dialogues as one batch, in their order."""

    def pad(tensors: Sequence[Tensor], value: float = 0) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True, padding_value=value)

    lengths = torch.tensor([len(dialogue) for dialogue in dialogues])
    return Batch(
        features={m: pad([d.features[m] for d in dialogues]) for m in dialogues[0].features},
        present=pad([d.present for d in dialogues]),
        speakers=pad([d.speakers for d in dialogues]),
        padding=torch.arange(int(lengths.max())) >= lengths[:, None],
        labels=pad([d.labels for d in dialogues], IGNORED),
        offset=torch.stack([d.offset for d in dialogues])[:, None],
    )


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
