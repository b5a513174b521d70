"""SDT: a transformer with self-distillation for emotion recognition in conversations (Ma et al., 2023).

"A Transformer-Based Model With Self-Distillation for Multimodal Emotion Recognition in Conversations",
IEEE Transactions on Multimedia; equation numbers below are the paper's. Eq. 14 and 17-21 are the training
objective, train/losses/sdt.py.

Named choices, where the paper is silent or was written for whole recordings:

- `causal` (ours, default): an utterance sees itself and the `window - 1` before it, so that a dialogue can
  be followed live. `causal=False` is the paper's setting: both directions, whole dialogue, no `step`.
- `positions`: "sinusoidal" is eq. 2, added in eq. 4; "rotary" (ours, default) leaves eq. 4 without PE and
  turns queries and keys instead, so that only distances count and utterance 5,000 is like utterance 50.
- `unimodal_gate`: "learned" is eq. 7-8; "identity" freezes W at identity, as the authors' program does for
  MELD.
- Missing modalities (ours): a missing entry gives nothing to the convolution, its keys are masked, a
  learned null key stands in every attention, H'(n -> m) = 0 in eq. 9 where n is missing, and its score in
  eq. 10 is minus infinity. A model may also be built for fewer than three modalities.
- Without intra-modal transformers n itself is its only source, so an utterance with a single modality comes
  out the same whatever it says. Uni-Cat-Transformer has a learned vector for each missing modality instead
  of masks, for what is concatenated cannot be masked one by one; it has no students, and its keys are the
  utterances at which anything is present.
- `gates` are equal shares of what is present where the model learns no weights (eq. 10 replaced).
- The transformer encoder is that of the paper's reference [54], normalised after each sum. With more than
  one layer the keys of an inter-modal block stay H_n; those of an intra-modal block follow its own stream.
- Eq. 1 has no bias (speaker embeddings of eq. 3 already shift every utterance). Inputs are standardised by
  fixed statistics of the training set (`set_statistics`; identity until it is called).
- Dropout: after eq. 4 (`embedding_dropout`), on attention weights, on both sums of the encoder and between its
  feed-forward layers, and before the students' layer.
- The authors' program differs from the text in `normalization`, `activation`, `embedding_dropout` and, for MELD,
  `unimodal_gate`; neither has a null key (`null_key`). train/recipes/dialogue/presets.py has both.

What the paper compares SDT with, and the switch that makes it:

    Table IV  w/o positional embeddings     positions: none
              w/o speaker embeddings        speaker_embeddings: false
              w/o intra-modal transformers  transformers: inter
              w/o inter-modal transformers  transformers: intra
              w/o L_CE, w/o L_KL            ce_weight: 0, kl_weight: 0 of the objective
              the six modality subsets      the keys of `dimensions` (in training: features.voice: null ...)
    Fig. 3    Add                           fusion: add
              Concatenation                 fusion: concatenation
              Uni-Cat-Transformer           fusion: uni-cat
    ours      each gate alone taken away    unimodal_gate: none, multimodal_gate: none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from core_models.errors import UsageError
from core_models.networks.attention import (
    Activation,
    EncoderLayer,
    KeyValueCache,
    Normalization,
    StackedLinear,
    sinusoidal_positions,
)
from core_models.networks.dialogue_model import (
    DialogueConfig,
    DialogueModel,
    build_encoder_layer,
    convolve_causally,
    speaker_embedding,
)
from core_models.networks.dialogue_state import DialogueOutput, DialogueState


@dataclass(frozen=True)
class SDTConfig(DialogueConfig):
    """Shape of an SDT; UsageError at construction when it cannot work. `kernel` is that of eq. 1."""

    positions: Literal["rotary", "sinusoidal", "none"] = "rotary"
    """How order enters: eq. 2, rotary angles, or not at all (Table IV, w/o positional embeddings)."""
    speaker_embeddings: bool = True
    """Eq. 3; off: Table IV, w/o speaker embeddings."""
    transformers: Literal["all", "inter", "intra"] = "all"
    """Eq. 5-6; `inter`: Table IV, w/o intra-modal transformers; `intra`: w/o inter-modal transformers."""
    fusion: Literal["gated", "add", "concatenation", "uni-cat"] = "gated"
    """Eq. 7-11; `add` and `concatenation` replace both levels of it, `uni-cat` also the transformers: one, over the
    concatenated modalities (Fig. 3). With these the two gates below are without meaning."""
    unimodal_gate: Literal["learned", "identity", "none"] = "learned"
    """Eq. 7-8 as printed, with W frozen at identity, or left out (H' = H)."""
    multimodal_gate: Literal["learned", "none"] = "learned"
    """Eq. 10 as printed, or equal weights for what is present."""
    normalization: Normalization = "post"
    """Layer normalisation of the encoder: after each sum, as the paper's reference [54] has it, or before the
    feed-forward layers alone, as the authors' program has it."""
    activation: Activation = "relu"
    """Between the feed-forward layers: ReLU, as in [54], or GELU by its tanh approximation, as in the program."""
    embedding_dropout: Literal["modality", "encoder"] = "modality"
    """Dropout after eq. 4: one mask of each modality for all encoders, or, as in the program, one of each encoder for
    its queries and one for its keys (one for both where they are the same)."""
    initialization: Literal["small", "torch"] = "small"
    """Speaker vectors that begin at a deviation of 0.1 and biases that begin at 0, or, as in the program, at torch's
    defaults: 1, and uniform within the inverse root of the inputs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % (4 * self.heads):
            raise UsageError(
                f"width {self.width} is not a multiple of 4 x {self.heads} heads; choose another width or "
                "number of heads."
            )
        if self.transformers == "inter" and len(self.dimensions) < 2:
            raise UsageError(
                f"transformers is inter, but {self.modalities[0]} is the only modality: give another modality, or "
                "choose all or intra."
            )

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(target m, source n) of each transformer H(n -> m), target-major, as indices into `modalities`."""
        if self.fusion == "uni-cat":
            return [(0, 0)]
        every = range(len(self.dimensions))
        kinds = {"all": (True, False), "intra": (True,), "inter": (False,)}[self.transformers]
        return [(m, n) for m in every for n in every if (m == n) in kinds]


class SDT(DialogueModel[DialogueOutput]):
    """The network. Below, M modalities are in use and P pairs (target m, source n): M * M unless some are left out."""

    target: Tensor
    source: Tensor
    intra: Tensor

    def __init__(self, config: SDTConfig) -> None:
        super().__init__(config, config.kernel, depth=1)
        self.config = c = config
        m, p = len(c.modalities), len(c.pairs)
        target, source = torch.tensor(c.pairs).unbind(dim=1)
        self.register_buffer("target", target, persistent=False)
        self.register_buffer("source", source, persistent=False)
        self.register_buffer("intra", (self.target == self.source)[:, None, None, None], persistent=False)
        self.convolutions = nn.ModuleDict(
            {name: nn.Conv1d(c.dimensions[name], c.width, c.kernel, bias=False) for name in c.modalities}
        )
        self.speakers = speaker_embedding(c) if c.speaker_embeddings else None
        self.encoder = nn.ModuleList(
            build_encoder_layer(
                c, p, rotary=c.positions == "rotary", normalization=c.normalization, activation=c.activation
            )
            for _ in range(c.layers)
        )
        gated, concatenated, alone = c.fusion == "gated", c.fusion == "concatenation", c.fusion == "uni-cat"
        filtered, weighed = gated and c.unimodal_gate == "learned", gated and c.multimodal_gate == "learned"
        self.unimodal_gate = StackedLinear(p, c.width, c.width, bias=False) if filtered else None
        self.enhance = StackedLinear(m, p // m * c.width, c.width) if gated or concatenated else None
        self.multimodal_gate = nn.Linear(c.width, c.width, bias=False) if weighed else None
        self.join = nn.Linear(m * c.width, c.width) if concatenated else None
        self.absent = nn.Parameter(0.02 * torch.randn(m, 1, 1, c.width)) if alone else None
        self.classifier = nn.Linear(c.width, c.classes)
        self.students = None if alone else StackedLinear(m, c.width, c.classes)
        self.dropout = nn.Dropout(c.dropout)
        if c.initialization == "torch":
            self._initialize_as_torch()

    def _initialize_as_torch(self) -> None:
        """The weights begin as those of torch's own layers already; here what else a layer of torch begins with."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                module.reset_parameters()
            elif isinstance(module, StackedLinear) and module.bias is not None:
                bound = module.weight.shape[1] ** -0.5
                nn.init.uniform_(module.bias, -bound, bound)

    def _begin_state(self, batch: int) -> tuple[KeyValueCache, ...]:
        return tuple(layer.attention.empty(batch) for layer in self._list_layers())

    def _list_layers(self) -> list[EncoderLayer]:
        return [layer for layer in self.encoder if isinstance(layer, EncoderLayer)]

    def _advance_state(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, state: DialogueState
    ) -> tuple[DialogueOutput, DialogueState]:
        valid = self._present_in_use(features, present)
        around, tails = self._standardise_features(features, valid, state)
        low = self._embed_inputs(around, valid, speakers, state.position)
        heard = valid if self.absent is None else valid.any(dim=0, keepdim=True)
        x, source, known = low[self.target], low[self.source], heard[self.source]
        if self.config.embedding_dropout == "encoder":
            x, source = self.dropout(x), self.dropout(source)
        layers = []
        for layer, past in zip(self._list_layers(), state.layers, strict=True):  # eq. 5-6
            memory = torch.where(self.intra, x, source)
            x, past = layer(x, memory, known, past, state.position)
            layers.append(past)
        after = DialogueState(state.position + speakers.shape[1], state.window, tuple(layers), tails)
        return self._fuse_modalities(x, valid), after

    def _embed_inputs(self, around: Mapping[str, Tensor], valid: Tensor, speakers: Tensor, start: int) -> Tensor:
        """H of eq. 4 for all modalities, [M, B, N, d] (uni-cat: for all together, [1, B, N, d])."""
        low = torch.stack([convolve_causally(x, self.convolutions, name) for name, x in around.items()])  # eq. 1
        if self.absent is not None:
            # The convolution of all features concatenated is the sum of the convolutions of each.
            low = (low + torch.where(valid[..., None], 0.0, self.absent)).sum(dim=0, keepdim=True)
        shared = self._embed_speakers(speakers)  # eq. 3
        if self.config.positions == "sinusoidal":
            shared = shared + sinusoidal_positions(start, speakers.shape[1], self.config.width).to(shared)  # eq. 2
        embedded = low + shared  # eq. 4
        if self.config.embedding_dropout == "encoder":
            return embedded
        dropped: Tensor = self.dropout(embedded)
        return dropped

    def _fuse_modalities(self, x: Tensor, valid: Tensor) -> DialogueOutput:
        """Eq. 7-12 and 15 on H(n -> m), [P, B, N, d]."""
        there = valid[..., None]  # [M, B, N, 1]
        if self.students is None:
            logits = self.classifier(x[0])
            none = logits.unsqueeze(2)[:, :, :0]
            return DialogueOutput(logits, self._spread_modalities(_gate_shares(valid)), none)
        enhanced = self._enhance_modalities(x, valid)
        if self.join is not None:
            fused = self.join(torch.where(there, enhanced, 0.0).movedim(0, 2).flatten(2))
            gates = _gate_shares(valid)
        elif self.config.fusion == "add":
            fused, gates = (enhanced * there).sum(dim=0), _gate_shares(valid)
        else:
            weights = self._weigh_modalities(enhanced, there)
            fused, gates = (enhanced * weights).sum(dim=0), weights.mean(dim=-1)  # eq. 11
        logits = self.classifier(fused)  # eq. 12
        students = self.students(self.dropout(enhanced.relu()))  # eq. 15
        return DialogueOutput(
            logits, self._spread_modalities(gates), self._spread_modalities(torch.where(there, students, 0.0))
        )

    def _enhance_modalities(self, x: Tensor, valid: Tensor) -> Tensor:
        """H'_m of eq. 9 from H(n -> m), [P, B, N, d] -> [M, B, N, d]."""
        if self.unimodal_gate is not None:
            x = x * self.unimodal_gate(x).sigmoid()  # eq. 7-8
        elif self.config.fusion == "gated" and self.config.unimodal_gate == "identity":
            x = x * x.sigmoid()
        x = torch.where(valid[self.source][..., None], x, 0.0)
        x = x.reshape(len(valid), -1, *x.shape[1:])  # [M, P / M, B, N, d]
        return x.sum(dim=1) if self.enhance is None else self.enhance(x.movedim(1, 3).flatten(3))

    def _weigh_modalities(self, enhanced: Tensor, there: Tensor) -> Tensor:
        """g of eq. 10, [M, B, N, d] or, where nothing is learned, [M, B, N, 1]: 0 where missing, else sum 1."""
        if self.multimodal_gate is None:
            return _gate_shares(there)
        # Where nothing at all is present nothing is masked either, so that the softmax stays finite.
        scores: Tensor = self.multimodal_gate(enhanced)
        scores = scores.masked_fill(~there & there.any(dim=0), -torch.inf)
        return scores.softmax(dim=0) * there


def _gate_shares(valid: Tensor) -> Tensor:
    """Equal weights over the first axis for what is present."""
    return valid / valid.sum(dim=0).clamp(min=1)
