"""TDFNet's network: shapes and properties of each equation, missing modalities, Table V's switches."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.networks.tdfnet import (
    DeepScaleBlock,
    TDFNet,
    TDFNetConfig,
    TransformerLayer,
    mask_until,
    pad_sequences,
    pool_time,
)

SMALL = TDFNetConfig(
    dimensions={"text": 5, "voice": 9}, classes=4, speaker=3, width=16, heads=2, feed_forward=24, layers=1
)


def network(config: TDFNetConfig = SMALL, seed: int = 0) -> TDFNet:
    torch.manual_seed(seed)
    made = TDFNet(config)
    with torch.no_grad():
        made.absent.normal_()
    for name, width in config.dimensions.items():
        made.set_statistics(name, torch.randn(width), torch.rand(width) + 0.5)
    return made.eval()


def said(length: int, width: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(length, width, generator=torch.Generator().manual_seed(seed + length))


def heard(length: int, frames: int = 6, speaker: int = 3, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed + length)
    vector = torch.randn(speaker, generator=generator).expand(length, -1)
    return torch.cat([torch.randn(length, frames, generator=generator), vector], dim=1)


def together(texts: list[int], voices: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch of utterances of so many tokens and frames, and its lengths."""
    text, words = pad_sequences([said(n) for n in texts], 5)
    voice, frames = pad_sequences([heard(n) for n in voices], 9)
    return {"text": text, "voice": voice}, {"text": words, "voice": frames}


def test_paper_size_is_that_of_section_iv() -> None:
    """III-B to III-E: 768 wide, GRUs of 768 and 384 in the first block, |O| = sum of d / 2^(i-2) + 12 d + f."""
    with torch.device("meta"):
        config = TDFNetConfig(dimensions={"text": 768, "voice": 1024 + 192}, classes=4, gate="source")
        made = TDFNet(config)
    first = made.blocks[0]
    assert (first.first.hidden_size, first.second.hidden_size) == (768, 384)
    assert (config.heads, config.feed_forward, config.layers, config.blocks) == (12, 4096, 2, 2)
    for blocks in (1, 2, 3, 4, 5):
        with torch.device("meta"):
            some = TDFNet(dataclasses.replace(config, blocks=blocks, width=768, heads=4))
        expected = sum(768 * 4 // 2**i for i in range(1, blocks + 1)) + 12 * 768 + 192
        assert some.classifier.in_features == sum(s.width for s in some.sources) == expected


def test_blocks_halve_length_and_width() -> None:
    """512 frames and 128 tokens become 64 of d / 2 in the first block, each later block halves both (III-C)."""
    config = dataclasses.replace(SMALL, frames=512, tokens=128, blocks=3)
    made = network(config)
    x = {"voice": torch.randn(1, 512, 16), "text": torch.randn(1, 128, 16)}
    real = {m: torch.ones(1, s.shape[1], dtype=torch.bool) for m, s in x.items()}
    for number, block in enumerate(made.blocks, start=1):
        for m in x:
            short, real[m] = block.shorten(m, x[m], real[m])
            x[m] = block(m, short, real[m])
            assert x[m].shape == (1, 128 >> number, 16 >> number)
            assert real[m].shape == (1, 128 >> number)


def test_each_block_reads_the_one_before() -> None:
    """N = 2: the first block shortens the whole sequence, the second what the first made of it, D1 and H1."""
    model = network(dataclasses.replace(SMALL, blocks=2))
    read: dict[tuple[str, int], Tensor] = {}
    made: dict[tuple[str, int], Tensor] = {}

    def keep(name: str, number: int, encoder: nn.Module, convolution: nn.Module | None) -> None:
        encoder.register_forward_hook(lambda _, __, output: made.update({(name, number): output}))
        if convolution is not None:
            convolution.register_forward_hook(lambda _, inputs, __: read.update({(name, number): inputs[0]}))

    for name in ("text", "voice"):
        keep(name, 0, model.get_submodule(f"whole.{name}"), None)
        for number in (1, 2):
            block = f"blocks.{number - 1}"
            keep(
                name,
                number,
                model.get_submodule(f"{block}.encoder.{name}"),
                model.get_submodule(f"{block}.convolution.{name}"),
            )
    model(*together([12], [30]))
    for name in ("text", "voice"):
        for number in (1, 2):
            torch.testing.assert_close(read[name, number], made[name, number - 1].mT)


def test_both_modalities_share_their_grus() -> None:
    """Eq. 1 and 2: the same sequence, said or heard, is aggregated alike, and both teach one pair of GRUs."""
    block = DeepScaleBlock(SMALL, 16, {"text": 2, "voice": 2})
    names = [name for name, _ in block.named_parameters() if not name.startswith(("convolution", "encoder"))]
    assert {name.split(".")[0] for name in names} == {"first", "second"}
    gradients = []
    for m in ("text", "voice"):
        block.zero_grad()
        block(m, torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)).square().sum().backward()
        gradients.append(block.first.weight_ih_l0.grad.abs().sum())
    assert min(gradients) > 0
    x = torch.randn(1, 6, 8)
    block.encoder["voice"].load_state_dict(block.encoder["text"].state_dict())
    block.eval()
    real = torch.ones(1, 6, dtype=torch.bool)
    assert torch.equal(block("text", x, real), block("voice", x, real))


def test_grus_follow_one_another() -> None:
    """Eq. 1: the second GRU runs over the hidden states of the first."""
    block = DeepScaleBlock(SMALL, 16, {"voice": 2}).eval()
    x, real = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    expected = block.encoder["voice"](block.second(block.first(x)[0])[0], real)
    torch.testing.assert_close(block("voice", x, real), expected)


def test_transformer_layer_is_equation_5() -> None:
    """Both residual sums are with the layer's input, GELU inside, eq. 3 and 4 written out with the null key."""
    layer = TransformerLayer(SMALL, 8).eval()
    x = torch.randn(1, 4, 8)
    query = layer.query(x)[0]
    key, value = torch.cat([layer.null.flatten()[None], layer.key_value(x)[0]]).chunk(2, dim=-1)
    heads = (slice(0, 4), slice(4, 8))
    seen = [(query[:, h] @ key[:, h].T / 4**0.5).softmax(-1) @ value[:, h] for h in heads]
    attention = layer.output(torch.cat(seen, dim=-1))
    first = layer.attention_norm(x + attention)
    up, _, down = layer.feed_forward
    expected = layer.norm(x + down(F.gelu(up(first))))
    torch.testing.assert_close(layer(x, x, torch.ones(1, 4, dtype=torch.bool)), expected)


def test_mutual_attention_asks_the_other_modality() -> None:
    """Eq. 6: the result has the query's length and follows the other's content, not its padding."""
    layer = TransformerLayer(SMALL, 8).eval()
    x, other = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    there = torch.tensor([[True, True, True, False, False]])
    seen = layer(x, other, there)
    assert seen.shape == x.shape
    changed = other.clone()
    changed[:, 3:] = 1e4
    assert torch.equal(layer(x, changed, there), seen)
    changed[:, 0] += 1
    assert not torch.allclose(layer(x, changed, there), seen)


def test_pooling_is_average_and_maximum_of_what_is_real() -> None:
    """Eq. 9 and 10: padding has no part in either; nothing at all gives a finite vector."""
    x = torch.randn(2, 4, 3)
    real = torch.tensor([[True, True, False, False], [False] * 4])
    pooled = pool_time(x, real)
    torch.testing.assert_close(pooled[0], torch.cat([x[0, :2].mean(0), x[0, :2].amax(0)]))
    assert pooled[1].isfinite().all()


@pytest.mark.parametrize("gate", ["dimension", "source"])
def test_fusion_is_equations_10_and_11(gate: str) -> None:
    """Logits are the classifier's of O weighed by alpha in (0, 1); a source has one weight where gate is source."""
    made = network(dataclasses.replace(SMALL, gate=gate))
    output = made(*together([3, 7], [20, 5]))
    torch.testing.assert_close(output.logits, made.classifier(output.attention * output.utterance))
    assert output.attention.min() > 0
    assert output.attention.max() < 1
    names = [s.name for s in made.sources]
    assert sorted(names) == sorted(["A", "A'", "D1", "D2", "CAT", "T", "T'", "H1", "H2", "CTA", "C", "S"])
    each = torch.split(output.attention, [s.width for s in made.sources], dim=1)
    assert all((part == part[:, :1]).all() for part in each) == (gate == "source")


def test_the_speaker_reaches_o_as_it_is() -> None:
    """S of eq. 9 is the standardised speaker vector, untouched, and frames are what is left of the sound."""
    made = network()
    features, lengths = together([3], [20])
    parts = torch.split(made(features, lengths).utterance, [s.width for s in made.sources], dim=1)
    vector = (features["voice"][0, 0, 6:] - made.voice_mean[6:]) / made.voice_deviation[6:]
    torch.testing.assert_close(parts[-1][0], vector)
    assert made.projection["voice"].in_features == 6


def test_mutual_sources_follow_the_other_modality() -> None:
    """Eq. 7: C_AT changes with the words, C_TA with the sound; what is pooled of one modality alone does not."""
    made = network()
    features, lengths = together([3], [20])
    widths = [s.width for s in made.sources]
    before = torch.split(made(features, lengths).utterance, widths, dim=1)
    for other, follows in (("text", {"CAT", "C"}), ("voice", {"CTA", "C"})):
        changed = {m: x + 1 if m == other else x for m, x in features.items()}
        after = torch.split(made(changed, lengths).utterance, widths, dim=1)
        moved = {s.name for s, a, b in zip(made.sources, before, after, strict=True) if not torch.allclose(a, b)}
        assert {s.name for s in made.sources if s.needs != other} & moved == follows


@pytest.mark.parametrize("padding", [0.0, 1e4, float("nan")])
def test_an_utterance_does_not_depend_on_its_batch(padding: float) -> None:
    """An utterance alone gives what it gives in a padded batch to 1e-5, whatever stands in the padding."""
    made = network()
    texts, voices = [1, 4, 9, 2, 17], [40, 1, 7, 9, 16]
    features, lengths = together(texts, voices)
    for name, x in features.items():
        features[name] = x.masked_fill(~mask_until(lengths[name], x.shape[1])[..., None], padding)
    batch = made(features, lengths)
    for row, (words, frames) in enumerate(zip(texts, voices, strict=True)):
        alone = made(*together([words], [frames]))
        torch.testing.assert_close(batch.logits[row], alone.logits[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(batch.utterance[row], alone.utterance[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("missing", ["text", "voice"])
def test_missing_is_masked(missing: str) -> None:
    """What stands where a modality is missing never matters, be it NaN or left out; the other one still does."""
    made = network()
    features, lengths = together([3, 7], [20, 5])
    lengths[missing] = torch.tensor([0, lengths[missing][1]])
    expected = made(features, lengths)
    features[missing][0] = float("nan")
    torch.testing.assert_close(made(features, lengths).logits, expected.logits)
    left = {m: x for m, x in features.items() if m != missing}
    torch.testing.assert_close(made(left, lengths).logits[0], expected.logits[0], atol=1e-5, rtol=0)
    other = next(iter(left))
    left[other] = left[other] + 1
    assert not torch.allclose(made(left, lengths).logits[0], expected.logits[0])


def test_gradients_are_finite_and_reach_everything() -> None:
    """With every pattern of modalities in the batch, nothing at all among them, every parameter learns."""
    made = network().train()
    made(*together([3, 7, 0, 0], [20, 0, 5, 0])).logits.square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_what_is_too_long_is_cut() -> None:
    """Frames beyond 512 and tokens beyond 128 are not heard (III-B); here beyond 8 and 4."""
    made = network(dataclasses.replace(SMALL, frames=8, tokens=4))
    features, lengths = together([6], [20])
    cut = {"text": features["text"][:, :4], "voice": features["voice"][:, :8]}
    expected = made(cut, {"text": torch.tensor([4]), "voice": torch.tensor([8])})
    torch.testing.assert_close(made(features, lengths).logits, expected.logits)


def names(config: TDFNetConfig) -> set[str]:
    return {s.name for s in network(config).sources}


def test_table_v_takes_modules_out() -> None:
    """Each row of Table V lacks the sources of its module, and the network lacks the module."""
    assert names(dataclasses.replace(SMALL, blocks=0)) == {"A", "T", "C", "CAT", "CTA", "S"}
    assert names(dataclasses.replace(SMALL, mutual=False)) == {"A", "A'", "D1", "D2", "T", "T'", "H1", "H2"}
    assert names(dataclasses.replace(SMALL, dimensions={"voice": 9})) == {"A", "A'", "D1", "D2", "C", "S"}
    assert names(dataclasses.replace(SMALL, dimensions={"text": 5})) == {"T", "T'", "H1", "H2", "C"}
    assert not hasattr(network(dataclasses.replace(SMALL, blocks=0)), "blocks")
    without = network(dataclasses.replace(SMALL, mutual=False))
    features, lengths = together([3], [20])
    expected = without(features, lengths).logits
    features["voice"][..., 6:] += 1
    assert torch.equal(without(features, lengths).logits, expected)


def test_a_step_is_forward_and_forgets() -> None:
    """Utterance by utterance it gives what it gives alone, whatever was said before; gates share out 1."""
    made = network()
    state = made.initial_state(2)
    for words, frames in ((3, 20), (7, 5), (2, 9)):
        features, lengths = together([words] * 2, [frames] * 2)
        present = torch.tensor([[True, True, False], [False, True, False]])
        output, state = made.step(features, present, torch.zeros(2, dtype=torch.long), state)
        expected = made(features, {"text": torch.tensor([words, 0]), "voice": lengths["voice"]})
        assert torch.equal(output.logits, expected.logits)
        torch.testing.assert_close(output.gates.sum(dim=1), torch.ones(2))
        assert (output.gates[1] > 0).tolist() == [m == "voice" for m in MODALITIES]
        assert output.students.shape == (2, 0, 4)
    assert (state.position, state.held) == (3, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 18}, "multiple of heads"),
        ({"blocks": 6, "width": 256}, "0 to 5"),
        ({"frame_stride": 3}, "even"),
        ({"dimensions": {"face": 3}}, "not face"),
        ({"speaker": 9}, "leaves nothing"),
    ],
)
def test_shapes_that_cannot_work_are_refused(changes: dict[str, object], sentence: str) -> None:
    """One sentence each."""
    with pytest.raises(UsageError, match=sentence):
        dataclasses.replace(SMALL, **changes)
