"""Pairs dialogues that lack a modality with single clips of the same label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from core_models.feature_spec import MODALITIES
from train.corpora.dialogues import Corpus
from train.data.config import CLIPS
from train.data.corpus_parts import Parts
from train.data.dialogue_tensors import TensorDialogue, Vectors, modality_patterns
from train.data.feature_vectors import FeatureVectors


class ClipBank:
    """Vectors of single clips by label and by whose they are; `mismatch` is its modality's in SamplerOptions."""

    def __init__(self, modality: str, corpus: Corpus, vectors: Vectors, mismatch: float = 0.0) -> None:
        self.modality = modality
        self.mismatch = mismatch
        self.labels = corpus.labels
        self._by_label: dict[int, list[Tensor]] = defaultdict(list)
        self._by_group: dict[str, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        for dialogue in corpus.dialogues:
            for utterance in dialogue.utterances:
                vector = vectors[modality].get(utterance.id)
                if vector is None or utterance.label is None:
                    continue
                label, tensor = corpus.labels.index(utterance.label), torch.from_numpy(vector)
                self._by_label[label].append(tensor)
                if dialogue.group is not None:
                    self._by_group[dialogue.group][label].append(tensor)
        self._groups = sorted(self._by_group)

    def attach(self, dialogue: TensorDialogue, rng: np.random.Generator, blend: float = 0.0) -> TensorDialogue:
        """`dialogue`, each labelled utterance that lacks this modality given a clip of its label (but for `mismatch`).

        Where the clips have groups (actors), a speaker keeps one actor throughout the dialogue. `blend` is that
        of SamplerOptions.
        """
        column = MODALITIES.index(self.modality)
        features, present = dialogue.features[self.modality].clone(), dialogue.present.clone()
        actor = {
            slot: self._groups[rng.integers(len(self._groups))]
            for slot in sorted(set(dialogue.speakers.tolist()))
            if self._groups
        }
        for row in range(len(dialogue)):
            label, slot = int(dialogue.labels[row]), int(dialogue.speakers[row])
            if present[row, column]:
                continue
            if self.mismatch and label in self._by_label and rng.random() < self.mismatch:
                label = sorted(self._by_label)[rng.integers(len(self._by_label))]
            # An actor may have no clip of this label: then anybody's is taken.
            own = self._by_group[actor[slot]].get(label) if self._groups else None
            clips = own or self._by_label.get(label)
            if clips:
                features[row] = clips[rng.integers(len(clips))]
                if rng.random() < blend:
                    features[row].lerp_(clips[rng.integers(len(clips))], float(rng.random()))
                present[row, column] = True
        return replace(dialogue, features=dialogue.features | {self.modality: features}, present=present)


@dataclass(frozen=True)
class ClipBanks:
    """The banks of a run's training and of its validation, one for each corpus of clips."""

    training: tuple[ClipBank, ...]
    validation: tuple[ClipBank, ...]


def pair_clips(parts: Parts, found: FeatureVectors, mismatch: Mapping[str, float]) -> ClipBanks:
    """The clips of each part, ready to be paired with utterances of that part; `mismatch` is that of SamplerOptions."""

    def open_bank(name: str, part: Corpus) -> ClipBank:
        modality = CLIPS[name]
        return ClipBank(modality, part, found.vectors, mismatch.get(modality, 0.0))

    return ClipBanks(
        training=tuple(open_bank(name, training) for name, (training, _) in parts.clips.items()),
        validation=tuple(open_bank(name, validation) for name, (_, validation) in parts.clips.items()),
    )


def pair_for_validation(
    dialogues: Sequence[TensorDialogue], banks: Sequence[ClipBank], modalities: Sequence[str], seed: int
) -> dict[str, list[TensorDialogue]]:
    """Pattern -> the dialogues under it, clips paired with their utterances once, the same for all patterns."""
    rng = np.random.default_rng([seed, 2**31])
    paired = list(dialogues)
    for bank in banks:
        paired = [bank.attach(dialogue, rng) for dialogue in paired]
    return {"+".join(p): [dialogue.masked(p) for dialogue in paired] for p in modality_patterns(modalities)}
