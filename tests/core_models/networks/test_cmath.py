"""CMATH: its equations, the rows of its tables, and contract 4 of the design (any modality may be missing)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.cmath_models import KINDS, SMALL, assert_same, follow, network, run, tensors
from support.sdt_models import DEVICES, DIMENSIONS, SUBSETS, Talk, talk
from torch import Tensor
from torch.nn import functional as F

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.networks.cmath import CMATH, CMATHConfig

PATTERNS = [[bool(code >> i & 1) for i in range(3)] for code in range(8)]


@pytest.mark.parametrize("causal", [True, False])
def test_reconstruction_is_equations_one_and_two(causal: bool) -> None:
    """U'' is a convolution down and one up again, both padded on the left alone where the future is unknown."""
    model, t = network(kernel=3, causal=causal), talk(7, missing=0.0)
    output = run(model, t)
    for m in MODALITIES:
        x, down, up = t.features[m], model.down[m].weight, model.up[m].weight
        compressed = F.conv1d(F.pad(x.mT, (4, 0) if causal else (2, 2)), down)
        torch.testing.assert_close(output.inputs[m], x)
        torch.testing.assert_close(output.reconstructed[m], F.conv1d(compressed, up).mT)


@pytest.mark.parametrize("kernel", [1, 3])
def test_sequence_is_equations_one_and_five_to_eight(kernel: int) -> None:
    """H is U' and the speaker and the position, which is counted from 1 and sine on even dimensions."""
    model, t = network(kernel=kernel, positions="sinusoidal"), talk(7, missing=0.0)
    seen: list[Tensor] = []
    model.transformers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run(model, t)
    position = torch.zeros(7, 16)
    for i in range(7):
        for k in range(8):
            angle = torch.tensor((i + 1) / 10000 ** (2 * k / 16))
            position[i, 2 * k], position[i, 2 * k + 1] = angle.sin(), angle.cos()  # 6-7
    speakers = model.speakers.weight[t.speakers.clamp(max=2)]  # 5
    for index, m in enumerate(MODALITIES):
        compressed = F.conv1d(F.pad(t.features[m].mT, (kernel - 1, 0)), model.down[m].weight).mT  # 1
        torch.testing.assert_close(seen[0][index], compressed + speakers + position)  # 8


def test_transformer_is_equations_nine_to_fourteen() -> None:
    """Each central modality is augmented as the paper's equations say, written here one by one."""
    model, t = network(positions="sinusoidal"), talk(6, missing=0.0, batch=1)
    seen: list[tuple[Tensor, Tensor]] = []
    layer = model.transformers[0]
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output[0])))
    run(model, t)
    h, augmented = (x[:, 0] for x in seen[0])
    encoder = layer.encoder

    def norm(x: Tensor, name: str, p: int) -> Tensor:
        weights = encoder.get_submodule(name)
        return F.layer_norm(x, (16,), weights.weight[p, 0, 0], weights.bias[p, 0, 0])

    def finish(attended: Tensor, central: int, p: int) -> Tensor:
        x = norm(attended + h[central], "attention_norm", p)
        fed = (x @ encoder.inner.weight[p] + encoder.inner.bias[p]).relu()
        return norm(fed @ encoder.outer.weight[p] + encoder.outer.bias[p] + x, "output_norm", p)

    for m in range(3):
        tilde = {n: attention(encoder.attention, 3 * m + n, h[m], h[n]) for n in range(3)}  # 9-11, first lines
        pairs = {n: finish(tilde[n], m, 3 * m + n) for n in range(3) if n != m}  # 9-10
        pairs[m] = finish(tilde[0] + tilde[1] + tilde[2], m, 3 * m + m)  # 11
        gate = torch.stack([pairs[n] @ layer.gate.weight[3 * m + n] for n in range(3)]).softmax(dim=0)
        expected = sum(gate[n] * pairs[n] for n in range(3))  # 12
        torch.testing.assert_close(augmented[m], expected, atol=1e-5, rtol=1e-5)


def attention(block: Any, p: int, queries: Tensor, memory: Tensor) -> Tensor:
    """Multi-head attention of [N, 16] over the window and the null key, utterance by utterance, head by head."""
    q = queries @ block.query.weight[p] + block.query.bias[p]
    k, v = (memory @ block.key_value.weight[p] + block.key_value.bias[p]).chunk(2, dim=-1)
    merged = torch.zeros_like(q)
    for i in range(len(q)):
        for head in range(2):
            d = slice(8 * head, 8 * head + 8)
            window = slice(max(0, i - SMALL.window + 1), i + 1)
            keys = torch.cat([block.null_key[p, 0, head], k[window, d]])
            values = torch.cat([block.null_value[p, 0, head], v[window, d]])
            merged[i, d] = (keys @ q[i, d] / 8**0.5).softmax(dim=0) @ values
    return merged @ block.output.weight[p] + block.output.bias[p]


def perceptrons(model: CMATH, augmented: Tensor) -> tuple[Tensor, Tensor]:
    """mu and sigma of eq. 15, [3, d], from H' of one utterance."""

    def perceptron(name: str, m: int) -> Tensor:
        first, last = model.get_submodule(f"{name}.0"), model.get_submodule(f"{name}.3")
        hidden = (augmented[m] @ first.weight[m] + first.bias[m, 0]).relu()
        return hidden @ last.weight[m] + last.bias[m, 0]

    mu, raw = (torch.stack([perceptron(name, m) for m in range(3)]) for name in ("mu", "sigma"))
    return mu, (1 + raw.exp()).log()


@pytest.mark.parametrize("there", [pattern for pattern in PATTERNS if any(pattern)])
def test_fusion_and_classifiers_are_equations_fifteen_to_nineteen(there: list[bool]) -> None:
    """At inference H'_x is the mean of the means that are there, and each classifier reads its own representation."""
    model, t = network(), talk(1, missing=0.0, batch=1)
    t.present[:] = torch.tensor(there)
    output = run(model, t)
    mu, _ = perceptrons(model, output.augmented[0, 0])
    torch.testing.assert_close(output.fused[0, 0], mu[torch.tensor(there)].mean(dim=0))
    torch.testing.assert_close(output.logits, model.classifier(output.fused))
    for m in range(3):
        student = output.augmented[0, 0, m] @ model.students.weight[m] + model.students.bias[m, 0]
        torch.testing.assert_close(output.students[0, 0, m], student * there[m])


def test_training_samples_equation_seventeen() -> None:
    """In training H'_x is drawn from a normal of the mean of means and the mean of sigmas; later runs are exact.

    The modalities' sigmas lie far apart, or else the root of the mean of variances would be near enough to pass.
    """
    model, one = network().train(), talk(1, missing=0.0, batch=1)
    with torch.no_grad():
        model.get_parameter("sigma.3.bias")[:] += torch.tensor([-2.0, 0.0, 3.0])[:, None, None]
    copies = 20_000
    t = Talk(
        {m: x.expand(copies, -1, -1) for m, x in one.features.items()},
        one.present.expand(copies, -1, -1),
        one.speakers.expand(copies, -1),
    )
    output = run(model, t)
    mu, sigma = perceptrons(model, output.augmented[0, 0])
    drawn = output.fused[:, 0]
    torch.testing.assert_close(drawn.mean(dim=0), mu.mean(dim=0), atol=0.06, rtol=0)
    of_variances = sigma.square().mean(dim=0).sqrt()
    assert (of_variances - sigma.mean(dim=0)).min() > 0.3
    torch.testing.assert_close(drawn.std(dim=0), sigma.mean(dim=0), atol=0.05, rtol=0)
    assert_same(tensors(run(model.eval(), one)), tensors(run(model, one)), 0)


def test_gates_are_the_shares_of_equation_twelve() -> None:
    """At each utterance the gates of the modalities that are there sum to 1, and the others are 0."""
    model, t = network(), talk(20)
    seen: list[Tensor] = []
    model.transformers[0].register_forward_hook(lambda _, __, output: seen.append(output[1]))
    gates = run(model, t).gates
    assert (gates[~t.present] == 0).all()
    torch.testing.assert_close(gates.sum(-1), t.present.any(-1).float())
    b, i = next((b, i) for b in range(2) for i in range(20) if t.present[b, i].sum() == 2)
    centrals = [seen[0][m, :, b, i].mean(dim=-1) for m in range(3) if t.present[b, i, m]]
    torch.testing.assert_close(gates[b, i], torch.stack(centrals).mean(dim=0))


def test_without_modality_reconstruction() -> None:
    """Table 4, w/o MR: each modality goes through a fully connected layer, and nothing is reconstructed."""
    model, t = network(reconstruction=False, kernel=3), talk(4, missing=0.0)
    seen: list[Tensor] = []
    model.transformers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert run(model, t).reconstructed == {}
    speakers = model.speakers.weight[t.speakers.clamp(max=2)]
    for index, m in enumerate(MODALITIES):
        expected = t.features[m] @ model.down[m].weight.mT + model.down[m].bias + speakers
        torch.testing.assert_close(seen[0][index], expected)


def test_without_cma_transformer() -> None:
    """Table 4, w/o CMA-T: H' is H, so that no utterance and no modality feels another before the fusion."""
    model, t = network(cma=False), talk(5, missing=0.0)
    output = run(model, t)
    speakers = model.speakers.weight[t.speakers.clamp(max=2)]
    for index, m in enumerate(MODALITIES):
        torch.testing.assert_close(
            output.augmented[:, :, index], t.features[m] @ model.down[m].weight[..., 0].mT + speakers
        )
    assert output.gates.allclose(torch.tensor(1 / 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("used", SUBSETS)
def test_fewer_modalities(used: tuple[str, ...], kind: str) -> None:
    """A row of Table 5: a model for some modalities steps as it runs, and reports the others as missing."""
    model, t = network(dimensions={m: DIMENSIONS[m] for m in used}, **KINDS[kind]), talk(5)
    output = run(model, t)
    assert_same(follow(model, t, model.initial_state(2))[0], tensors(output))
    assert set(output.inputs) == set(used)
    for i, m in enumerate(MODALITIES):
        assert (output.gates[..., i] > 0).any() == (m in used)
        assert (output.students[..., i, :] != 0).any() == (m in used)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_modality_pattern_is_finite(pattern: list[bool], kind: str, device: str) -> None:
    """With any modalities missing throughout, outputs and gradients are finite in training too."""
    model, t = network(device=device, **KINDS[kind]).train(), talk(6, missing=0.0, device=device)
    t.present[:] = torch.tensor(pattern, device=device)
    for i, m in enumerate(MODALITIES):
        if not pattern[i]:
            t.features[m][:] = torch.nan
    output = run(model, t)
    assert all(x.isfinite().all() for x in tensors(output))
    sum(x.square().sum() for x in tensors(output)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(output.gates.sum(-1), torch.full_like(output.gates[..., 0], float(any(pattern))))
    for i, there in enumerate(pattern):
        assert (output.students[..., i, :] != 0).any() == there
        assert (output.augmented[..., i, :] != 0).any() == there


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6, 1e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_features_are_harmless(scale: float, dtype: torch.dtype, device: str) -> None:
    """Features of any size, a row with nothing at all and bfloat16 leave outputs and gradients finite."""
    model, t = network(device=device).train(), talk(6, missing=0.3, device=device)
    t.present[:, 2] = False
    for x in t.features.values():
        x *= scale
    with torch.autocast(device, dtype, enabled=dtype is torch.bfloat16):
        output = run(model, t)
    assert all(x.isfinite().all() for x in tensors(output))
    sum(x.float().square().mean() for x in tensors(output)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_a_missing_entry_is_read(kind: str) -> None:
    """What stands where a modality is missing changes nothing, and a modality left out is missing."""
    model, t = network(**KINDS[kind]), talk(8)
    t.present[..., 2] = False
    expected = tensors(run(model, t))
    other = Talk({m: x.nan_to_num(3.0) for m, x in t.features.items()}, t.present, t.speakers)
    assert_same(tensors(run(model, other)), expected, 0)
    del other.features["face"]
    other.present[..., 2] = True
    assert_same(tensors(run(model, other)), expected, 0)


def test_a_missing_modality_is_not_silence_of_zeros() -> None:
    """An absent voice and a voice whose features are all zero are told apart."""
    model, t = network(), talk(5, missing=0.0)
    t.features["voice"][:] = 0.0
    zeros = run(model, t).logits
    t.present[..., 1] = False
    assert not torch.allclose(run(model, t).logits, zeros, atol=1e-3)


def test_a_missing_modality_brings_nothing_from_its_past() -> None:
    """Where the voice is missing, what it said earlier has no part in what is said of this utterance."""
    model, t = network(), talk(3, missing=0.0)
    t.present[:, 2, 1] = False
    for x in t.features.values():
        x.requires_grad_()
    output = run(model, t)
    assert (torch.autograd.grad(output.logits[:, 2].sum(), t.features["voice"], retain_graph=True)[0] == 0).all()
    assert (torch.autograd.grad(output.logits[:, 2].sum(), t.features["face"])[0] != 0).any()


def test_utterance_with_nothing_only_passes_time() -> None:
    """An utterance of which everything is missing is not heard by later ones."""
    model, t = network(window=10), talk(6, missing=0.0)
    t.present[:, 3] = False
    later = (slice(None), slice(4, 6))
    expected = tensors(run(model, t), *later)
    t.speakers[:, 3] = (t.speakers[:, 3] + 1) % 3
    assert_same(tensors(run(model, t), *later), expected)


def test_statistics_standardise() -> None:
    """After set_statistics the model sees, and reconstructs, features less their mean, by their deviation."""
    plain, model, t = network(), network(), talk(5, missing=0.0)
    mean, deviation = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 4.0, 0.5, 0.0])
    model.set_statistics("voice", mean, deviation)
    raw = t.features["voice"]
    t.features["voice"] = (raw - mean) / deviation.clamp(min=1e-3)
    expected = tensors(run(plain, t))
    t.features["voice"] = raw
    assert_same(tensors(run(model, t)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_gives_it_back(kind: str, tmp_path: Path) -> None:
    """A saved CMATH loads as what it was, to the precision of float16."""
    model, t = network(**{**KINDS[kind], "classes": 7}), talk(5)
    specs = {
        m: FeatureSpec(modality=m, name="t", version=1, dimension=d, digest="00" * 32) for m, d in DIMENSIONS.items()
    }
    config = sidecar_config(model.config)
    save(tmp_path / "a", model, Sidecar(model="cmath", config=config, labels="meld7", features=specs, window=5))
    loaded = load(tmp_path / "a").model
    assert isinstance(loaded, CMATH)
    assert loaded.config == model.config
    assert not loaded.training
    assert_same(tensors(run(loaded, t)), tensors(run(model, t)), 1e-2)


@pytest.mark.parametrize("width", [500, 400])
def test_paper_widths_are_possible(width: int) -> None:
    """The widths that the paper found best take ten heads, and refuse the eight that do not divide 500."""
    given: dict[str, Any] = {"dimensions": {"text": 1024, "voice": 300}, "classes": 7, "width": width}
    assert CMATHConfig(**given, heads=10).width == width
    if width == 500:
        with pytest.raises(UsageError, match="width 500 is not an even multiple, at least fourfold, of 8 heads"):
            CMATHConfig(**given, heads=8)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"dimensions": {}}, "dimensions"),
        ({"dimensions": {"smell": 3}}, "smell"),
        ({"dimensions": {"text": 0}}, "dimensions"),
        ({"classes": 1}, "classes is 1, at least 2"),
        ({"window": 0}, "window is 0, at least 1"),
        ({"rewind": -1}, "rewind is -1, at least 0"),
        ({"kernel": 0}, "kernel is 0, at least 1"),
        ({"kernel": 4}, "kernel 4 reach back 6 utterances, a window of 5 holds 4"),
        ({"heads": 5}, "width 16 is not"),
        ({"heads": 8}, "width 16 is not"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], word: str) -> None:
    """A configuration that cannot work is refused in a sentence that names the field and its value."""
    with pytest.raises(UsageError, match=word):
        CMATHConfig(**(asdict(SMALL) | changes))
