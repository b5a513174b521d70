"""MCED: a speech student that learns emotion from a text teacher (Li, Zhao and Jin, Speech Emotion Recognition via
Multi-Level Cross-Modal Distillation, Interspeech 2021).

Here are the student (section 2.2) and the soft-align block (eq. 2), whose weights live in training alone. The losses
(eq. 1, 3 and 4) are in train/losses/mced.py. Named choices, where the paper is silent:

- The Conv1D block: kernels of 5 frames, the first two layers with stride 2 (so that a second is 12.5 frames for
  Whisper's 50, 25 for openSMILE's 100), each followed by a layer normalisation over channels and GELU. Nothing is
  normalised over time or over the batch, so a clip's output does not depend on what it is padded with.
- The transformer is that of Vaswani et al. (2017): sinusoidal positions, normalisation after each residual sum, GELU.
  "512 hidden units" is its width; its feed-forward layers are twice as wide.
- Frames are scaled by the mean and deviation of each descriptor over the training pairs, which the student keeps.
- The classifier's two fully connected layers have ReLU and dropout between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.networks.attention import sinusoidal_positions


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Shape of the student."""

    inputs: int
    """Numbers a frame: 130 low-level descriptors, or the width of Whisper's encoder."""
    classes: int
    """Classes of the label set."""
    width: int = 512
    """Channels of the Conv1D block and width of the transformer."""
    strides: tuple[int, ...] = (2, 2, 1, 1)
    """Stride of each Conv1D layer."""
    kernel: int = 5
    """Frames that a Conv1D layer sees, an odd number."""
    layers: int = 6
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    feed_forward: int = 1024
    """Width between the two linear maps of a transformer layer."""
    dropout: float = 0.1
    """Of attention weights, of both branches of a transformer layer and within the classifier."""

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise UsageError(f"width {self.width} is no even multiple of heads {self.heads}: change one of them.")
        if self.kernel % 2 == 0 or min(self.strides, default=0) < 1 or self.layers < 1:
            raise UsageError("kernel must be odd, strides one or more of 1 or more, and layers 1 or more: change them.")


class StudentOutput(NamedTuple):
    """The student's output for a batch of clips."""

    logits: Tensor
    """[B, C], z^s."""
    utterance: Tensor
    """[B, width], the maximum of the last layer over the clip's own frames."""
    hidden: tuple[Tensor, ...]
    """h^s_n of transformer layers n = 1, 2, ...: each [B, T, width], T frames after the strides."""
    real: Tensor
    """bool [B, T], False at padding."""


class Student(nn.Module):
    """Conv1D block, transformer encoder, max-pooling over real frames, classifier (section 2.2)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("deviation", torch.ones(config.inputs))
        channels = [config.inputs, *[config.width] * len(config.strides)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, config.kernel, stride, padding=config.kernel // 2)
            for (before, after), stride in zip(pairwise(channels), config.strides, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in config.strides)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))
        self.classifier = build_classifier(config, config.classes)

    def scale_by(self, mean: Tensor, deviation: Tensor) -> None:
        """Set what frames are scaled by, both [inputs]; a descriptor that never varies is only centred."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, frames: Tensor, lengths: Tensor) -> StudentOutput:
        """frames: float32 [B, T, inputs], padded at their ends; lengths: int64 [B], each from 1 to T."""
        real = _mask_until(lengths, frames.shape[1])
        x = ((frames - self.mean) / self.deviation).masked_fill(~real[..., None], 0.0)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.config.strides, strict=True):
            x = convolution(x.transpose(1, 2)).transpose(1, 2)  # [B, T / stride, width]
            lengths = (lengths - 1) // stride + 1
            real = _mask_until(lengths, x.shape[1])
            # Zeros behind the clip are what the next convolution sees at the end of a clip that stands alone.
            x = F.gelu(norm(x)).masked_fill(~real[..., None], 0.0)
        x = x + sinusoidal_positions(0, x.shape[1], self.config.width).to(x)
        hidden = []
        for layer in self.layers:
            x = layer(x, real)
            hidden.append(x)
        utterance = x.masked_fill(~real[..., None], -math.inf).amax(dim=1)  # [B, width]
        return StudentOutput(self.classifier(utterance), utterance, tuple(hidden), real)


class TransformerLayer(nn.Module):
    """Self-attention over the clip's own frames and a feed-forward layer, each normalised after its residual sum."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.heads, self.rate = config.heads, config.dropout
        self.projection = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.width, config.feed_forward), nn.GELU(), nn.Linear(config.feed_forward, config.width)
        )
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x: [B, T, width]; real: bool [B, T]."""
        batch, count, width = x.shape
        heads = self.projection(x).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # [B, heads, T, head]
        rate = self.rate if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, real[:, None, None, :], dropout_p=rate)
        x = self.attention_norm(x + self.dropout(self.output(seen.transpose(1, 2).reshape(batch, count, width))))
        summed: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return summed


class SoftAlign(nn.Module):
    """Eq. 2: the student's frames, gathered to each of the teacher's words by attention.

    W_q [d_t, d_t], W_k and W_v [d_s, d_t], without bias, as the paper gives them.
    """

    def __init__(self, teacher: int, student: int) -> None:
        super().__init__()
        self.query = nn.Linear(teacher, teacher, bias=False)
        self.key = nn.Linear(student, teacher, bias=False)
        self.value = nn.Linear(student, teacher, bias=False)

    def weights(self, teacher: Tensor, student: Tensor, real: Tensor) -> Tensor:
        """[B, T_t, T_s]: the share of each frame in each word; rows sum to 1, and padding has none."""
        keys = F.gelu(self.key(student))
        scores: Tensor = self.query(teacher) @ keys.transpose(1, 2) / math.sqrt(teacher.shape[-1])
        return scores.masked_fill(~real[:, None, :], -math.inf).softmax(dim=-1)

    def forward(self, teacher: Tensor, student: Tensor, real: Tensor) -> Tensor:
        """[B, T_t, d_t] from h^t_m [B, T_t, d_t], h^s_n [B, T_s, d_s] and real, bool [B, T_s]."""
        aligned: Tensor = self.weights(teacher, student, real) @ F.gelu(self.value(student))
        return aligned


def build_classifier(config: StudentConfig, classes: int) -> nn.Sequential:
    """The two fully connected layers above the utterance; a benchmark with other classes gets its own (section 3.2)."""
    return nn.Sequential(
        nn.Linear(config.width, config.width), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.width, classes)
    )


def _mask_until(lengths: Tensor, longest: int) -> Tensor:
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
