"""SDT where modalities are missing: masked, never read, never mistaken for data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.sdt_models import DEVICES, DIMENSIONS, KINDS, SUBSETS, Talk, assert_same, follow, network, run, talk
from torch import Tensor

from core_models.feature_spec import MODALITIES
from core_models.networks.dialogue_state import DialogueOutput

PATTERNS = [[bool(code >> i & 1) for i in range(3)] for code in range(8)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_modality_pattern_is_finite(pattern: list[bool], kind: str, device: str) -> None:
    """With any modalities missing throughout, outputs and gradients are finite; gates sum to 1 over the rest."""
    model, t = network(kernel=3, device=device, **KINDS[kind]), talk(6, missing=0.0, device=device)
    t.present[:] = torch.tensor(pattern, device=device)
    for i, m in enumerate(MODALITIES):
        if not pattern[i]:
            t.features[m][:] = torch.nan
    output = run(model, t)
    assert all(x.isfinite().all() for x in output)
    sum(x.square().sum() for x in output).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(output.gates.sum(-1), torch.full_like(output.gates[..., 0], float(any(pattern))))
    for i, there in enumerate(pattern):
        assert (output.gates[..., i] > 0).all() == there
        if model.students is not None:
            assert (output.students[..., i, :] != 0).any() == there


@pytest.mark.parametrize("kind", KINDS)
def test_gates_cover_what_is_there(kind: str) -> None:
    """At each utterance the gates of the modalities that are there sum to 1, and the others are 0."""
    t = talk(20)
    gates = run(network(**KINDS[kind]), t).gates
    assert (gates[~t.present] == 0).all()
    torch.testing.assert_close(gates.sum(-1), t.present.any(-1).float())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_a_missing_entry_is_read(kind: str) -> None:
    """What stands where a modality is missing changes nothing, and a modality left out is missing."""
    model, t = network(kernel=3, **KINDS[kind]), talk(8)
    t.present[..., 2] = False
    expected = run(model, t)
    assert all(x.isfinite().all() for x in expected)
    other = Talk({m: x.nan_to_num(3.0) for m, x in t.features.items()}, t.present, t.speakers)
    assert_same(run(model, other), expected, 0)
    del other.features["face"]
    other.present[..., 2] = True
    assert_same(run(model, other), expected, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_modality_is_not_silence_of_zeros(kind: str) -> None:
    """An absent voice and a voice whose features are all zero are told apart."""
    model, t = network(**KINDS[kind]), talk(5, missing=0.0)
    t.features["voice"][:] = 0.0
    zeros = run(model, t).logits
    t.present[..., 1] = False
    assert not torch.allclose(run(model, t).logits, zeros, atol=1e-3)


def test_a_missing_modality_is_no_key() -> None:
    """An utterance without text is no key to the pairs that read text, and is one to all others."""
    model, t = network(), talk(2, missing=0.0)
    t.present[:, 0, 0] = False
    seen: list[Tensor] = []
    model.encoder[0].register_forward_hook(lambda _, __, output: seen.append(output[0][:, :, 1]))
    for slot in (0, 1):
        t.speakers[:, 0] = slot
        run(model, t)
    for p in range(9):
        assert torch.equal(seen[0][p], seen[1][p]) == (MODALITIES[p % 3] == "text")


def test_a_missing_modality_brings_nothing_from_its_past() -> None:
    """Where the voice is missing, H'(voice -> m) is zero: what the voice said earlier has no part in it."""
    model, t = network(), talk(3, missing=0.0)
    t.present[:, 2, 1] = False
    for x in t.features.values():
        x.requires_grad_()
    output = run(model, t)
    assert (torch.autograd.grad(output.logits[:, 2].sum(), t.features["voice"], retain_graph=True)[0] == 0).all()
    assert (torch.autograd.grad(output.logits[:, 2].sum(), t.features["face"])[0] != 0).any()


@pytest.mark.parametrize("kind", [kind for kind, changes in KINDS.items() if "positions" not in changes])
def test_utterance_with_nothing_only_passes_time(kind: str) -> None:
    """An utterance of which everything is missing is not heard by later ones, but counts as a position."""
    model, t = network(window=10, **KINDS[kind]), talk(6, missing=0.0)
    t.present[:, 3] = False
    expected = run(model, t)
    t.speakers[:, 3] = (t.speakers[:, 3] + 1) % 3
    assert_same(DialogueOutput(*(x[:, 4:] for x in run(model, t))), DialogueOutput(*(x[:, 4:] for x in expected)))
    shorter = Talk(*(_without(x, 3) for x in (t.features, t.present, t.speakers)))
    assert not torch.allclose(run(model, shorter).logits[:, 3], expected.logits[:, 4], atol=1e-4)


def _without(x: Any, i: int) -> Any:
    if isinstance(x, dict):
        return {m: _without(value, i) for m, value in x.items()}
    return torch.cat([x[:, :i], x[:, i + 1 :]], dim=1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_inert(kind: str, causal: bool) -> None:
    """A dialogue gives the same alone and padded behind a longer one, whatever the padding holds."""
    model, t = network(causal=causal, kernel=3, **KINDS[kind]), talk(9, missing=0.2)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[:, 5:] = True
    t.speakers[:, 5:] = -1
    padded, alone = run(model, t, padding), run(model, t.part(0, 5))
    assert_same(DialogueOutput(*(x[:, :5] for x in padded)), alone)
    assert (padded.gates[:, 5:] == 0).all()


@pytest.mark.parametrize("used", SUBSETS)
@pytest.mark.parametrize("kind", KINDS)
def test_fewer_modalities(kind: str, used: tuple[str, ...]) -> None:
    """A model for some modalities (six rows of Table IV) steps as it runs and reports the others as missing."""
    if len(used) == 1 and KINDS[kind].get("transformers") == "inter":
        pytest.skip("one modality has no inter-modal transformer")
    model, t = network(dimensions={m: DIMENSIONS[m] for m in used}, **KINDS[kind]), talk(7)
    output = run(model, t)
    assert_same(follow(model, t, model.initial_state(2))[0], output)
    assert output.gates.shape == (2, 7, 3)
    assert output.students.shape == (2, 7, 3 if model.students else 0, 4)
    for i, m in enumerate(MODALITIES):
        assert (output.gates[..., i] > 0).any() == (m in used)
