"""Attention over the utterances of a dialogue, several blocks at once, fed whole or utterance by utterance.

P blocks of equal shape (SDT has nine) lie side by side in stacked parameters: one matrix product serves
them all, which is what makes a live step cheap. The block axis comes first in every tensor here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Normalization = Literal["post", "pre"]
Activation = Literal["relu", "gelu"]

WAVELENGTH = 10_000.0  # the constant of SDT eq. 2, used for sinusoidal and rotary angles alike


def rotary_angles(start: int, count: int, pairs: int) -> Tensor:
    """float64 [count, pairs] on the CPU: utterance number times frequency 10000^(-i / pairs).

    Double precision because float32 angles at utterance 5,000 are wrong in the fourth decimal.
    """
    numbers = torch.arange(start, start + count, dtype=torch.float64)
    frequencies = WAVELENGTH ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    return numbers[:, None] * frequencies


def sinusoidal_positions(start: int, count: int, width: int) -> Tensor:
    """float32 [count, width]: the absolute position embedding of SDT eq. 2, sine on even dimensions."""
    angle = rotary_angles(start, count, width // 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def _rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the leading 2 * pairs dimensions of x [..., N, head] by angles [N, pairs]; leave the rest."""
    pairs = cos.shape[-1]
    a, b, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


class StackedLinear(nn.Module):
    """P affine maps side by side: [P, ..., inputs] -> [P, ..., outputs]."""

    def __init__(self, blocks: int, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(blocks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1, -2)
        product = rows @ self.weight if self.bias is None else torch.baddbmm(self.bias, rows, self.weight)
        return product.reshape(*x.shape[:-1], -1)


class StackedNorm(nn.Module):
    """P layer normalisations side by side, over the last dimension alone (never over a dialogue)."""

    def __init__(self, blocks: int, width: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(blocks, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * self.weight + self.bias


class KeyValueCache(NamedTuple):
    """Keys and values of the latest R utterances, oldest first. Never written to, so old ones stay valid."""

    keys: Tensor  # [P, B, heads, R, head], already rotated
    values: Tensor  # [P, B, heads, R, head]
    valid: Tensor  # bool [P, B, R], False where the modality was missing

    def truncate(self, count: int) -> KeyValueCache:
        """Without its latest `count` utterances."""
        held = self.valid.shape[-1] - count
        return KeyValueCache(self.keys[..., :held, :], self.values[..., :held, :], self.valid[..., :held])


class UtteranceAttention(nn.Module):
    """Multi-head attention in which utterance i sees utterances j with i - window < j <= i.

    With `causal` off it sees the whole dialogue in both directions. A learned null key and value of each
    head can always be attended to, so a softmax whose keys are all masked is not NaN. With `rotary`, half
    of each head's dimensions turn with the utterance number; the null key lives in the other half, so its
    score, like that of every real key, does not depend on where in the dialogue it is asked for.

    Without the null key (`null_key` off, as the papers have it) a query whose keys are all masked gets finite numbers
    without meaning, which the caller must leave out.
    """

    null_key: nn.Parameter
    null_value: nn.Parameter

    def __init__(
        self,
        blocks: int,
        width: int,
        heads: int,
        *,
        window: int,
        keep: int,
        rotary: bool,
        causal: bool,
        dropout: float,
        null_key: bool = True,
    ) -> None:
        super().__init__()
        head = width // heads
        self.blocks, self.heads, self.head = blocks, heads, head
        self.window, self.keep, self.causal, self.dropout = window, keep, causal, dropout
        self.turned = head // 2 if rotary else 0
        self.query = StackedLinear(blocks, width, width)
        self.key_value = StackedLinear(blocks, width, 2 * width)
        self.output = StackedLinear(blocks, width, width)
        self.nulls = int(null_key)
        key, value = 0.02 * torch.randn(blocks, 1, heads, 1, head - self.turned), torch.zeros(blocks, 1, heads, 1, head)
        self.register_parameter("null_key", nn.Parameter(key) if null_key else None)
        self.register_parameter("null_value", nn.Parameter(value) if null_key else None)

    def empty(self, batch: int) -> KeyValueCache:
        """The past of a dialogue that has not begun."""
        nothing = self.output.weight.new_zeros(self.blocks, batch, self.heads, 0, self.head)
        return KeyValueCache(nothing, nothing, nothing.new_zeros(self.blocks, batch, 0, dtype=torch.bool))

    def forward(
        self, queries: Tensor, memory: Tensor, valid: Tensor, past: KeyValueCache, start: int
    ) -> tuple[Tensor, KeyValueCache]:
        """[P, B, N, width] attended, and the past that the utterance after these N needs.

        queries, memory: [P, B, N, width]; valid: bool [P, B, N], False where memory is missing;
        start: number of the first of the N utterances, counted from the start of the dialogue.
        """
        q, keys, values, known, mask = self._prepare_inputs(queries, memory, valid, past, start)
        attended = F.scaled_dot_product_attention(
            q.flatten(0, 1),
            keys.flatten(0, 1),
            values.flatten(0, 1),
            attn_mask=mask.flatten(0, 1)[:, None],
            dropout_p=self.dropout if self.training else 0.0,
        )  # [P * B, heads, N, head]
        merged = attended.reshape(q.shape).transpose(2, 3).flatten(3)
        first = max(0, known.shape[-1] - self.keep)
        begin = self.nulls + first
        kept = KeyValueCache(keys[..., begin:, :], values[..., begin:, :], known[..., first:])
        return self.output(merged), kept

    def weights(self, queries: Tensor, memory: Tensor, valid: Tensor, past: KeyValueCache, start: int) -> Tensor:
        """[P, B, heads, N, 1 + R + N], the softmax that `forward` applies to the same arguments, for figures.

        The null key stands first, at 0 where there is none, then the R utterances of the past, then these N. A row sums
        to 1; without a null key, to 0 where everything is masked.
        """
        q, keys, _, known, mask = self._prepare_inputs(queries, memory, valid, past, start)
        scores = q @ keys.transpose(-2, -1) * self.head**-0.5
        softmax: Tensor = scores.masked_fill(~mask[:, :, None], -torch.inf).softmax(dim=-1)
        return softmax if self.nulls else F.pad(softmax * known[:, :, None, None, :], (1, 0))

    def _prepare_inputs(
        self, queries: Tensor, memory: Tensor, valid: Tensor, past: KeyValueCache, start: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(queries, keys, values [P, B, heads, ..., head], known [P, B, R + N], mask [P, B, N, 1 + R + N]).

        Without a null key its column is missing.
        """
        batch, count, held = queries.shape[1], queries.shape[2], past.valid.shape[-1]
        q = self._split_heads(self.query(queries))  # [P, B, heads, N, head]
        k, v = (self._split_heads(x) for x in self.key_value(memory).chunk(2, dim=-1))
        if self.turned:
            angle = rotary_angles(start, count, self.turned // 2)
            cos, sin = angle.cos().to(q), angle.sin().to(q)
            q, k = _rotate_pairs(q, cos, sin), _rotate_pairs(k, cos, sin)

        before_keys, before_values = [past.keys], [past.values]
        if self.nulls:
            null_key = F.pad(self.null_key, (self.turned, 0)).expand(-1, batch, -1, -1, -1)
            before_keys.insert(0, null_key.to(k))
            before_values.insert(0, self.null_value.expand(-1, batch, -1, -1, -1).to(v))
        keys = torch.cat([*before_keys, k], dim=-2)  # [P, B, heads, 1 + held + N, head]
        values = torch.cat([*before_values, v], dim=-2)
        known = torch.cat([past.valid, valid], dim=-1)  # [P, B, held + N]

        mask = known[:, :, None, :].expand(-1, -1, count, -1)
        if self.causal:
            back = torch.arange(held, held + count)[:, None] - torch.arange(held + count)
            mask = mask & ((back >= 0) & (back < self.window)).to(mask.device)
        # The null key is never masked; without one a softmax over nothing would be NaN, and so would its gradient.
        whole = F.pad(mask, (1, 0), value=True) if self.nulls else mask | ~mask.any(dim=-1, keepdim=True)
        return q, keys, values, known, whole

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.head).transpose(2, 3)


class EncoderLayer(nn.Module):
    """P encoder layers side by side.

    `normalization` "post" is that of "Attention is all you need", after each sum; "pre" normalises what the
    feed-forward layers read, and neither what is attended to nor the sums, as SDT's authors' program does. The
    `activation` between is ReLU or the tanh approximation of GELU.
    """

    def __init__(
        self,
        blocks: int,
        width: int,
        heads: int,
        feed_forward: int,
        *,
        window: int,
        keep: int,
        rotary: bool,
        causal: bool,
        dropout: float,
        null_key: bool = True,
        normalization: Normalization = "post",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.attention = UtteranceAttention(
            blocks,
            width,
            heads,
            window=window,
            keep=keep,
            rotary=rotary,
            causal=causal,
            dropout=dropout,
            null_key=null_key,
        )
        self.inner = StackedLinear(blocks, width, feed_forward)
        self.outer = StackedLinear(blocks, feed_forward, width)
        post = normalization == "post"
        self.attention_norm = StackedNorm(blocks, width) if post else nn.Identity()
        self.output_norm = StackedNorm(blocks, width) if post else nn.Identity()
        self.inner_norm = nn.Identity() if post else StackedNorm(blocks, width, eps=1e-6)  # the program's epsilon
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU(approximate="tanh")
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: Tensor, valid: Tensor, past: KeyValueCache, start: int
    ) -> tuple[Tensor, KeyValueCache]:
        """As `UtteranceAttention.forward`, with x as queries and as the residual stream."""
        attended, past = self.attention(x, memory, valid, past, start)
        return self.add(x, attended), past

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """x and what it attended to, both [P, B, N, width], summed and fed forward, normalised on the way."""
        x = self.attention_norm(x + self.dropout(attended))
        inner = self.dropout(self.activation(self.inner(self.inner_norm(x))))
        fed: Tensor = self.output_norm(x + self.dropout(self.outer(inner)))
        return fed
