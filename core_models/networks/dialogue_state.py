"""What every dialogue model gives and keeps: its output for an utterance, and its state between utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import CheckpointError, UsageError
from core_models.networks.attention import KeyValueCache


class DialogueOutput(NamedTuple):
    """The model's output for each utterance; `step` gives it without the N axis. C classes."""

    logits: Tensor
    """[B, N, C], E of eq. 12. Finite but without meaning where every modality is missing."""
    gates: Tensor
    """[B, N, 3] in the order of MODALITIES, eq. 10 averaged over dimensions; 0 where missing, else sum 1."""
    students: Tensor
    """[B, N, 3, C], E_m of eq. 15 before the softmax; 0 where missing. [B, N, 0, C] of a model without students."""


@dataclass(frozen=True, eq=False)
class DialogueState:
    """Everything that `step` needs of the utterances before. A plain value: fork by assignment.

    No tensor in it is ever written to. Its size does not grow beyond `window - 1 + rewind` utterances.
    """

    position: int
    """Utterances stepped so far."""
    window: int
    """Utterances that the next one sees, itself included."""
    layers: tuple[KeyValueCache, ...]
    """Keys and values of each encoder layer."""
    inputs: dict[str, Tensor]
    """Modality -> [B, R, dimension], the convolution's tail; R is 0 for a kernel of 1."""

    def truncate(self, count: int) -> DialogueState:
        """The state exactly as it was `count` utterances ago; UsageError when it does not reach back so far."""
        held = self.layers[0].valid.shape[-1]
        reach = self.position if held == self.position else held - (self.window - 1)
        if not 0 <= count <= reach:
            raise UsageError(
                f"Cannot take back {count} utterances: this state of {self.position} reaches back {reach}; "
                "take back fewer, or return to a state that was saved earlier."
            )
        return replace(
            self,
            position=self.position - count,
            layers=tuple(past.truncate(count) for past in self.layers),
            inputs={m: x[:, : max(0, x.shape[1] - count)] for m, x in self.inputs.items()},
        )

    @property
    def held(self) -> int:
        """How many of the latest utterances it still holds."""
        return self.layers[0].valid.shape[-1]

    def without(self, forgotten: Sequence[bool]) -> DialogueState:
        """The state with some of the utterances that it holds masked as missing, [held], oldest first.

        Nothing of their own is left; in a model of several layers, others that saw them remain as they are.
        """
        gone = torch.tensor(forgotten, dtype=torch.bool, device=self.layers[0].valid.device)
        blank = gone[:, None]
        # A kernel longer than the window still holds what no utterance refers to: it goes as soon as anything goes.
        tail = max((x.shape[1] for x in self.inputs.values()), default=0)
        reach = F.pad(gone, (max(0, tail - len(gone)), 0), value=any(forgotten))[:, None]
        return replace(
            self,
            layers=tuple(
                KeyValueCache(past.keys.masked_fill(blank, 0), past.values.masked_fill(blank, 0), past.valid & ~gone)
                for past in self.layers
            ),
            inputs={m: x.masked_fill(reach[len(reach) - x.shape[1] :], 0) for m, x in self.inputs.items()},
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """A flat dict of contiguous tensors that share no memory, as safetensors wants it."""
        tensors = {"position": torch.tensor(self.position), "window": torch.tensor(self.window)}
        for index, past in enumerate(self.layers):
            tensors |= {f"layers.{index}.{name}": value for name, value in past._asdict().items()}
        tensors |= {f"inputs.{modality}": value for modality, value in self.inputs.items()}
        return {n: x.detach().clone(memory_format=torch.contiguous_format) for n, x in tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> DialogueState:
        """The state that `to_tensors` gave; CheckpointError when these tensors are not one."""
        try:
            count = len({name.split(".")[1] for name in tensors if name.startswith("layers.")}) or 1
            return cls(
                position=int(tensors["position"]),
                window=int(tensors["window"]),
                layers=tuple(
                    KeyValueCache(*(tensors[f"layers.{i}.{f}"] for f in KeyValueCache._fields)) for i in range(count)
                ),
                inputs={n.removeprefix("inputs."): x for n, x in tensors.items() if n.startswith("inputs.")},
            )
        except KeyError as missing:
            raise CheckpointError(
                f"The saved dialogue state lacks {missing}, which every state has; "
                "save it again with to_tensors, or start a new dialogue."
            ) from None
