"""Training dialogues whose modalities were never recorded together, and come and go as in a live call.

Where a corpus of dialogues has words alone (MELD), it gives the words, the speakers and the flow; a voice and a
face of the same label, from corpora of single clips, are put to each utterance anew in each pass. Such a pair says
nothing about how voices and words go together in life: it teaches the gates that each modality carries emotion, and
is never quoted as an accuracy. Since every utterance is one of the dialogues', the prior is theirs in every pattern of
modalities, and the rarity of neutral among acted clips does not leak in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from core_models.feature_spec import MODALITIES
from train.data.class_balance import class_counts, prior_offset
from train.data.clip_pairing import ClipBank
from train.data.dialogue_tensors import TensorDialogue, modality_patterns

# Clips in place of a dialogue, so that a batch of clips holds about as many utterances.
CLIPS_FOR_ONE = 4
# Batches whose dialogues are sorted by length together: little padding, order still random.
POOL = 16


@dataclass(frozen=True)
class SamplerOptions:
    """How training dialogues are sampled."""

    concatenate: float = 0.5
    """Share of dialogues that are joined to others until they fill the window: long calls exist."""
    constant_pattern: float = 0.5
    """Share of dialogues under one pattern of modalities throughout; elsewhere each utterance draws its own."""
    everything: float = 0.25
    """Share of draws of a pattern that keep all modalities; the others are drawn evenly from all patterns."""
    blend: float = 0.0
    """Share of paired voices and faces that are a random point between two clips of its label (mixup,
    Zhang et al., 2018, within a class)."""
    mismatch: dict[str, float] = field(default_factory=dict)
    """Modality -> share of utterances whose clip is of a label drawn at random, so that the modality is trusted no more
    than it deserves outside its own corpus: acted voices tell their emotion far better than those of a call."""
    batches: Literal["length", "shuffled"] = "length"
    """Dialogues of like length in a batch, which pads little, or as they come in the order drawn (SDT's program)."""
    plain_words: float = 0.0
    """Share of utterances with a voice or a face whose words are put aside for those of a neutral utterance, drawn at
    random: people say plain words in every mood, and an encoder is surer of lines that it was trained on than of a
    call's, so words would be trusted above a voice that knows better."""
    crop: int | None = None
    """Longer dialogues are cut into pieces of this many utterances, from a random start anew in each pass; every
    utterance is still seen once a pass. Null leaves them whole."""
    clips: float = 0.5
    """Single clips added to an epoch as dialogues of one utterance, under a prior of their own, as a share of each
    corpus of clips."""


class DialogueSampler:
    """The training set: `epoch(k)` is what the k-th pass sees, the same for the same seed."""

    def __init__(
        self,
        dialogues: Sequence[TensorDialogue],
        clips: Mapping[str, Sequence[TensorDialogue]],
        banks: Sequence[ClipBank],
        options: SamplerOptions,
        window: int,
        slots: int,
        seed: int,
        neutral: int = 0,
    ) -> None:
        """`clips` are the same clips as in `banks`, by corpus, as dialogues of one utterance; `neutral` is that class.

        `slots` are those that speakers are permuted among; 0 leaves speakers as they are.
        """
        self.dialogues, self.banks, self.options = dialogues, banks, options
        self.window, self.slots, self.seed = window, slots, seed
        self._plain = _list_plain_words(dialogues, neutral) if options.plain_words else torch.empty(0)
        classes = len(dialogues[0].offset)
        reference = class_counts(dialogues, classes)
        self.clips = {
            name: [replace(d, offset=prior_offset(class_counts(singles, classes), reference)) for d in singles]
            for name, singles in clips.items()
        }

    def epoch(self, number: int, batch: int) -> list[list[TensorDialogue]]:
        """The batches of one pass in their order: each of `batch` dialogues of like length, or of more clips."""
        # Of the seed and the pass alone: a resumed run sees in its fifth pass what it would have seen without the
        # break.
        rng = np.random.default_rng([self.seed, number])
        chosen: list[TensorDialogue] = []
        for index in rng.permutation(len(self.dialogues)):
            dialogue = self.dialogues[index]
            for bank in self.banks:
                dialogue = bank.attach(dialogue, rng, self.options.blend)
            chosen += [
                self._permute_speakers(self._put_plain_words(self._hide_modalities(piece, rng), rng), rng)
                for piece in self._crop_dialogue(dialogue, rng)
            ]
        batches = self._batch_dialogues(self._concatenate_dialogues(chosen, rng), batch, rng)
        for singles in self.clips.values():
            drawn = rng.permutation(len(singles))[: round(self.options.clips * len(singles))]
            size = batch * CLIPS_FOR_ONE
            clips = [self._permute_speakers(singles[index], rng) for index in drawn]
            batches += [clips[start : start + size] for start in range(0, len(clips), size)]
        return [batches[index] for index in rng.permutation(len(batches))]

    def _batch_dialogues(
        self, dialogues: list[TensorDialogue], size: int, rng: np.random.Generator
    ) -> list[list[TensorDialogue]]:
        if self.options.batches == "length":
            return bucket_dialogues(dialogues, size, rng)
        return [dialogues[start : start + size] for start in range(0, len(dialogues), size)]

    def _hide_modalities(self, dialogue: TensorDialogue, rng: np.random.Generator) -> TensorDialogue:
        """Modalities taken away by a random pattern, for the dialogue or for each utterance."""
        modalities = [m for m in MODALITIES if dialogue.present[:, MODALITIES.index(m)].any()]
        choices = [*modality_patterns(modalities), tuple(modalities)]
        # All modalities have a share of their own: of three they are but one pattern in seven, and the usual one of a
        # call.
        shares = np.full(len(choices), (1 - self.options.everything) / (len(choices) - 1))
        shares[-1] = self.options.everything
        constant = rng.random() < self.options.constant_pattern
        drawn = rng.choice(len(choices), size=1 if constant else len(dialogue), p=shares)
        allowed = torch.tensor([[m in choices[i] for m in MODALITIES] for i in drawn])
        kept = dialogue.present & allowed
        # An utterance whose face was not found must not lose its words as well, because the pattern was "face".
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, dialogue.present)
        return replace(dialogue, present=kept)

    def _put_plain_words(self, dialogue: TensorDialogue, rng: np.random.Generator) -> TensorDialogue:
        """Neutral utterances' words at some of the utterances that also have a voice or a face."""
        if not len(self._plain):
            return dialogue
        text = MODALITIES.index("text")
        others = [column for column in range(len(MODALITIES)) if column != text]
        there = dialogue.present[:, text] & dialogue.present[:, others].any(dim=1)
        chosen = there & torch.from_numpy(rng.random(len(dialogue)) < self.options.plain_words)
        drawn = self._plain[torch.from_numpy(rng.integers(len(self._plain), size=len(dialogue)))]
        words = torch.where(chosen[:, None], drawn, dialogue.features["text"])
        return replace(dialogue, features=dialogue.features | {"text": words})

    def _crop_dialogue(self, dialogue: TensorDialogue, rng: np.random.Generator) -> list[TensorDialogue]:
        """Pieces of at most `crop` utterances, the first of a random length, so that pieces begin anywhere."""
        length = self.options.crop
        if length is None or len(dialogue) <= length:
            return [dialogue]
        first = int(rng.integers(1, length + 1))
        starts = [0, *range(first, len(dialogue), length)]
        return [dialogue.piece(start, end) for start, end in zip(starts, [*starts[1:], len(dialogue)], strict=True)]

    def _permute_speakers(self, dialogue: TensorDialogue, rng: np.random.Generator) -> TensorDialogue:
        """Other slots for the same speakers (contract 5)."""
        if not self.slots:
            return dialogue
        return replace(dialogue, speakers=torch.from_numpy(rng.permutation(self.slots))[dialogue.speakers])

    def _concatenate_dialogues(self, dialogues: list[TensorDialogue], rng: np.random.Generator) -> list[TensorDialogue]:
        """Some of the dialogues joined to their successors until they are longer than the window."""
        joined: list[TensorDialogue] = []
        waiting: list[TensorDialogue] = []
        for dialogue in dialogues:
            if not waiting and rng.random() >= self.options.concatenate:
                joined.append(dialogue)
                continue
            waiting.append(dialogue)
            if sum(map(len, waiting)) > self.window:
                joined.append(join_dialogues(waiting))
                waiting = []
        return joined + ([join_dialogues(waiting)] if waiting else [])


def _list_plain_words(dialogues: Sequence[TensorDialogue], neutral: int) -> torch.Tensor:
    """[n, d], the words of the utterances of class `neutral`."""
    text = MODALITIES.index("text")
    return torch.cat([d.features["text"][(d.labels == neutral) & d.present[:, text]] for d in dialogues])


def bucket_dialogues(
    dialogues: list[TensorDialogue], size: int, rng: np.random.Generator
) -> list[list[TensorDialogue]]:
    """Batches of `size` in random order, dialogues of like length together: little padding."""
    batches = []
    for start in range(0, len(dialogues), size * POOL):
        pool = sorted(dialogues[start : start + size * POOL], key=len)
        batches += [pool[first : first + size] for first in range(0, len(pool), size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def join_dialogues(dialogues: Sequence[TensorDialogue]) -> TensorDialogue:
    """The dialogues one after another, as one."""
    return TensorDialogue(
        id="+".join(d.id for d in dialogues),
        features={m: torch.cat([d.features[m] for d in dialogues]) for m in dialogues[0].features},
        present=torch.cat([d.present for d in dialogues]),
        speakers=torch.cat([d.speakers for d in dialogues]),
        labels=torch.cat([d.labels for d in dialogues]),
        offset=dialogues[0].offset,
    )
