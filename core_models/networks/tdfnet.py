"""TDFNet: deep-scale fusion of sequences of sound and words (Zhao, Wang, Shen, Xu and Zhang, TDFNet:
Transformer-Based Deep-Scale Fusion Network for Multimodal Emotion Recognition, IEEE/ACM TASLP 2023).

An utterance is judged by itself: nothing of the dialogue before it is known. A are frames of sound, T states of
tokens, S the speaker's vector, n a sequence's length, d the width. Named choices, where the paper contradicts
itself or is silent:

- A and T are projected to d = 768: 12 heads do not divide HuBERT's 1024 (nor Whisper's 512), and eq. 8 needs one width.
- A' and T' of eq. 10 are what the first convolution gives, n / 2 long and d / 2 wide: two modalities, average and
  maximum, then make up the 2d by which O's 12d + f exceeds the 6d of U, f and the 4d of A and T.
- The two transformer layers over the whole range stand once before the blocks. Block i is convolution, two GRUs of
  d / 2^(i-1) and d / 2^i (768 and 384 in the first, as printed) that both modalities share, two transformer layers.
  The first convolutions shorten 512 frames and 128 tokens to 64 each; all later ones halve. Kernels have one step
  more than their stride; GELU follows.
- Eq. 5 and 7 as printed: the second residual sum is with the layer's input. W, b stand for the feed-forward layer of
  4096, with sigma = GELU inside and a map back to the width behind it.
- AvgPool of eq. 9 is average and maximum, else U were not 6d + f; S is taken as it is.
- alpha of eq. 11 weighs O dimension by dimension (`gate: dimension`), by a matrix of |O|^2, or source by source
  (`gate: source`), which is two thousand times smaller. P is a softmax (no GELU), so W and b give logits.
- Absent modalities are masked: every attention has a learned null key, and what would be pooled over nothing is a
  learned vector. Dropout 0.1, no positions (the embeddings carry them), features standardised by training's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.networks.attention import KeyValueCache
from core_models.networks.dialogue_state import DialogueOutput, DialogueState

# What TDFNet can take, in the order of MODALITIES.
TDFNET_MODALITIES = ("text", "voice")


@dataclass(frozen=True, kw_only=True)
class TDFNetConfig:
    """Shape of the network."""

    dimensions: dict[str, int]
    """text: numbers a token; voice: numbers a frame, the speaker's vector behind them. One or both."""
    classes: int
    """Classes of the label set."""
    speaker: int = 192
    """f: how many of a frame's numbers, the last, are the speaker's vector; 0: none."""
    width: int = 768
    """d."""
    heads: int = 12
    """Attention heads."""
    feed_forward: int = 4096
    """Width between the two linear maps of a transformer layer."""
    layers: int = 2
    """Transformer layers of each encoder."""
    blocks: int = 2
    """N, deep-scale blocks; 0: no deep-scale transformer (Table V, w/o DST)."""
    mutual: bool = True
    """False: no mutual transformer and no speaker vector (Table V, w/o MT)."""
    gate: Literal["dimension", "source"] = "dimension"
    """Eq. 11: a weight for each dimension of O, or one for each of the vectors that O is put together from."""
    frames: int = 512
    """Frames of sound at most; what comes after them is not heard."""
    tokens: int = 128
    """Tokens at most."""
    frame_stride: int = 8
    """By how much the first convolution shortens sound."""
    token_stride: int = 2
    """By how much the first convolution shortens words."""
    dropout: float = 0.1
    """Of both branches of a transformer layer and of what is classified."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.dimensions) - set(TDFNET_MODALITIES))
        if unknown or not self.dimensions:
            raise UsageError(f"TDFNet takes text and voice, not {unknown[0] if unknown else 'nothing'}: name those.")
        if self.width % (self.heads << self.blocks):
            raise UsageError(
                f"width {self.width} / 2^{self.blocks} is no multiple of heads {self.heads}: change one of the three."
            )
        if not 0 <= self.blocks <= 5 or min(self.layers, self.frames, self.tokens) < 1:
            raise UsageError("blocks must be 0 to 5, and layers, frames and tokens 1 or more: change them.")
        if self.frame_stride % 2 or self.token_stride % 2 or min(self.frame_stride, self.token_stride) < 2:
            raise UsageError("frame_stride and token_stride must be even numbers from 2 on: change them.")
        if "voice" in self.dimensions and not 0 <= self.speaker < self.dimensions["voice"]:
            raise UsageError(f"speaker {self.speaker} leaves nothing of a frame of {self.dimensions['voice']}.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those in use, in the order of MODALITIES."""
        return tuple(name for name in TDFNET_MODALITIES if name in self.dimensions)

    @property
    def window(self) -> int:
        """Utterances that an utterance sees: itself."""
        return 1

    @property
    def causal(self) -> bool:
        """Nothing of the future is seen."""
        return True

    @property
    def speakers(self) -> int:
        """It does not tell speakers of a dialogue apart."""
        return 1


class TDFNetOutput(NamedTuple):
    """TDFNet's output for B utterances."""

    logits: Tensor
    """[B, C], P of eq. 11 before the softmax. Finite but without meaning where every modality is missing."""
    utterance: Tensor
    """[B, |O|], O of eq. 10."""
    attention: Tensor
    """[B, |O|], alpha of eq. 11."""


class Source(NamedTuple):
    """One of the vectors that O is put together from."""

    name: str
    needs: str
    """Modality without which there is nothing to pool; empty for what pools over both."""
    width: int


class TDFNet(nn.Module):
    """Deep-scale transformer, mutual transformer and fusion classifier over given embeddings."""

    def __init__(self, config: TDFNetConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        own = dict(config.dimensions)
        self._speaker = config.speaker if "voice" in own and config.mutual else 0
        if "voice" in own:
            own["voice"] -= config.speaker
        for name, width in config.dimensions.items():
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_deviation", torch.ones(width))
        self.projection = nn.ModuleDict({name: nn.Linear(width, d) for name, width in own.items()})
        strides = {"text": config.token_stride, "voice": config.frame_stride}
        if config.blocks:
            self.whole = nn.ModuleDict({name: Encoder(config, d) for name in own})
            self.blocks = nn.ModuleList(
                DeepScaleBlock(config, d >> i, {name: strides[name] if i == 0 else 2 for name in own})
                for i in range(config.blocks)
            )
        if config.mutual:
            self.joint = Encoder(config, d)
            both = config.modalities if len(own) == 2 else ()
            self.mutual = nn.ModuleDict({name: Encoder(config, d) for name in both})
        self.sources = self._list_sources()
        total = sum(source.width for source in self.sources)
        self.absent = nn.Parameter(torch.zeros(total))
        self.attention = nn.Linear(total, total if config.gate == "dimension" else len(self.sources))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(total, config.classes)

    def set_statistics(self, modality: str, mean: Tensor, deviation: Tensor) -> None:
        """Standardise the features of `modality` by these, float [d_m]; a number that never varies is only centred."""
        self.get_buffer(f"{modality}_mean").copy_(mean)
        # float16 must be able to hold it
        self.get_buffer(f"{modality}_deviation").copy_(torch.where(deviation > 1e-3, deviation, 1.0))

    def forward(self, features: Mapping[str, Tensor], lengths: Mapping[str, Tensor]) -> TDFNetOutput:
        """features: modality -> float32 [B, T, d_m], padded at their ends; lengths: modality -> int64 [B], 0 where
        it is missing. A modality that is left out is missing throughout."""
        batch = next(iter(lengths.values()))
        x: dict[str, Tensor] = {}
        real: dict[str, Tensor] = {}
        speaker = self.absent.new_zeros(len(batch), 0)
        for name, most in (("text", self.config.tokens), ("voice", self.config.frames)):
            if name not in self.config.dimensions:
                continue
            given = features.get(name)
            length = lengths[name].clamp(max=most) if given is not None else torch.zeros_like(batch)
            raw = self.absent.new_zeros(len(batch), 1, self.config.dimensions[name]) if given is None else given
            real[name] = mask_until(length, min(raw.shape[1], most))
            scaled = (raw[:, :most] - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_deviation")
            scaled = scaled.masked_fill(~real[name][..., None], 0.0)
            if name == "voice":
                speaker = scaled[:, 0, scaled.shape[-1] - self.config.speaker :][:, : self._speaker]
                scaled = scaled[..., : scaled.shape[-1] - self.config.speaker]
            x[name] = self.projection[name](scaled)
        pooled = self._pool_sources(x, real, speaker)
        there = {name: mask[:, :1] for name, mask in real.items()} | {"": torch.ones_like(batch[:, None]).bool()}
        present = torch.cat([there[s.needs].expand(-1, s.width) for s in self.sources], dim=1)
        utterance = torch.where(present, torch.cat([pooled[s.name] for s in self.sources], dim=1), self.absent)
        attention = self.attention(utterance).sigmoid()
        if self.config.gate == "source":
            widths = torch.tensor([s.width for s in self.sources], device=attention.device)
            attention = attention.repeat_interleave(widths, dim=1)
        return TDFNetOutput(self.classifier(self.dropout(attention * utterance)), utterance, attention)

    def initial_state(self, batch: int) -> DialogueState:
        """The state of `batch` dialogues: it holds nothing but its position."""
        nothing = self.absent.new_zeros(0, batch, 0, 0, 0)
        return DialogueState(0, 1, (KeyValueCache(nothing, nothing, nothing.new_zeros(0, batch, 0).bool()),), {})

    def step(
        self, features: Mapping[str, Tensor], present: Tensor, speakers: Tensor, state: DialogueState
    ) -> tuple[DialogueOutput, DialogueState]:
        """The next utterance of B dialogues, judged as `forward` judges it, whatever was said before.

        features: modality -> [B, T, d_m]; present: bool [B, 3] in the order of MODALITIES; speakers are not used.
        A modality's gate is its mean weight of eq. 11, over the sources that are its alone.
        """
        lengths = {
            name: present[:, MODALITIES.index(name)] * (features[name].shape[1] if name in features else 0)
            for name in self.config.modalities
        }
        output = self(features, lengths)
        gates = output.attention.new_zeros(len(present), len(MODALITIES))
        weights = torch.split(output.attention, [source.width for source in self.sources], dim=1)
        for name in self.config.modalities:
            own = [part for source, part in zip(self.sources, weights, strict=True) if source.needs == name]
            gates[:, MODALITIES.index(name)] = torch.cat(own, dim=1).mean(dim=1) * (lengths[name] > 0)
        gates = gates / gates.sum(dim=1, keepdim=True).clamp(min=1e-9)
        students = output.logits.new_zeros(len(present), 0, self.config.classes)
        after = DialogueState(state.position + 1, state.window, state.layers, state.inputs)
        return DialogueOutput(output.logits, gates, students), after

    def _list_sources(self) -> list[Source]:
        """What O holds, in its order, by names of eq. 10 (D1 to DN, H1 to HN)."""
        d, config = self.config.width, self.config
        letters = {"voice": ("A", "A'", "D", "AT"), "text": ("T", "T'", "H", "TA")}
        found = []
        for name in config.modalities:
            whole, short, deep, mutual = letters[name]
            found.append(Source(whole, name, 2 * d))
            if config.blocks:
                found.append(Source(short, name, d))
            found += [Source(f"{deep}{i}", name, 2 * (d >> i)) for i in range(1, config.blocks + 1)]
            if config.mutual and len(config.modalities) == 2:
                found.append(Source(f"C{mutual}", name, 2 * d))
        if config.mutual:
            found.append(Source("C", "", 2 * d))
        if self._speaker:
            found.append(Source("S", "voice", self._speaker))
        return found

    def _pool_sources(self, x: Mapping[str, Tensor], real: Mapping[str, Tensor], speaker: Tensor) -> dict[str, Tensor]:
        """Source -> [B, width]: everything that eq. 10 puts together. x: modality -> [B, T, d], real: bool [B, T]."""
        names = {"voice": ("A", "A'", "D"), "text": ("T", "T'", "H")}
        found = {names[m][0]: pool_time(sequence, real[m]) for m, sequence in x.items()} | {"S": speaker}
        if self.config.blocks:
            deep = {m: self.whole[m](sequence, real[m]) for m, sequence in x.items()}
            masks = dict(real)
            for number, block in enumerate(self.blocks, start=1):
                assert isinstance(block, DeepScaleBlock)
                for m in deep:
                    short, masks[m] = block.shorten(m, deep[m], masks[m])
                    if number == 1:
                        found[names[m][1]] = pool_time(short, masks[m])
                    deep[m] = block(m, short, masks[m])
                    found[f"{names[m][2]}{number}"] = pool_time(deep[m], masks[m])
        if self.config.mutual:
            together, mask = torch.cat(list(x.values()), dim=1), torch.cat([real[m] for m in x], dim=1)
            found["C"] = pool_time(self.joint(together, mask), mask)  # eq. 8
            for m, other, name in (("voice", "text", "CAT"), ("text", "voice", "CTA")):
                if m in self.mutual:
                    found[name] = pool_time(self.mutual[m](x[m], real[m], x[other], real[other]), real[m])
        return found


class DeepScaleBlock(nn.Module):
    """Section III-C: a convolution for each modality, two GRUs for all of them (eq. 1, 2), a transformer each (5)."""

    def __init__(self, config: TDFNetConfig, width: int, strides: Mapping[str, int]) -> None:
        """From sequences of `width` to ones of half of it, shortened by `strides`."""
        super().__init__()
        self._strides = dict(strides)
        self.convolution = nn.ModuleDict(
            {m: nn.Conv1d(width, width // 2, stride + 1, stride, padding=stride // 2) for m, stride in strides.items()}
        )
        self.first = nn.GRU(width // 2, width, batch_first=True)
        self.second = nn.GRU(width, width // 2, batch_first=True)
        self.encoder = nn.ModuleDict({m: Encoder(config, width // 2) for m in strides})

    def shorten(self, modality: str, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """([B, T / stride, width / 2], which of them are real)."""
        # Zeros behind the end are what the convolution sees at the end of an utterance that stands alone.
        x = x.masked_fill(~real[..., None], 0.0).transpose(1, 2)
        short = F.gelu(self.convolution[modality](x).transpose(1, 2))
        return short, real[:, :: self._strides[modality]]

    def forward(self, modality: str, x: Tensor, real: Tensor) -> Tensor:
        """D or H, [B, T, width / 2], of what `shorten` gave."""
        # They run from the front, so that padding behind the end changes nothing before it.
        aligned = self.second(self.first(x)[0])[0]
        deep: Tensor = self.encoder[modality](aligned, real)
        return deep


class Encoder(nn.Module):
    """Transformer layers over one sequence (eq. 3 to 5), or from one to another (eq. 6, 7)."""

    def __init__(self, config: TDFNetConfig, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(config, width) for _ in range(config.layers))

    def forward(self, x: Tensor, real: Tensor, other: Tensor | None = None, there: Tensor | None = None) -> Tensor:
        """x: [B, T, width], real: bool [B, T]; other, there: what x asks instead of itself."""
        for layer in self.layers:
            x = layer(x, x, real) if other is None or there is None else layer(x, other, there)
        return x


class TransformerLayer(nn.Module):
    """L(x + FF(L(x + Attn(x)))): eq. 5 and 7, whose two residual sums are both with x."""

    def __init__(self, config: TDFNetConfig, width: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.null = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.feed_forward), nn.GELU(), nn.Linear(config.feed_forward, width)
        )
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, other: Tensor, there: Tensor) -> Tensor:
        """x: [B, T, width], asking other: [B, S, width] where there: bool [B, S]."""
        attended = self.attention_norm(x + self.dropout(self.attend(x, other, there)))
        summed: Tensor = self.norm(x + self.dropout(self.feed_forward(attended)))
        return summed

    def attend(self, x: Tensor, other: Tensor, there: Tensor) -> Tensor:
        """Eq. 4 and 6: [B, T, width]; the null key is always there."""
        query = self._split_heads(self.query(x))  # [B, heads, T, head]
        null = self.null.flatten().expand(len(x), 1, -1)
        pairs = torch.cat([null, self.key_value(other)], dim=1)  # [B, 1 + S, 2 width]
        key, value = (self._split_heads(part) for part in pairs.chunk(2, dim=-1))
        asked = F.pad(there, (1, 0), value=True)[:, None, None]  # [B, 1, 1, 1 + S]
        seen = F.scaled_dot_product_attention(query, key, value, asked)
        attended: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return attended

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


def pool_time(x: Tensor, real: Tensor) -> Tensor:
    """[B, 2 width]: average and maximum of x [B, T, width] over the real [B, T]; without meaning where none is."""
    mask = (real | ~real.any(dim=1, keepdim=True))[..., None]
    mean = x.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)
    return torch.cat([mean, x.masked_fill(~mask, -math.inf).amax(dim=1)], dim=1)


def mask_until(lengths: Tensor, longest: int) -> Tensor:
    """bool [B, longest], True before the end of each of `lengths` [B]."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def pad_sequences(sequences: Sequence[Tensor], width: int) -> tuple[Tensor, Tensor]:
    """(float32 [B, T, width], lengths int64 [B]) of sequences [T, width], zeros behind their ends; T is 1 or more."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    together = torch.zeros(len(sequences), max(1, int(lengths.max())), width)
    for row, sequence in enumerate(sequences):
        together[row, : len(sequence)] = sequence
    return together, lengths
