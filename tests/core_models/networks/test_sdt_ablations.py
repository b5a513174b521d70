"""SDT's ablations (Table IV) and the fusions it is compared with (Fig. 3): each switch does what its row says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.sdt_models import DIMENSIONS, KINDS, SMALL, Talk, assert_same, follow, network, run, talk
from torch import Tensor

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.networks.dialogue_state import DialogueOutput

SPECS = {
    m: FeatureSpec(modality=m, name=f"made-up-{m}", version=1, dimension=d, digest="00") for m, d in DIMENSIONS.items()
}


def swapped(t: Talk, i: int, j: int) -> Talk:
    """The dialogue with what was said at i and at j exchanged."""
    order = list(range(t.speakers.shape[1]))
    order[i], order[j] = order[j], order[i]
    return Talk({m: x[:, order] for m, x in t.features.items()}, t.present[:, order], t.speakers[:, order])


def with_pairs(kind: str, t: Talk) -> tuple[Any, Tensor, DialogueOutput]:
    """(model, H(n -> m) of the last encoder layer [P, B, N, d], output)."""
    model, seen = network(**KINDS[kind]), list[Tensor]()
    model.encoder[-1].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    output = run(model, t)
    return model, seen[0], output


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_holds_every_kind(kind: str, tmp_path: Path) -> None:
    """Any kind that was saved steps as it did, within what float16 rounds."""
    model, t = network(**KINDS[kind]), talk(7)
    sidecar = Sidecar(
        model="sdt", config=sidecar_config(model.config), labels="iemocap4", features=SPECS, window=SMALL.window
    )
    save(tmp_path / "kind", model, sidecar)
    again = load(tmp_path / "kind").model
    assert again.config == model.config
    assert_same(follow(again, t, again.initial_state(2))[0], run(model, t), 0.02)


def test_positions() -> None:
    """Without positional embeddings the order of the utterances before does not matter; with them it does."""
    t = talk(4, missing=0.0)
    for kind, same in (("w/o positions", True), ("SDT", False)):
        model = network(**KINDS[kind])
        assert torch.allclose(run(model, t).logits[:, 3], run(model, swapped(t, 0, 2)).logits[:, 3], atol=1e-6) == same


@pytest.mark.parametrize("kind", KINDS)
def test_speakers(kind: str) -> None:
    """Without speaker embeddings it does not matter who speaks; in every other kind it does."""
    model, t = network(**KINDS[kind]), talk(5, missing=0.0)
    t.speakers %= 2
    expected = run(model, t).logits
    t.speakers = 1 - t.speakers
    assert torch.equal(run(model, t).logits, expected) == (kind == "w/o speakers")
    assert any(name.startswith("speakers") for name in model.state_dict()) == (kind != "w/o speakers")


@pytest.mark.parametrize("kind", ["w/o inter-modal", "added pairs"])
def test_no_inter_modal_transformer(kind: str) -> None:
    """Without inter-modal transformers the student of a modality depends on that modality alone."""
    model, t = network(**KINDS[kind]), talk(5, missing=0.0)
    assert model.config.pairs == [(0, 0), (1, 1), (2, 2)]
    expected = run(model, t).students
    t.features["voice"] = t.features["voice"] + 1.0
    moved = (run(model, t).students != expected).any(dim=-1)
    assert moved.all(dim=(0, 1)).tolist() == [False, True, False]
    assert moved.any(dim=(0, 1)).tolist() == [False, True, False]


def test_no_intra_modal_transformer() -> None:
    """Without intra-modal transformers a modality meets only what the two others said before."""
    model, t = network(**KINDS["w/o intra-modal"]), talk(3, missing=0.0)
    assert model.config.pairs == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    for x in t.features.values():
        x.requires_grad_()
    students = run(model, t).students
    for m in range(3):
        found = torch.autograd.grad(students[:, 2, m].sum(), list(t.features.values()), retain_graph=True)
        earlier = {n for n, g in zip(t.features, found, strict=True) if (g[:, :2] != 0).any()}
        assert earlier == set(MODALITIES) - {MODALITIES[m]}
        assert all((g[:, 2] != 0).any() for g in found)


def test_add() -> None:
    """Add sums H(n -> m) over n, and the modalities over m, with no weights of its own."""
    model, h, output = with_pairs("Add", talk(1, missing=0.0))
    enhanced = h.reshape(3, 3, 2, 1, -1).sum(dim=1)
    torch.testing.assert_close(output.logits, model.classifier(enhanced.sum(dim=0)))
    for m in range(3):
        student = enhanced[m].relu() @ model.students.weight[m] + model.students.bias[m]
        torch.testing.assert_close(output.students[:, :, m], student)
    assert not any("gate" in name or "enhance" in name or "join" in name for name in model.state_dict())


def test_concatenation() -> None:
    """Concatenation sends the three H(n -> m), and then the three modalities, through a fully connected layer."""
    model, h, output = with_pairs("Concatenation", talk(1, missing=0.0))
    enhanced = [
        torch.cat([h[3 * m + n] for n in range(3)], dim=-1) @ model.enhance.weight[m] + model.enhance.bias[m]
        for m in range(3)
    ]
    fused = torch.cat(enhanced, dim=-1) @ model.join.weight.T + model.join.bias
    torch.testing.assert_close(output.logits, model.classifier(fused))
    assert not any("gate" in name for name in model.state_dict())


@pytest.mark.parametrize("kind", ["SDT", "Add", "Concatenation", "w/o multimodal gate"])
def test_a_missing_modality_is_not_fused(kind: str) -> None:
    """A modality that is missing at an utterance brings nothing to any fusion, be it asked or asking."""
    model, t = network(**KINDS[kind]), talk(3, missing=0.0)
    t.present[:, 2, 1] = False
    weights = model.encoder[0].inner.weight
    felt = torch.autograd.grad(run(model, t).logits[:, 2].sum(), weights)[0].flatten(1).any(dim=1)
    assert felt.tolist() == ["voice" not in (MODALITIES[m], MODALITIES[n]) for m, n in model.config.pairs]


def test_uni_cat_transformer() -> None:
    """Uni-Cat-Transformer is one encoder over the features of all modalities concatenated, and has no students."""
    model, t = network(**KINDS["Uni-Cat-Transformer"]), talk(4, missing=0.0)
    assert model.config.pairs == [(0, 0)]
    seen: list[Tensor] = []
    model.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    output = run(model, t)
    weight = torch.cat([model.convolutions[m].weight[..., 0] for m in DIMENSIONS], dim=1)
    concatenated = torch.cat([t.features[m] for m in DIMENSIONS], dim=-1)
    torch.testing.assert_close(seen[0][0], concatenated @ weight.T + model.speakers.weight[t.speakers.clamp(max=2)])
    assert output.students.shape == (2, 4, 0, 4)
    assert not any("gate" in name or "students" in name or "enhance" in name for name in model.state_dict())


def test_uni_cat_transformer_hears_what_has_any_modality() -> None:
    """An utterance with the face alone is heard by Uni-Cat-Transformer at the next one; one with nothing is not."""
    model, t = network(**KINDS["Uni-Cat-Transformer"]), talk(2, missing=0.0)
    for present in (True, False):
        t.present[:, 0] = torch.tensor([False, False, present])
        logits = []
        for slot in (0, 1):
            t.speakers[:, 0] = slot
            logits.append(run(model, t).logits[:, 1])
        assert torch.equal(*logits) != present


def test_unimodal_gate() -> None:
    """Without the unimodal gate H' is H; at identity it is H by its own sigmoid; both have no weights."""
    t = talk(1, missing=0.0)
    for kind, gate in (("w/o unimodal gate", torch.ones_like), ("unimodal gate at identity", torch.sigmoid)):
        model, h, output = with_pairs(kind, t)
        h = h * gate(h)
        student = torch.cat([h[n] for n in range(3)], dim=-1) @ model.enhance.weight[0] + model.enhance.bias[0]
        expected = student.relu() @ model.students.weight[0] + model.students.bias[0]
        torch.testing.assert_close(output.students[:, :, 0], expected)
        assert not any(name.startswith("unimodal_gate") for name in model.state_dict())


def test_multimodal_gate() -> None:
    """Without the multimodal gate what is present weighs the same."""
    model, t = network(**KINDS["w/o multimodal gate"]), talk(12)
    gates = run(model, t).gates
    torch.testing.assert_close(gates, t.present / t.present.sum(dim=-1, keepdim=True).clamp(min=1))
    assert not any(name.startswith("multimodal_gate") for name in model.state_dict())


def test_switches_of_a_kind_have_no_meaning_elsewhere() -> None:
    """The gates' switches change nothing where another fusion has taken their place."""
    t = talk(5)
    for kind in ("Add", "Concatenation", "Uni-Cat-Transformer"):
        a = network(**KINDS[kind])
        b = network(**KINDS[kind], unimodal_gate="identity", multimodal_gate="none")
        assert_same(run(a, t), run(b, t), 0)
        assert replace(b.config, unimodal_gate="learned", multimodal_gate="learned") == a.config
