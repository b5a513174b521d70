"""SDT's equations, written here one by one, and its configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from support.sdt_models import SMALL, assert_same, network, run, talk
from torch import Tensor, nn

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.networks.sdt import SDT, SDTConfig


@pytest.mark.parametrize("causal", [True, False])
def test_convolution_is_equation_one(causal: bool) -> None:
    """Eq. 1 is a convolution over utterances, padded on the left alone where the future is unknown."""
    model, t = network(kernel=3, causal=causal), talk(7, missing=0.0)
    seen: list[Tensor] = []
    model.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run(model, t)
    sides = (2, 0) if causal else (1, 1)
    padded = nn.functional.pad(t.features["text"].mT, sides)
    expected = nn.functional.conv1d(padded, model.convolutions["text"].weight).mT
    speakers = model.speakers.weight[t.speakers.clamp(max=2)]
    torch.testing.assert_close(seen[0][0], expected + speakers)


def test_fusion_is_equations_seven_to_fifteen() -> None:
    """The gates, the fusion and the classifiers compute the paper's equations, written here one by one."""
    model, t = network(), talk(1, missing=0.0, batch=1)
    seen: list[Tensor] = []
    model.encoder[-1].register_forward_hook(lambda _, __, output: seen.append(output[0][:, 0, 0]))
    output = run(model, t)
    gate = model.unimodal_gate
    assert gate is not None
    h = {(m, n): seen[0][3 * m + n] for m in range(3) for n in range(3)}
    filtered = {k: x * (x @ gate.weight[3 * k[0] + k[1]]).sigmoid() for k, x in h.items()}  # 7, 8
    enhanced = [
        torch.cat([filtered[m, n] for n in range(3)]) @ model.enhance.weight[m] + model.enhance.bias[m, 0]
        for m in range(3)
    ]  # 9
    w = model.multimodal_gate.weight
    g = torch.stack([w @ x for x in enhanced]).softmax(dim=0)  # 10
    fused = sum(x * y for x, y in zip(enhanced, g, strict=True))  # 11
    logits = model.classifier.weight @ fused + model.classifier.bias  # 12
    torch.testing.assert_close(output.logits[0, 0], logits)
    torch.testing.assert_close(output.gates[0, 0], g.mean(dim=-1))
    for m in range(3):
        student = enhanced[m].relu() @ model.students.weight[m] + model.students.bias[m, 0]  # 15
        torch.testing.assert_close(output.students[0, 0, m], student)


def test_pairs_read_the_right_modalities() -> None:
    """H(n -> m) feels, at earlier utterances, modality n alone, and asks with modality m."""
    model, t = network(), talk(3, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    seen: list[Tensor] = []
    model.encoder[0].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    run(model, t)
    for p in range(9):
        target, source = MODALITIES[p // 3], MODALITIES[p % 3]
        names = list(t.features)
        found = torch.autograd.grad(
            seen[0][p, :, 2].square().sum(), list(t.features.values()), retain_graph=True, allow_unused=True
        )
        felt = {n: g for n, g in zip(names, found, strict=True) if g is not None}
        assert {n for n, g in felt.items() if (g[:, 0] != 0).any()} == {source}
        assert {n for n, g in felt.items() if (g[:, 2] != 0).any()} == {target, source}


def test_deeper_layers_read_the_low_level_of_other_modalities() -> None:
    """In a second layer inter-modal blocks still read H_n of eq. 6, and intra-modal ones their own stream."""
    model, t = network(layers=2), talk(3, missing=0.0)
    seen: list[tuple[Tensor, Tensor]] = []
    for layer in model.encoder:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[1])))
    run(model, t)
    (first, _), (stream, memory) = seen
    for p, (m, n) in enumerate(model.config.pairs):
        assert memory[p].equal(stream[p] if m == n else first[4 * n])


def test_speakers_matter_and_overflow_shares_the_last_slot() -> None:
    """Slots within range are told apart; every slot beyond the last counts as the last."""
    model, t = network(), talk(4, missing=0.0)
    logits = []
    for slot in (0, 1, 2, 3, 99):
        t.speakers[:] = slot
        logits.append(run(model, t).logits)
    assert logits[2].equal(logits[3])
    assert logits[2].equal(logits[4])
    assert not torch.allclose(logits[1], logits[2], atol=1e-3)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_statistics_standardise() -> None:
    """After set_statistics the model sees features less their mean, by their deviation, never by nearly zero."""
    plain, model, t = network(), network(), talk(5, missing=0.0)
    model.set_statistics("voice", torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 4.0, 0.5, 0.0]))
    raw = t.features["voice"]
    t.features["voice"] = (raw - torch.tensor([1.0, 2.0, 3.0, 4.0])) / torch.tensor([2.0, 4.0, 0.5, 1e-3])
    expected = run(plain, t)
    t.features["voice"] = raw
    assert_same(run(model, t), expected)


def test_paper_size() -> None:
    """With the paper's settings for IEMOCAP the model has the 79.7 million parameters of the authors' program."""
    with torch.device("meta"):
        model = SDT(
            SDTConfig(
                dimensions={"text": 1024, "voice": 1582, "face": 342},
                classes=6,
                width=1024,
                feed_forward=1024,
                speakers=2,
                positions="sinusoidal",
                causal=False,
            )
        )
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 79.7


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"dimensions": {}}, "dimensions"),
        ({"dimensions": {"smell": 3}}, "smell"),
        ({"dimensions": {"text": 0}}, "dimensions"),
        ({"classes": 1}, "classes is 1, at least 2"),
        ({"window": 0}, "window is 0, at least 1"),
        ({"rewind": -1}, "rewind is -1, at least 0"),
        ({"heads": 5}, "width 16 is not a multiple"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dimensions": {"text": 5}, "transformers": "inter"}, "text is the only modality"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], word: str) -> None:
    """A configuration that cannot work is refused in a sentence that names the field and its value."""
    with pytest.raises(UsageError, match=word):
        SDTConfig(**(asdict(SMALL) | changes))
