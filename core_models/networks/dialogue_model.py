"""The frame of a dialogue model: features in, whole or utterance by utterance, through one path (contract 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.networks.attention import Activation, EncoderLayer, KeyValueCache, Normalization
from core_models.networks.dialogue_state import DialogueState

# Standardised features are held within this, so that one broken vector leaves every loss finite.
STANDARDISED_LIMIT = 1e4

# Below these values a network cannot be built, or has nothing to do.
_LEAST = {
    "classes": 2,
    "width": 1,
    "heads": 1,
    "feed_forward": 1,
    "layers": 1,
    "kernel": 1,
    "speakers": 1,
    "window": 1,
    "rewind": 0,
}

Output = TypeVar("Output", bound=tuple[Any, ...])


@dataclass(frozen=True)
class DialogueConfig:
    """The shape that every dialogue model has; UsageError at construction when it cannot work."""

    dimensions: dict[str, int]
    """Modality -> width of its feature vector; a modality that is not named here is not used."""
    classes: int
    """Number of emotions."""
    width: int = 256
    """Common width d of all representations (papers: SDT 1024; CMATH 500 for IEMOCAP, 400 for MELD)."""
    heads: int = 8
    """Attention heads (CMATH at the paper's widths: 10, which divide them)."""
    feed_forward: int = 256
    """Inner width of the encoder layers (SDT's paper: 1024)."""
    layers: int = 1
    """Encoder layers, one after the other."""
    kernel: int = 1
    """Kernel of the temporal convolutions, in utterances."""
    dropout: float = 0.5
    """Dropout rate."""
    speakers: int = 9
    """Speaker slots; further speakers share the last one."""
    window: int = 32
    """Utterances that an utterance sees in each layer, itself included (without meaning if not causal)."""
    causal: bool = True
    """Off: the paper's own setting, where an utterance sees the future too."""
    null_key: bool = True
    """A learned key in every attention that is never masked; off as in the papers, where nothing is ever missing."""
    rewind: int = 8
    """Utterances beyond the window that a state keeps, so that `truncate` can take back that many exactly."""

    def __post_init__(self) -> None:
        if not set(self.dimensions) <= set(MODALITIES) or min(self.dimensions.values(), default=0) < 1:
            raise UsageError(
                f"dimensions must give a width of at least 1 for some of {', '.join(MODALITIES)}, "
                f"not {self.dimensions}; correct the model's configuration."
            )
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, at least {least} was expected; correct the model's "
                    "configuration."
                )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}, a rate from 0 to below 1 was expected; change it.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities in use, in the project's order."""
        return tuple(m for m in MODALITIES if m in self.dimensions)


def build_encoder_layer(
    config: DialogueConfig,
    count: int,
    *,
    rotary: bool,
    normalization: Normalization = "post",
    activation: Activation = "relu",
) -> EncoderLayer:
    """`count` encoder layers side by side, whose state reaches back the window and what may be taken back."""
    return EncoderLayer(
        count,
        config.width,
        config.heads,
        config.feed_forward,
        window=config.window,
        keep=config.window - 1 + config.rewind if config.causal else 0,
        rotary=rotary,
        causal=config.causal,
        dropout=config.dropout,
        null_key=config.null_key,
        normalization=normalization,
        activation=activation,
    )


def speaker_embedding(config: DialogueConfig) -> nn.Embedding:
    """A vector [width] for each speaker slot, small: a speaker colours an utterance, not drowns it."""
    slots = nn.Embedding(config.speakers, config.width)
    # Below the size of a standardised feature's projection.
    nn.init.normal_(slots.weight, std=0.1)
    return slots


class DialogueModel(nn.Module, Generic[Output]):
    """Standardised features, speaker slots and the state of a dialogue; a paper's network fills in the rest.

    A subclass gives `speakers`, what tells one speaker from another; `_advance_state`, its network over N utterances
    after a state; and `_begin_state`, the pasts of its layers (at least one) before the first. Below, M modalities are
    in use.
    """

    speakers: nn.Embedding | None

    def __init__(self, config: DialogueConfig, kernel: int, depth: int) -> None:
        """depth: convolutions of `kernel` utterances, one after the other, between features and attention."""
        super().__init__()
        self._frame = config
        self._columns = [MODALITIES.index(name) for name in config.modalities]
        before = kernel - 1 if config.causal else (kernel - 1) // 2
        self._left, self._right = depth * before, depth * (kernel - 1 - before)
        reach = max(config.window - 1, self._left)
        self._tail = reach + config.rewind if config.causal and self._left else 0
        for name in config.modalities:
            self.register_buffer(f"{name}_mean", torch.zeros(config.dimensions[name]))
            self.register_buffer(f"{name}_deviation", torch.ones(config.dimensions[name]))

    def _begin_state(self, batch: int) -> tuple[KeyValueCache, ...]:
        raise TypeError(f"{type(self).__name__} must define _begin_state.")

    def _advance_state(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, state: DialogueState
    ) -> tuple[Output, DialogueState]:
        """N utterances after `state`: the one path of `forward` (N = all) and `step` (N = 1)."""
        raise TypeError(f"{type(self).__name__} must define _advance_state.")

    def set_statistics(self, modality: str, mean: Tensor, deviation: Tensor) -> None:
        """Standardise the features of `modality` by these float [d_m] from now on; a checkpoint keeps them.

        Deviations are held above 0.001: a dimension that never moved in training stays harmless, and
        float16 can store them.
        """
        self.get_buffer(f"{modality}_mean").copy_(mean)
        self.get_buffer(f"{modality}_deviation").copy_(deviation.clamp(min=1e-3))

    def initial_state(self, batch: int) -> DialogueState:
        """The state of `batch` dialogues that have not begun."""
        device = next(self.parameters()).device
        return DialogueState(
            position=0,
            window=self._frame.window,
            layers=self._begin_state(batch),
            inputs={m: torch.zeros(batch, 0, d, device=device) for m, d in self._feature_widths().items()},
        )

    def forward(
        self,
        features: Mapping[str, Tensor],
        present: Tensor,
        speakers: Tensor,
        padding: Tensor | None = None,
    ) -> Output:
        """The output for whole dialogues.

        features: modality -> [B, N, d_m], whatever stands where it is missing; a modality that is left
        out is missing throughout; present: bool [B, N, 3] in the order of MODALITIES; speakers: int64
        [B, N] slots; padding: bool [B, N], True behind the end of a shorter dialogue.
        """
        if padding is not None:
            present = present & ~padding[..., None]
        return self._advance_state(features, present, speakers, self.initial_state(len(present)))[0]

    def step(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, state: DialogueState
    ) -> tuple[Output, DialogueState]:
        """What `forward` gives for the next utterance of B dialogues, and the state after it.

        features: modality -> [B, d_m]; present: bool [B, 3]; speakers: int64 [B]. The state that was given
        stays valid. UsageError when the model is not causal.
        """
        if not self._frame.causal:
            raise UsageError(
                "This model looks into the future (causal: false), so it cannot follow a live dialogue; "
                "run it on whole dialogues, or use a causal checkpoint."
            )
        output, state = self._advance_state(
            {m: x[:, None] for m, x in features.items()}, present[:, None], speakers[:, None], state
        )
        return type(output)(*(_drop_utterance_axis(x) for x in output)), state

    def _feature_widths(self) -> dict[str, int]:
        return {m: self._frame.dimensions[m] for m in self._frame.modalities}

    def _present_in_use(self, features: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """bool [M, B, N]: where each modality in use is there."""
        given = torch.tensor([m in features for m in self._frame.modalities], device=present.device)
        return (present[..., self._columns] & given).permute(2, 0, 1)

    def _standardise_features(
        self, features: Mapping[str, Tensor], valid: Tensor, state: DialogueState
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Modality -> [B, left + N + right, d_m], zero where missing or outside the dialogue; and the tails to keep.

        left and right: utterances around its own that the convolutions of an utterance read.
        """
        around, tails = {}, {}
        for here, (modality, width) in zip(valid, self._feature_widths().items(), strict=True):
            raw = features.get(modality)
            if raw is None:
                x = torch.zeros(*here.shape, width, device=here.device)
            else:
                mean, deviation = self.get_buffer(f"{modality}_mean"), self.get_buffer(f"{modality}_deviation")
                scaled = ((raw - mean) / deviation).clamp(-STANDARDISED_LIMIT, STANDARDISED_LIMIT)
                # No product: a missing entry may hold NaN.
                x = torch.where(here[..., None], scaled, 0.0)
            x = torch.cat([state.inputs[modality], x], dim=1)
            tails[modality] = x[:, max(0, x.shape[1] - self._tail) :]
            wanted = self._left + here.shape[-1] + self._right
            around[modality] = F.pad(x, (0, 0, self._left, self._right))[:, -wanted:]
        return around, tails

    def _embed_speakers(self, speakers: Tensor) -> Tensor:
        """[B, N, width] embedding of each utterance's speaker, zero without any; overflow shares the last slot."""
        if self.speakers is None:
            return torch.zeros(*speakers.shape, self._frame.width, device=speakers.device)
        found: Tensor = self.speakers(speakers.clamp(0, self._frame.speakers - 1))
        return found

    def _spread_modalities(self, x: Tensor) -> Tensor:
        """[M, B, N, ...] -> [B, N, 3, ...], zero for the modalities that this model does not use."""
        full = x.new_zeros(len(MODALITIES), *x.shape[1:])
        full[self._columns] = x
        return full.movedim(0, 2)


def convolve_causally(x: Tensor, convolutions: nn.ModuleDict, name: str) -> Tensor:
    """[B, N + kernel - 1, d] -> [B, N, out]: the convolution of that name over utterances, as one matrix product."""
    convolution = convolutions[name]
    assert isinstance(convolution, nn.Conv1d)
    patches = x.unfold(1, convolution.kernel_size[0], 1).flatten(2)
    return F.linear(patches, convolution.weight.flatten(1))


def _drop_utterance_axis(x: Tensor | dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """A tensor, or tensors by name, without the axis of utterances, of which there is one."""
    return x[:, 0] if isinstance(x, Tensor) else {name: value[:, 0] for name, value in x.items()}
