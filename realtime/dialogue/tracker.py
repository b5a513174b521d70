"""From features to a judgement: one step of the dialogue model, and what it says (no I/O inside)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.checkpoint import Checkpoint
from core_models.errors import TrackerError
from core_models.feature_spec import MODALITIES
from core_models.labels import LABEL_SETS
from core_models.networks.dialogue_state import DialogueState


@dataclass(frozen=True)
class Judgement:
    """The model's output for one utterance: distributions over the checkpoint's labels, each summing to 1.

    `unimodal` (what the model says from one modality alone) and `gates` hold an entry for each modality that was
    there. `uncertain`: the confidence is below that which the checkpoint asks for. `previous` is the latest certain
    emotion of this speaker, None at first.
    """

    emotion: str
    probabilities: dict[str, float]
    unimodal: dict[str, dict[str, float]]
    gates: dict[str, float]
    previous: str | None
    uncertain: bool = False


class NonFiniteStep(TrackerError):
    """A step whose result is NaN or infinite."""


class Tracker:
    """Follows one dialogue, utterance by utterance, in commit order.

    Four dialogues are stepped together as a batch: the one with every modality, and for each modality the
    same dialogue with the others masked throughout; the latter give what the model says from that modality alone
    (heads on fused features cannot, since there the modalities are mixed already). Speakers are slots by first
    appearance.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.labels = LABEL_SETS[checkpoint.sidecar.labels].labels
        self._model = checkpoint.model.eval()
        self._device = next(checkpoint.model.parameters()).device
        self._temperature = checkpoint.sidecar.temperature
        self._abstain = checkpoint.sidecar.abstain
        self._modalities = frozenset(checkpoint.sidecar.features)
        self._state = self._model.initial_state(1 + len(MODALITIES))
        self._slots: dict[str, int] = {}
        self._emotions: dict[str, str] = {}
        # Of the utterances that the state still holds, oldest first.
        self._held_slots: list[int] = []

    def step(self, speaker: str, features: Mapping[str, NDArray[np.float32]]) -> Judgement:
        """Judge the next utterance; ValueError when no modality that the model knows is there.

        NonFiniteStep where the model's answer is no number; the dialogue is then as it was before.
        """
        slot = self._slots.setdefault(speaker, len(self._slots))
        judgement, self._state = self._judge_utterance(speaker, slot, features)
        if not judgement.uncertain:
            self._emotions[speaker] = judgement.emotion
        self._held_slots.append(slot)
        del self._held_slots[: len(self._held_slots) - self._state.held]
        return judgement

    def step_without_commit(self, speaker: str, features: Mapping[str, NDArray[np.float32]]) -> Judgement:
        """What `step` would say now; the dialogue is left as it is."""
        return self._judge_utterance(speaker, self._slots.get(speaker, len(self._slots)), features)[0]

    def forget(self, speaker: str) -> None:
        """Mask everything that this speaker has said or shown so far; the utterances of others keep their places."""
        slot = self._slots.get(speaker)
        self._emotions.pop(speaker, None)
        self._state = self._state.without([held == slot for held in self._held_slots])

    @torch.inference_mode()
    def _judge_utterance(
        self, speaker: str, slot: int, features: Mapping[str, NDArray[np.float32]]
    ) -> tuple[Judgement, DialogueState]:
        here = [m for m in MODALITIES if m in features and m in self._modalities]
        if not here:
            raise ValueError("an utterance without any modality takes no step")
        rows = 1 + len(MODALITIES)
        # One vector, or a sequence of them (TDFNet); what is left out is missing.
        given = {m: torch.from_numpy(features[m]).to(self._device) for m in here}
        inputs = {m: x.expand(rows, *x.shape) for m, x in given.items()}
        fused_row = torch.tensor([m in here for m in MODALITIES])
        present = torch.cat([fused_row[None], torch.diag(fused_row)]).to(self._device)
        output, state = self._model.step(inputs, present, torch.full((rows,), slot, device=self._device), self._state)
        logits = output.logits.float().cpu()
        used = [0, *(1 + MODALITIES.index(m) for m in here)]
        if not torch.isfinite(logits[used]).all():
            # Kept, the state would give no number for any utterance to come.
            raise NonFiniteStep("The dialogue model gave no number for this utterance: it is left out.")
        fused = self._to_probabilities(logits[0], here)
        emotion = max(fused, key=fused.__getitem__)
        judgement = Judgement(
            emotion=emotion,
            probabilities=fused,
            unimodal={m: self._to_probabilities(logits[1 + MODALITIES.index(m)], [m]) for m in here},
            gates={m: float(output.gates[0, MODALITIES.index(m)]) for m in here},
            previous=self._emotions.get(speaker),
            uncertain=fused[emotion] < self._abstain,
        )
        return judgement, state

    def _to_probabilities(self, logits: torch.Tensor, pattern: list[str]) -> dict[str, float]:
        temperature = self._temperature.get("+".join(pattern), 1.0)
        probabilities = torch.softmax(logits.double() / temperature, dim=-1).tolist()
        return dict(zip(self.labels, probabilities, strict=True))
