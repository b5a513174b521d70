"""SDT with the settings of its authors' program computes what that program is described to compute, written here anew.

The description (train/README.md): positions and speaker vectors are added to each modality and dropped out by each
encoder for itself; an encoder attends from the target to the source, adds that to the target without normalising, and
adds feed-forward layers of the normalised sum with GELU between; gates are sigmoids of a bias-free product; the gate
over modalities is a softmax over them, dimension by dimension.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.sdt_models import DIMENSIONS, network, talk
from torch import Tensor

from core_models.feature_spec import MODALITIES
from core_models.networks.sdt import SDT
from train.recipes.dialogue.presets import choose_preset

HEADS = 2


def program(corpus: str, **changes: Any) -> SDT:
    settings = {k.removeprefix("model."): v for k, v in choose_preset("program", corpus).items() if "model." in k}
    return network(**{**settings, "heads": HEADS, **changes})


def published_forward(model: SDT, features: dict[str, Tensor], speakers: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """(logits [B, N, C], students' logits [B, N, 3, C]); real: bool [B, N], False at padding."""
    weights = model.state_dict()
    width, count = model.config.width, speakers.shape[1]

    place = torch.arange(count)[:, None]
    rate = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
    position = torch.empty(count, width)
    position[:, 0::2], position[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    shared = position + weights["speakers.weight"][speakers]
    low = [features[m] @ weights[f"convolutions.{m}.weight"][..., 0].T + shared for m in MODALITIES]

    def linear(name: str, block: int, x: Tensor, columns: slice = slice(None)) -> Tensor:
        return x @ weights[f"{name}.weight"][block][:, columns] + weights[f"{name}.bias"][block, 0, columns]

    enhanced = []
    for target in range(3):
        gated = []
        for source in range(3):
            block = 3 * target + source  # target-major
            query = linear("encoder.0.attention.query", block, low[target])
            key = linear("encoder.0.attention.key_value", block, low[source], slice(0, width))
            value = linear("encoder.0.attention.key_value", block, low[source], slice(width, None))
            heads = []
            for head in range(HEADS):
                part = slice(head * width // HEADS, (head + 1) * width // HEADS)
                scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(width // HEADS)
                scores = scores.masked_fill(~real[:, None, :], -1e10)
                heads.append(scores.softmax(dim=-1) @ value[..., part])
            x = low[target] + linear("encoder.0.attention.output", block, torch.cat(heads, dim=-1))
            mean, spread = x.mean(dim=-1, keepdim=True), x.var(dim=-1, unbiased=False, keepdim=True)
            scale, shift = (weights[f"encoder.0.inner_norm.{n}"][block, 0, 0] for n in ("weight", "bias"))
            inner = linear("encoder.0.inner", block, (x - mean) / torch.sqrt(spread + 1e-6) * scale + shift)
            inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
            x = x + linear("encoder.0.outer", block, inner)
            gate = weights["unimodal_gate.weight"][block] if "unimodal_gate.weight" in weights else torch.eye(width)
            gated.append(x * torch.sigmoid(x @ gate))
        enhanced.append(linear("enhance", target, torch.cat(gated, dim=-1)))

    stacked = torch.stack(enhanced, dim=-2)
    shares = (stacked @ weights["multimodal_gate.weight"].T).softmax(dim=-2)
    logits = (shares * stacked).sum(dim=-2) @ weights["classifier.weight"].T + weights["classifier.bias"]
    students = torch.stack([linear("students", m, enhanced[m].clamp(min=0)) for m in range(3)], dim=-2)
    return logits, students


@pytest.mark.parametrize("corpus", ["meld", "iemocap"])
def test_outputs_are_those_of_the_published_program(corpus: str) -> None:
    """For the same weights logits and students' logits agree, padding included."""
    model = program(corpus)
    assert ("unimodal_gate.weight" in model.state_dict()) == (corpus == "iemocap")
    dialogues = talk(7, missing=0.0)
    real = torch.ones(2, 7, dtype=torch.bool)
    real[1, 4:] = False
    speakers = dialogues.speakers.clamp(max=2)
    output = model(dialogues.features, dialogues.present, speakers, ~real)
    logits, students = published_forward(model, dialogues.features, speakers, real)
    torch.testing.assert_close(output.logits[real], logits[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.students[real], students[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", [{"normalization": "post"}, {"activation": "relu"}, {"null_key": True}])
def test_each_switch_changes_the_outputs(change: dict[str, Any]) -> None:
    """A switch that is left at our own setting gives other outputs than the program."""
    dialogues = talk(7, missing=0.0)
    found = [program("meld", **c)(dialogues.features, dialogues.present, dialogues.speakers) for c in ({}, change)]
    assert not torch.allclose(found[0].logits, found[1].logits, atol=1e-3)


def masks_seen(model: SDT) -> tuple[Tensor, Tensor, Tensor]:
    """(queries, memory, intra) of the encoder in training, at a dropout of one half, on inputs that are never 0."""
    seen: list[tuple[Tensor, Tensor]] = []
    attention = model.get_submodule("encoder.0.attention")
    attention.register_forward_pre_hook(lambda _, given: seen.append((given[0], given[1])))
    dialogues = talk(5, missing=0.0)
    model.train()(dialogues.features, dialogues.present, dialogues.speakers)
    return seen[0][0] == 0, seen[0][1] == 0, model.intra.flatten()


def test_every_encoder_has_a_dropout_mask_of_its_own() -> None:
    """After eq. 4 half of the numbers are dropped, anew for each encoder's queries and keys."""
    queries, memory, intra = masks_seen(program("meld", dropout=0.5))
    assert float(queries.float().mean()) == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(queries[0], queries[1])  # one target, two encoders
    assert not torch.equal(queries[1], memory[1])
    for block in intra.nonzero().flatten():
        assert torch.equal(queries[block], memory[block])


def test_dropout_after_equation_4_is_one_mask_of_a_modality() -> None:
    """By our own default all encoders of a modality read the same half of H."""
    queries, memory, _ = masks_seen(network(dropout=0.5))
    assert float(queries.float().mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(queries[0], queries[1])
    assert torch.equal(queries[0], memory[3])  # text, read by the encoder of text for voice
    assert not torch.equal(queries[0], queries[3])


def test_weights_begin_as_torch_s_own_layers_do() -> None:
    """Under `initialization: torch` speaker vectors begin at a deviation of 1 and biases within the inverse root."""
    torch.manual_seed(0)
    config = program("meld").config
    begun = SDT(config)
    assert begun.speakers is not None
    assert float(begun.speakers.weight.detach().std()) == pytest.approx(1.0, abs=0.25)
    weight = begun.get_parameter("encoder.0.inner.weight").detach()
    assert float(weight.min()) < -0.9 * config.width**-0.5
    assert float(weight.max()) > 0.9 * config.width**-0.5
    bias = begun.get_parameter("encoder.0.inner.bias")
    assert 0.5 * config.width**-0.5 < float(bias.detach().abs().max()) <= config.width**-0.5


def test_absent_modality_without_a_null_key_is_left_out() -> None:
    """What is missing changes nothing and leaves everything finite, its gradient too, where no null key stands in."""
    model = program("iemocap")
    dialogues = talk(6, missing=0.4)
    dialogues.present[0, :, 2] = False
    loud = {m: torch.where(x.isnan(), 7.0, x) for m, x in dialogues.features.items()}
    outputs = [model(f, dialogues.present, dialogues.speakers) for f in (dialogues.features, loud)]
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits)
    outputs[0].logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert set(DIMENSIONS) == set(MODALITIES)
