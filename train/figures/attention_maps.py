"""What an utterance attends to in a dialogue model (SDT Fig. 8); utterances are numbers and slots, never words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.labels import IGNORED, LABEL_SETS
from core_models.networks.attention import UtteranceAttention
from train.data.dialogue_tensors import TensorDialogue, collate_dialogues
from train.evaluation.predictions import Place, Predictions

# Utterances in a figure at most; what lies further away stands in one row.
SHOWN = 16
FURTHER = "further away"
# Utterances before the chosen one, so that there is something to attend to.
SETTLED = 4


@dataclass(frozen=True)
class Attention:
    """The attention of one utterance, in the last layer."""

    weights: NDArray[np.float32]
    """[P, heads, S], each head's sum over S is 1."""
    blocks: tuple[str, ...]
    """What each of the P transformers reads for what."""
    seen: tuple[str, ...]
    """Names of the S rows: nothing (the null key), those further away, and each utterance shown."""
    title: str


def place_of(name: str, dialogues: Sequence[TensorDialogue]) -> Place:
    """The place that `dev/dia3:7` names. Raises UsageError where there is none."""
    dialogue, _, row = name.rpartition(":")
    lengths = {d.id: len(d) for d in dialogues}
    if not row.isdigit() or int(row) >= lengths.get(dialogue, 0):
        shown = f"{dialogues[0].id}:0"
        raise UsageError(f"There is no utterance {name!r}: give a dialogue and a number from 0, such as {shown}.")
    return Place(dialogue, int(row))


def most_confident_shift(predictions: Predictions, dialogues: Sequence[TensorDialogue]) -> Place | None:
    """The surest right judgement at which the speaker's emotion has changed, with all before it in the figure.

    None where there is no such utterance.
    """
    by_id = {dialogue.id: dialogue for dialogue in dialogues}
    confidence, said = predictions.logits.softmax(dim=1).max(dim=1)
    best, place = -1.0, None
    right = (said == predictions.truth).tolist()
    for here, sure, correct in zip(predictions.places, confidence.tolist(), right, strict=True):
        if correct and sure > best and SETTLED <= here.row < SHOWN and _label_turns(by_id[here.dialogue], here.row):
            best, place = sure, here
    return place


def _label_turns(dialogue: TensorDialogue, row: int) -> bool:
    before = (dialogue.speakers[:row] == dialogue.speakers[row]) & (dialogue.labels[:row] != IGNORED)
    return bool(before.any()) and bool(dialogue.labels[:row][before][-1] != dialogue.labels[row])


def attended(checkpoint: Checkpoint, dialogues: Sequence[TensorDialogue], place: Place) -> Attention | None:
    """What the utterance at `place` attends to; None of a model without attention over utterances."""
    layers = [module for module in checkpoint.model.modules() if isinstance(module, UtteranceAttention)]
    if not layers:
        return None
    layer, called = layers[-1], list[tuple[Any, ...]]()

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        called.append(arguments)

    dialogue = next(d for d in dialogues if d.id == place.dialogue)
    batch = collate_dialogues([dialogue])
    # The layer's own arguments are kept, so that the figure shows the weights of the pass that decided.
    hook = layer.register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            checkpoint.model(batch.features, batch.present, batch.speakers, batch.padding)
            weights = layer.weights(*called[-1])[:, 0, :, place.row]  # [P, heads, 1 + N]
    finally:
        hook.remove()
    names = _attention_blocks(checkpoint, len(weights))
    # A transformer that reads a modality of which nothing is there has nothing to show but its null key.
    told = [i for i in range(len(weights)) if weights[i, :, 1:].any()]
    rows, merged = _figure_rows(weights[told], dialogue, place.row, checkpoint)
    label = int(dialogue.labels[place.row])
    emotion = "no label" if label == IGNORED else LABEL_SETS[checkpoint.sidecar.labels].labels[label]
    title = f"attention of utterance {place.row + 1} (speaker {int(dialogue.speakers[place.row]) + 1}, {emotion})"
    return Attention(merged.float().numpy(), tuple(names[i] for i in told), rows, title)


def _attention_blocks(checkpoint: Checkpoint, count: int) -> tuple[str, ...]:
    config = checkpoint.model.config
    if getattr(config, "fusion", "") == "uni-cat":
        return ("all modalities",)
    every = range(len(config.modalities))
    # (target, source), target-major.
    pairs = getattr(config, "pairs", [(m, n) for m in every for n in every])
    names = [config.modalities[m] if m == n else f"{config.modalities[n]} for {config.modalities[m]}" for m, n in pairs]
    assert len(names) == count, "one name for each transformer"
    return tuple(names)


def _figure_rows(
    weights: Tensor, dialogue: TensorDialogue, row: int, checkpoint: Checkpoint
) -> tuple[tuple[str, ...], Tensor]:
    """(names, [P, heads, S]) of the rows that are shown, of weights [P, heads, 1 + N]."""
    last = row if checkpoint.model.config.causal else min(len(dialogue) - 1, row + SHOWN // 2)
    first = max(0, last - SHOWN + 1)
    labels = LABEL_SETS[checkpoint.sidecar.labels].labels

    def name_of(i: int) -> str:
        label = int(dialogue.labels[i])
        emotion = "no label" if label == IGNORED else labels[label]
        return f"{i + 1}, speaker {int(dialogue.speakers[i]) + 1}, {emotion}{' (this)' if i == row else ''}"

    shown = weights[..., 1 + first : 2 + last]
    nothing = weights[..., :1]
    further = 1 - nothing - shown.sum(dim=-1, keepdim=True)
    names, parts = ["nothing"], [nothing]
    if first > 0 or (last < len(dialogue) - 1 and not checkpoint.model.config.causal):
        names.append(FURTHER)
        parts.append(further.clamp(min=0))
    return (*names, *(name_of(i) for i in range(first, last + 1))), torch.cat([*parts, shown], dim=-1)
