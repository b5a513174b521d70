"""CMATH: a cross-modality augmented transformer with hierarchical variational distillation (Zhu et al., 2024).

"CMATH: Cross-Modality Augmented Transformer with Hierarchical Variational Distillation for Multimodal Emotion
Recognition in Conversation"; equation numbers below are the paper's. Eq. 3-4 and 18-24 are the training
objective, train/losses/cmath.py. The authors' program is not public.

Named choices, where the paper is silent or was written for whole recordings:

- `causal` (ours, default): an utterance sees itself and the `window - 1` before it in every layer. Off is the
  paper's setting: both directions, whole dialogue, no `step`.
- `positions`: "sinusoidal" is eq. 6-7, added in eq. 8; "rotary" (ours, default) leaves eq. 8 without P and turns
  queries and keys instead, so that utterance 5,000 is like utterance 50.
- `kernel`: k_m of eq. 1-2, the same for all modalities, 1 by default. Without bias; on the left alone where the
  future is unknown. Inputs are standardised by fixed statistics of the training set (`set_statistics`), and U_m of
  eq. 3 is the standardised input, so that no unit of measurement outweighs another.
- `heads`: the paper names none. 8 do not divide its width of 500, 10 do.
- Gate of eq. 12: H'_m = sum over n of g_n * H(n -> m), where g is, for each dimension, the softmax over n of
  W(m, n) H(n -> m), every pair with a W of its own as the sources are not alike in quality.
- Norm is layer normalisation; FFN has one ReLU layer of `feed_forward`. With more than one of `layers`, eq. 13-14
  are applied to their own result; the paper has one.
- MLP of eq. 15: one hidden ReLU layer of width d. sigma = softplus of the last layer, which is positive and nowhere
  steep, and begins at about 0.1, where it does not yet drown the mean.
- No prior: eq. 24 has no term that holds N_x to one, so sigma is free to shrink. Eq. 17 is sampled in training
  alone; at inference H'_x is the mean.
- Dropout: after eq. 8, on attention weights, on both sums of the transformer and on the hidden layers of eq. 15.
- Missing modalities (ours): a missing entry gives nothing to the convolutions, its keys are masked, a learned null
  key stands in every attention; where n is missing it adds nothing to eq. 11, its score in eq. 12 is minus
  infinity, and eq. 16 averages over the modalities that are there.

Its Table 4 by switches: w/o MR is `reconstruction: false`, w/o CMA-T is `cma: false`; w/o LLD, HLD and HD are
switches of the objective. Its Table 5 by `dimensions`: a row names the modalities that it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.networks.attention import KeyValueCache, StackedLinear, sinusoidal_positions
from core_models.networks.dialogue_model import (
    DialogueConfig,
    DialogueModel,
    build_encoder_layer,
    convolve_causally,
    speaker_embedding,
)
from core_models.networks.dialogue_state import DialogueState

_SMALL_SIGMA = -2.25  # softplus of it is 0.1


class CMATHOutput(NamedTuple):
    """The model's output for each utterance; `step` gives it without the N axis. C classes, width d."""

    logits: Tensor
    """[B, N, C], Y_x of eq. 19 before the softmax. Finite but without meaning where every modality is missing."""
    gates: Tensor
    """[B, N, 3] in the order of MODALITIES: each source's share of eq. 12, averaged over dimensions and over the
    central modalities that are there; 0 where missing, else sum 1."""
    students: Tensor
    """[B, N, 3, C], Y_m of eq. 19 before the softmax; 0 where missing."""
    fused: Tensor
    """[B, N, d], H'_x of eq. 17."""
    augmented: Tensor
    """[B, N, 3, d], H'_m of eq. 12; 0 where missing."""
    inputs: dict[str, Tensor]
    """Modality -> [B, N, d_m], U_m standardised; 0 where missing."""
    reconstructed: dict[str, Tensor]
    """Modality -> [B, N, d_m], U''_m of eq. 2; empty without reconstruction."""


@dataclass(frozen=True)
class CMATHConfig(DialogueConfig):
    """Shape of a CMATH; UsageError at construction when it cannot work.

    `kernel` is that of eq. 1-2, whose convolutions together reach back no further than the window.
    """

    positions: Literal["rotary", "sinusoidal"] = "rotary"
    """How order enters: eq. 6-7, or rotary angles."""
    reconstruction: bool = True
    """Eq. 1-2; off is the row w/o MR of Table 4: a fully connected layer for each modality, nothing reconstructed."""
    cma: bool = True
    """Eq. 9-14; off is the row w/o CMA-T of Table 4: H' = H."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % (2 * self.heads) or self.width < 4 * self.heads:
            raise UsageError(
                f"width {self.width} is not an even multiple, at least fourfold, of {self.heads} heads; "
                "choose another width or number of heads."
            )
        if self.causal and self.reconstruction and 2 * (self.kernel - 1) >= self.window:
            raise UsageError(
                f"Two convolutions of kernel {self.kernel} reach back {2 * (self.kernel - 1)} utterances, a window of "
                f"{self.window} holds {self.window - 1}; choose a smaller kernel or a longer window."
            )


class CMATransformer(nn.Module):
    """Eq. 9-14 for every central modality at once: P = M * M pairs (central m, source n), central-major."""

    intra: Tensor

    def __init__(self, config: CMATHConfig) -> None:
        super().__init__()
        c, m = config, len(config.modalities)
        self.encoder = build_encoder_layer(c, m * m, rotary=c.positions == "rotary")
        self.gate = StackedLinear(m * m, c.width, c.width, bias=False)
        self.register_buffer("intra", torch.eye(m, dtype=torch.bool)[..., None, None, None], persistent=False)

    def forward(
        self, h: Tensor, valid: Tensor, past: KeyValueCache, start: int
    ) -> tuple[Tensor, Tensor, KeyValueCache]:
        """H' of eq. 12, [M, B, N, d]; the gates, [M, M, B, N, d], 1 in sum over the second axis; and the past after.

        h: H of eq. 8, [M, B, N, d]; valid: bool [M, B, N], where each modality is there; start: number of the first
        of the N utterances.
        """
        m = len(h)
        by_pair = (m, m, *h.shape[1:])
        central, source = h.repeat_interleave(m, dim=0), h.repeat(m, 1, 1, 1)
        known = valid.repeat(m, 1, 1)
        attended, past = self.encoder.attention(central, source, known, past, start)
        attended = torch.where(known[..., None], attended, 0.0).reshape(by_pair)
        mixed = torch.where(self.intra, attended.sum(dim=1, keepdim=True), attended)  # second line of eq. 11
        x = self.encoder.add(central, mixed.flatten(0, 1))  # the rest of eq. 9-11
        # Where nothing at all is present nothing is masked either, so that the softmax stays finite.
        absent = (~valid & valid.any(dim=0))[..., None]
        scores: Tensor = self.gate(x).reshape(by_pair)
        gates = scores.masked_fill(absent, -torch.inf).softmax(dim=1)
        return (gates * x.reshape(by_pair)).sum(dim=1), gates, past


class CMATH(DialogueModel[CMATHOutput]):
    """The network. Below, M modalities are in use."""

    def __init__(self, config: CMATHConfig) -> None:
        super().__init__(config, config.kernel, depth=2 if config.reconstruction else 0)
        self.config = c = config
        m = len(c.modalities)
        self.speakers = speaker_embedding(c)
        if c.reconstruction:
            self.down = nn.ModuleDict(
                {name: nn.Conv1d(c.dimensions[name], c.width, c.kernel, bias=False) for name in c.modalities}
            )
            self.up = nn.ModuleDict(
                {name: nn.Conv1d(c.width, c.dimensions[name], c.kernel, bias=False) for name in c.modalities}
            )
        else:
            self.down = nn.ModuleDict({name: nn.Linear(c.dimensions[name], c.width) for name in c.modalities})
        self.transformers = nn.ModuleList(CMATransformer(c) for _ in range(c.layers if c.cma else 0))
        self.mu, self.sigma = (
            nn.Sequential(
                StackedLinear(m, c.width, c.width), nn.ReLU(), nn.Dropout(c.dropout), StackedLinear(m, c.width, c.width)
            )
            for _ in range(2)
        )
        nn.init.constant_(self.sigma.get_parameter("3.bias"), _SMALL_SIGMA)
        self.classifier = nn.Linear(c.width, c.classes)
        self.students = StackedLinear(m, c.width, c.classes)
        self.dropout = nn.Dropout(c.dropout)

    def _begin_state(self, batch: int) -> tuple[KeyValueCache, ...]:
        if self.transformers:
            return tuple(layer.encoder.attention.empty(batch) for layer in self._list_layers())
        # Without attention nothing is remembered but how many utterances a state can take back.
        nothing = self.classifier.weight.new_zeros(0, batch, 1, 0, 1)
        return (KeyValueCache(nothing, nothing, nothing.new_zeros(0, batch, 0, dtype=torch.bool)),)

    def _list_layers(self) -> list[CMATransformer]:
        return [layer for layer in self.transformers if isinstance(layer, CMATransformer)]

    def _advance_state(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, state: DialogueState
    ) -> tuple[CMATHOutput, DialogueState]:
        count = speakers.shape[1]
        valid = self._present_in_use(features, present)
        around, tails = self._standardise_features(features, valid, state)
        compressed, reconstructed = self._reconstruct_inputs(around, count)
        shared = self._embed_speakers(speakers)  # eq. 5
        if self.config.positions == "sinusoidal":
            shared = shared + sinusoidal_positions(state.position + 1, count, self.config.width).to(shared)  # eq. 6-7
        h = self.dropout(compressed + shared)  # eq. 8

        there = valid[..., None]
        gates = there.float() / there.sum(dim=0).clamp(min=1)  # the shares where nothing is mixed
        share, layers = gates, []
        for layer, past in zip(self._list_layers(), state.layers, strict=self.config.cma):
            h, mixed, past = layer(h, valid, past, state.position)  # eq. 9-14
            gates = (mixed.mean(dim=-1, keepdim=True) * share[:, None]).sum(dim=0) * there
            layers.append(past)
        if not layers:
            layers = [self._count_on(state.layers[0], count)]

        mean = (self.mu(h) * share).sum(dim=0)  # eq. 15-16
        fused = mean
        if self.training:
            deviation = (F.softplus(self.sigma(h)) * share).sum(dim=0)
            fused = mean + torch.randn_like(deviation) * deviation  # eq. 17
        output = CMATHOutput(
            logits=self.classifier(fused),  # eq. 19
            gates=self._spread_modalities(gates[..., 0]),
            students=self._spread_modalities(torch.where(there, self.students(h), 0.0)),  # eq. 19
            fused=fused,
            augmented=self._spread_modalities(torch.where(there, h, 0.0)),
            inputs={name: x[:, self._left : self._left + count] for name, x in around.items()},
            reconstructed=reconstructed,
        )
        after = replace(state, position=state.position + count, layers=tuple(layers), inputs=tails)
        return output, after

    def _reconstruct_inputs(self, around: Mapping[str, Tensor], count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """U' of eq. 1, [M, B, N, d], and U'' of eq. 2 by modality, from features with those around them."""
        if not self.config.reconstruction:
            return torch.stack([self.down[name](x) for name, x in around.items()]), {}
        # Half of the reach belongs to each of the two convolutions.
        first = self._left // 2
        compressed, reconstructed = [], {}
        for name, x in around.items():
            down = convolve_causally(x, self.down, name)
            compressed.append(down[:, first : first + count])
            reconstructed[name] = convolve_causally(down, self.up, name)
        return torch.stack(compressed), reconstructed

    def _count_on(self, past: KeyValueCache, count: int) -> KeyValueCache:
        """The past of no layer at all, `count` utterances later."""
        held = min(past.valid.shape[-1] + count, self.config.window - 1 + self.config.rewind)
        nothing = past.keys.new_zeros(0, past.keys.shape[1], 1, held, 1)
        return KeyValueCache(nothing, nothing, past.valid.new_zeros(0, past.valid.shape[1], held))
