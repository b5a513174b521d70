"""The data module: everything that a run of a dialogue model trains on and is validated on, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.labels import LabelSet
from train.data.class_balance import class_counts, prior_offset, weights_of_counts
from train.data.clip_pairing import ClipBanks, pair_for_validation
from train.data.config import CLIPS
from train.data.corpus_parts import Parts, SelectOn
from train.data.dialogue_layout import DialogueLayout
from train.data.dialogue_sampler import DialogueSampler, SamplerOptions
from train.data.dialogue_tensors import TensorDialogue, to_tensors
from train.data.feature_statistics import mean_and_deviation
from train.data.feature_vectors import FeatureVectors


@dataclass
class DataModule:
    """Everything a run sees."""

    labels: LabelSet
    specs: dict[str, FeatureSpec]
    training: DialogueSampler
    validation: dict[str, list[TensorDialogue]]
    """Pattern such as "text+voice" -> dialogues; "voice clips" and the like are single clips."""
    counts: dict[str, dict[str, int]]
    """What there is of each corpus, for the record."""
    reading: DialogueLayout
    """How its dialogues are laid out."""
    native: str
    """The pattern that the dialogues have of their own, without paired clips."""

    @property
    def dimensions(self) -> dict[str, int]:
        """Modality -> width of its feature vector."""
        return {modality: spec.dimension for modality, spec in self.specs.items()}

    def class_counts(self) -> Tensor:
        """int64 [C], training utterances of each class, without clips."""
        return class_counts(self.training.dialogues, len(self.labels))

    def class_weights(self, power: float) -> Tensor:
        """float32 [C], frequency to minus `power`, scaled so that the mean over the training utterances is 1."""
        return weights_of_counts(self.class_counts(), power)

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality -> (mean [d], deviation [d]) over the training vectors."""
        dialogues = [*self.training.dialogues, *(d for clips in self.training.clips.values() for d in clips)]
        return {
            modality: mean_and_deviation(
                torch.cat([d.features[modality][d.present[:, MODALITIES.index(modality)]] for d in dialogues])
            )
            for modality in self.specs
        }

    def describe(self) -> str:
        """One row for each corpus: what of it is used."""
        return "\n".join(
            f"{name}: " + ", ".join(f"{value} {what}" for what, value in counts.items())
            for name, counts in self.counts.items()
        )


def make_tensors(
    parts: Parts,
    found: FeatureVectors,
    banks: ClipBanks,
    options: SamplerOptions,
    *,
    slots: int,
    window: int,
    seed: int,
    select_on: SelectOn = "validation",
) -> DataModule:
    """The sampler of training dialogues, the validation dialogues of each pattern, and what there is of each corpus.

    `slots` and `window` are the model's. Raises UsageError where a part has no vector at all, or the corpus names more
    speakers than there are slots.
    """
    if len(parts.layout.names) > slots:
        raise UsageError(
            f"data.speakers is corpus, but {parts.name} names {len(parts.layout.names)} speakers for {slots} slots, of "
            "which all others would share the last: set data.speakers to slots, or model.speakers higher."
        )
    tensors = {
        name: tuple(to_tensors(part, found.vectors, found.dimensions, slots, parts.layout) for part in pair)
        for name, pair in parts.corpora.items()
    }
    training, validation = tensors[parts.name]
    for part, what in ((training, "train"), (validation, select_on)):
        if not part:
            raise UsageError(
                f"data.{what} holds no dialogue of {parts.name} with a feature at all: choose a larger part."
            )
    permuted = slots if parts.layout.speakers == "slots" else 0
    clips = {name: tensors[name][0] for name in parts.clips}
    sampler = DialogueSampler(
        training, clips, banks.training, options, window, permuted, seed, parts.dialogues[0].labels.index("neutral")
    )
    shown = pair_for_validation(validation, banks.validation, list(found.specs), seed)
    labels = parts.dialogues[0].labels
    uniform = prior_offset(torch.ones(len(labels)), class_counts(training, len(labels)))
    for name in parts.clips:
        shown[f"{CLIPS[name]} clips"] = [replace(d, offset=uniform) for d in tensors[name][1]]
    counts = {name: _count_utterances(pair, found.missed[name]) for name, pair in tensors.items()}
    return DataModule(labels, found.specs, sampler, shown, counts, parts.layout, "+".join(found.native))


def _count_utterances(parts: Sequence[Sequence[TensorDialogue]], missed: int) -> dict[str, int]:
    """What there is of a corpus, under the names that records of checkpoints have had from the first."""
    present = [torch.cat([dialogue.present for dialogue in part]) if part else torch.zeros(0, 3) for part in parts]
    training, validation = (int(there.any(dim=1).sum()) for there in present)
    each = {f"with {m}": int(torch.cat(present)[:, i].sum()) for i, m in enumerate(MODALITIES)}
    several = {what: count for what, count in each.items() if count} if sum(map(bool, each.values())) > 1 else {}
    return {"training lines": training, "validation lines": validation, **several, "not found or broken": missed}
