"""Dialogues as tensors: what a dialogue model is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED
from train.corpora.dialogues import Corpus, Dialogue
from train.data.dialogue_layout import DialogueLayout

# Modality -> utterance id -> feature vector.
Vectors = Mapping[str, Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class TensorDialogue:
    """One dialogue of N utterances. `features` holds zeros where `present` says that there is nothing."""

    id: str
    features: dict[str, Tensor]
    """Modality -> float32 [N, d_m]."""
    present: Tensor
    """bool [N, 3] in the order of MODALITIES."""
    speakers: Tensor
    """int64 [N], slots."""
    labels: Tensor
    """int64 [N], IGNORED where the label set has no such label."""
    offset: Tensor
    """float32 [C], what the prior of this dialogue's corpus adds to the logits (see `prior_offset`)."""

    def __len__(self) -> int:
        return len(self.labels)

    def piece(self, start: int, end: int) -> TensorDialogue:
        """The utterances from `start` to before `end`, as a dialogue."""
        return replace(
            self,
            features={m: x[start:end] for m, x in self.features.items()},
            present=self.present[start:end],
            speakers=self.speakers[start:end],
            labels=self.labels[start:end],
        )

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
        return self._map_tensors(lambda x: x.to(device))

    def filled(self, multiple: int) -> Batch:
        """This batch with dialogues of nothing behind its own, so that their number is a multiple of `multiple`."""
        missing = -len(self.labels) % multiple
        if not missing:
            return self

        def fill(x: Tensor) -> Tensor:
            return torch.cat([x, x.new_zeros(missing, *x.shape[1:])])

        made = self._map_tensors(fill)
        made.padding[-missing:] = True
        # Zero is a class, so what fills up the batch must be told apart from a label.
        made.labels[-missing:] = IGNORED
        return made

    def share(self, rank: int, count: int) -> Batch:
        """The rank-th of `count` equal parts, as long as the whole."""
        size = len(self.labels) // count
        return self._map_tensors(lambda x: x[rank * size : (rank + 1) * size])

    def _map_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            {m: change(x) for m, x in self.features.items()},
            *(change(x) for x in (self.present, self.speakers, self.padding, self.labels, self.offset)),
        )


def to_tensors(
    corpus: Corpus, vectors: Vectors, dimensions: Mapping[str, int], slots: int, layout: DialogueLayout | None = None
) -> list[TensorDialogue]:
    """Every dialogue of `corpus` that has a vector at all; missing vectors are missing modalities.

    Utterances stay in their order (`DialogueLayout.arrange_corpus`); `layout` gives each speaker a slot.
    """
    layout = layout or DialogueLayout()
    dialogues = [
        _make_dialogue(corpus, dialogue, vectors, dimensions, layout.slots(dialogue.utterances, slots))
        for dialogue in corpus.dialogues
    ]
    # A dialogue of which nothing is there would be a row without a term in every loss.
    return [dialogue for dialogue in dialogues if dialogue.present.any()]


def _make_dialogue(
    corpus: Corpus, dialogue: Dialogue, vectors: Vectors, dimensions: Mapping[str, int], speakers: list[int]
) -> TensorDialogue:
    count = len(dialogue.utterances)
    features = {m: torch.zeros(count, width) for m, width in dimensions.items()}
    present = torch.zeros(count, len(MODALITIES), dtype=torch.bool)
    for row, utterance in enumerate(dialogue.utterances):
        for modality in dimensions:
            vector = vectors.get(modality, {}).get(utterance.id)
            if vector is not None:
                features[modality][row] = torch.from_numpy(vector)
                present[row, MODALITIES.index(modality)] = True
    labels = [
        IGNORED if utterance.label is None else corpus.labels.index(utterance.label)
        for utterance in dialogue.utterances
    ]
    return TensorDialogue(
        dialogue.id, features, present, torch.tensor(speakers), torch.tensor(labels), torch.zeros(len(corpus.labels))
    )


def collate_dialogues(dialogues: Sequence[TensorDialogue]) -> Batch:
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


def modality_patterns(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset of `modalities`, the single ones first."""
    return [p for size in range(1, len(modalities) + 1) for p in combinations(modalities, size)]
