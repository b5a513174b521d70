"""Attention over utterances: band, null key, cache and positions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core_models.networks.attention import (
    EncoderLayer,
    StackedLinear,
    StackedNorm,
    UtteranceAttention,
    rotary_angles,
    sinusoidal_positions,
)

BLOCKS, BATCH, WIDTH, HEADS = 2, 3, 16, 2
HEAD = WIDTH // HEADS


def attention(*, window: int = 3, keep: int = 2, rotary: bool = True, causal: bool = True) -> UtteranceAttention:
    torch.manual_seed(0)
    module = UtteranceAttention(
        BLOCKS, WIDTH, HEADS, window=window, keep=keep, rotary=rotary, causal=causal, dropout=0.0
    )
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def inputs(count: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = (BLOCKS, BATCH, count)
    queries, memory = (torch.randn(*shape, WIDTH, generator=draw) for _ in range(2))
    return queries, memory, torch.rand(*shape, generator=draw) > 0.3


def by_the_book(module: UtteranceAttention, queries: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
    """The same without rotation, one query at a time, with loops for masks."""
    q, k, v = module.query(queries), *module.key_value(memory).chunk(2, dim=-1)
    out = torch.zeros_like(q)
    for p in range(BLOCKS):
        for b in range(BATCH):
            for i in range(q.shape[2]):
                for h in range(HEADS):
                    part = slice(h * HEAD, (h + 1) * HEAD)
                    keys, values = [module.null_key[p, 0, h, 0]], [module.null_value[p, 0, h, 0]]
                    for j in range(q.shape[2]):
                        if valid[p, b, j] and (not module.causal or i - module.window < j <= i):
                            keys.append(k[p, b, j, part])
                            values.append(v[p, b, j, part])
                    weights = (torch.stack(keys) @ q[p, b, i, part] / math.sqrt(HEAD)).softmax(0)
                    out[p, b, i, part] = weights @ torch.stack(values)
    return module.output(out)


@pytest.mark.parametrize("causal", [True, False])
def test_band_null_key_and_masks_by_the_book(causal: bool) -> None:
    """Each utterance attends to itself, the window - 1 before it that are there, and the null key."""
    module, (queries, memory, valid) = attention(rotary=False, causal=causal), inputs(7)
    found, _ = module(queries, memory, valid, module.empty(BATCH), 0)
    torch.testing.assert_close(found, by_the_book(module, queries, memory, valid))


@pytest.mark.parametrize("rotary", [True, False])
def test_weights_are_those_that_forward_applies(rotary: bool) -> None:
    """Values summed by `weights`, null key first, are what `forward` gives, after a past as without one."""
    module, (queries, memory, valid) = attention(rotary=rotary, keep=4), inputs(9)
    _, past = module(queries[:, :, :5], memory[:, :, :5], valid[:, :, :5], module.empty(BATCH), 0)
    rest = queries[:, :, 5:], memory[:, :, 5:], valid[:, :, 5:], past, 5
    weights = module.weights(*rest)  # [P, B, heads, 4, 1 + R + 4]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    own = module._split_heads(module.key_value(rest[1]).chunk(2, dim=-1)[1])
    values = torch.cat([module.null_value.expand(-1, BATCH, -1, -1, -1), past.values, own], dim=-2)
    merged = (weights @ values).transpose(2, 3).flatten(3)
    torch.testing.assert_close(module.output(merged), module(*rest)[0])


@settings(max_examples=30, deadline=None)
@given(
    window=st.integers(1, 6),
    spare=st.integers(0, 2),
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    rotary=st.booleans(),
)
def test_any_cut_of_a_dialogue_gives_the_same(window: int, spare: int, cuts: list[int], rotary: bool) -> None:
    """A dialogue fed in pieces of any sizes is attended to as the dialogue fed whole."""
    # In double precision, where a wrong cache is told apart from rounding.
    module = attention(window=window, keep=window - 1 + spare, rotary=rotary).double()
    queries, memory, valid = inputs(sum(cuts))
    queries, memory = queries.double(), memory.double()
    whole, _ = module(queries, memory, valid, module.empty(BATCH), 0)
    past, start, pieces = module.empty(BATCH), 0, []
    for count in cuts:
        part = slice(start, start + count)
        piece, past = module(queries[:, :, part], memory[:, :, part], valid[:, :, part], past, start)
        start += count
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("keep", [0, 2, 5])
def test_past_is_bounded(keep: int) -> None:
    """The past holds the latest `keep` utterances and no more, in every one of its tensors."""
    module = attention(window=1, keep=keep)
    past = module.empty(BATCH)
    queries, memory, valid = inputs(9)
    for i in range(9):
        one = slice(i, i + 1)
        _, past = module(queries[:, :, one], memory[:, :, one], valid[:, :, one], past, i)
        held = min(i + 1, keep)
        assert past.keys.shape == past.values.shape == (BLOCKS, BATCH, HEADS, held, HEAD)
        assert past.valid.equal(valid[:, :, i + 1 - held : i + 1])


def test_nothing_but_the_null_key() -> None:
    """Where every key is missing, the null value alone is attended to, and its gradient is finite."""
    module, (queries, memory, _) = attention(), inputs(4)
    nothing = torch.zeros(BLOCKS, BATCH, 4, dtype=torch.bool)
    found, _ = module(queries, memory, nothing, module.empty(BATCH), 0)
    null = module.null_value.transpose(2, 3).flatten(3).expand(-1, BATCH, 4, -1)
    torch.testing.assert_close(found, module.output(null))
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_rotation_is_relative() -> None:
    """With rotary positions only distances count: the same utterances give the same at 0 and at 5,000."""
    module, (queries, memory, valid) = attention(), inputs(6)
    near, _ = module(queries, memory, valid, module.empty(BATCH), 0)
    far, _ = module(queries, memory, valid, module.empty(BATCH), 5000)
    torch.testing.assert_close(far, near, atol=1e-5, rtol=0)


def test_rotation_tells_order() -> None:
    """With rotary positions the order of what came before matters; without positions it does not."""
    queries, memory, _ = inputs(3)
    swapped = memory[:, :, [1, 0, 2]]
    everything = torch.ones(BLOCKS, BATCH, 3, dtype=torch.bool)
    for rotary in (True, False):
        module = attention(rotary=rotary)
        a, b = (module(queries, m, everything, module.empty(BATCH), 0)[0][:, :, 2] for m in (memory, swapped))
        assert torch.allclose(a, b, atol=1e-5) is not rotary


def test_angles_are_exact_far_out() -> None:
    """The angle of utterance 123,456 is right to the last digits of double precision."""
    found = rotary_angles(123_456, 1, 4)[0]
    assert found.tolist() == pytest.approx([123_456 * 10_000 ** (-i / 4) for i in range(4)], rel=1e-14)


def test_sinusoids_are_equation_two() -> None:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)) and PE(pos, 2i + 1) is its cosine."""
    found = sinusoidal_positions(5, 3, 8)
    for row, pos in enumerate((5, 6, 7)):
        for i in range(4):
            angle = pos / 10_000 ** (2 * i / 8)
            assert found[row, 2 * i : 2 * i + 2].tolist() == pytest.approx([math.sin(angle), math.cos(angle)])


def test_stacked_modules_are_their_parts_side_by_side() -> None:
    """Block p of a stacked map or norm computes what the plain module with its weights computes."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 4)
    linear, norm = StackedLinear(2, 4, 6), StackedNorm(2, 4)
    for parameter in (*linear.parameters(), *norm.parameters()):
        nn.init.normal_(parameter)
    assert linear.bias is not None
    for p in range(2):
        plain = nn.functional.linear(x[p], linear.weight[p].T, linear.bias[p, 0])
        torch.testing.assert_close(linear(x)[p], plain)
        plain = nn.functional.layer_norm(x[p], (4,), norm.weight[p, 0, 0], norm.bias[p, 0, 0])
        torch.testing.assert_close(norm(x)[p], plain)


def test_encoder_layer_is_that_of_the_reference() -> None:
    """A layer adds and normalises after attention and after the feed-forward network, as its reference does."""
    torch.manual_seed(0)
    layer = EncoderLayer(1, WIDTH, HEADS, 24, window=9, keep=0, rotary=False, causal=True, dropout=0.0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():  # a null key that no query can see, for torch's own layer has none
        layer.attention.query.bias.zero_()[0, 0, ::HEAD] = 50.0
        layer.attention.null_key.zero_()[..., 0] = -50.0
    reference = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, dropout=0.0, batch_first=True)
    a = layer.attention
    reference.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([a.query.weight[0], a.key_value.weight[0]], dim=1).T,
            "self_attn.in_proj_bias": torch.cat([a.query.bias[0, 0], a.key_value.bias[0, 0]]),
            "self_attn.out_proj.weight": a.output.weight[0].T,
            "self_attn.out_proj.bias": a.output.bias[0, 0],
            "linear1.weight": layer.inner.weight[0].T,
            "linear1.bias": layer.inner.bias[0, 0],
            "linear2.weight": layer.outer.weight[0].T,
            "linear2.bias": layer.outer.bias[0, 0],
            "norm1.weight": layer.attention_norm.weight.flatten(),
            "norm1.bias": layer.attention_norm.bias.flatten(),
            "norm2.weight": layer.output_norm.weight.flatten(),
            "norm2.bias": layer.output_norm.bias.flatten(),
        }
    )
    x = torch.randn(2, 6, WIDTH)
    found, _ = layer(x[None], x[None], torch.ones(1, 2, 6, dtype=torch.bool), a.empty(2), 0)
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    torch.testing.assert_close(found[0], reference(x, src_mask=mask), atol=1e-4, rtol=1e-4)
