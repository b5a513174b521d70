"""What a voice sounds like it feels: small networks over Whisper's frames and the prosody beside them.

Each network maps frames to channels, mixes neighbouring ones by depthwise-separable convolutions (Chollet, Xception,
2017), pools by attentive statistics with several heads (Okabe et al., Attentive Statistics Pooling for Deep Speaker
Embedding, 2018, eq. 2 to 6) and classifies. Nothing is normalised over time or over a batch, so what a clip gives does
not depend on what it is padded with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Shape of the head."""

    states: int
    """Width of Whisper's encoder states, which come first in a frame."""
    prosody: int
    """Numbers of prosody behind them."""
    classes: int
    """Classes of the label set."""
    members: int = 1
    """Networks of this shape whose log-probabilities are averaged."""
    width: int = 96
    """Channels that the states are mapped to."""
    prosody_width: int = 48
    """Channels that prosody is mapped to."""
    kernel: int = 5
    """Frames that a convolution sees, an odd number."""
    layers: int = 2
    """Convolutions."""
    heads: int = 4
    """Attentions over time; each pools its own part of the channels."""
    attention: int = 48
    """Width of the layer that attention is computed from."""
    dropout: float = 0.3
    """Of what is pooled."""
    channel_dropout: float = 0.1
    """Of whole channels within a convolution."""
    input_dropout: float = 0.2
    """Of whole dimensions of the states."""

    def __post_init__(self) -> None:
        if self.channels % self.heads or self.kernel % 2 == 0 or self.members < 1:
            raise UsageError("heads must divide width + prosody_width, kernel be odd, members 1 or more.")

    @property
    def channels(self) -> int:
        """Channels of a frame."""
        return self.width + self.prosody_width


class VoiceHead(nn.Module):
    """Frames to log-probabilities; those of several members are averaged, then normalised again."""

    temperature: Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(Member(config) for _ in range(config.members))
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """float32 [B, C] of frames [B, T, states + prosody], padded at their ends, and lengths int64 [B]."""
        logits = torch.stack([member(frames, lengths).log_softmax(dim=-1) for member in self.members])
        return (logits.mean(dim=0) / self.temperature).log_softmax(dim=-1)


class Member(nn.Module):
    """One network."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.register_buffer("mean", torch.zeros(config.states + config.prosody))
        self.register_buffer("deviation", torch.ones(config.states + config.prosody))
        self.states = nn.Linear(config.states, config.width)
        self.prosody = nn.Conv1d(config.prosody, config.prosody_width, config.kernel, padding=config.kernel // 2)
        self.prosody_norm = nn.LayerNorm(config.prosody_width)
        self.norm = nn.LayerNorm(channels)
        self.layers = nn.ModuleList(Separable(config) for _ in range(config.layers))
        self.attention = nn.Sequential(
            nn.Linear(channels, config.attention), nn.Tanh(), nn.Linear(config.attention, config.heads)
        )
        self.pooled_norm = nn.LayerNorm(2 * channels)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * channels, config.classes)

    def scale_by(self, mean: Tensor, deviation: Tensor) -> None:
        """Set what frames are scaled by, both [states + prosody]."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=1e-3))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, C]."""
        return self.classify(self.pooled(frames, lengths))

    def pooled(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """[B, 2 * channels]: weighted means and deviations over each clip's own frames."""
        real = torch.arange(frames.shape[1]) < lengths[:, None]  # [B, T]
        shown = real[..., None].to(frames.dtype)
        scaled = (frames - self.mean) / self.deviation * shown
        states, prosody = scaled[..., : self.config.states], scaled[..., self.config.states :]
        beside = self.prosody_norm(self.prosody(prosody.transpose(1, 2)).transpose(1, 2))
        states = self.states(_without_bias(states, self.config.input_dropout, self.training))
        x = F.gelu(self.norm(torch.cat([states, beside], dim=-1))) * shown
        for layer in self.layers:
            x = layer(x, shown)
        batch, count, channels = x.shape
        scores = self.attention(x).masked_fill(~real[..., None], -math.inf)
        weights = scores.softmax(dim=1)[..., None]  # [B, T, heads, 1]
        parts = x.view(batch, count, self.config.heads, channels // self.config.heads)
        mean = (weights * parts).sum(dim=1)
        variance = (weights * (parts - mean[:, None]).square()).sum(dim=1)
        moments = torch.cat([mean.flatten(1), variance.clamp(min=1e-6).sqrt().flatten(1)], dim=1)
        found: Tensor = self.pooled_norm(moments)
        return found

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits [B, C] of what `pooled` gives, or of a mixture of two clips' (mixup)."""
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class Separable(nn.Module):
    """A convolution of each channel over time, then a map of the channels, added to what came in."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        channels = config.channels
        self.over_time = nn.Conv1d(channels, channels, config.kernel, padding=config.kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.over_channels = nn.Linear(channels, channels)
        self.rate = config.channel_dropout

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        """x: [B, T, channels]; shown: float [B, T, 1], 0 at padding."""
        seen = self.over_time(x.transpose(1, 2)).transpose(1, 2)
        return (x + F.gelu(self.over_channels(_without_bias(self.norm(seen), self.rate, self.training)))) * shown


def _without_bias(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout that takes a channel from all frames of a clip: neighbouring frames would tell what one of them lost."""
    if not training or not rate:
        return x
    kept = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= rate
    return x * (kept.to(x.dtype) / (1 - rate))
