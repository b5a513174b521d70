"""SDT: a dialogue followed utterance by utterance is the dialogue run whole, in order and without end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sdt_models import DEVICES, DIMENSIONS, KINDS, SMALL, Talk, assert_same, follow, network, run, talk

from core_models.errors import UsageError
from core_models.networks.dialogue_state import DialogueOutput


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 14),
    window=st.integers(1, 20),
    kernel=st.sampled_from([1, 3]),
    layers=st.integers(1, 2),
    rewind=st.integers(0, 3),
    positions=st.sampled_from(["rotary", "sinusoidal"]),
    kind=st.sampled_from(sorted(KINDS)),
    missing=st.sampled_from([0.0, 0.4, 0.8]),
    seed=st.integers(0, 2**16),
)
def test_streaming_equals_batch(
    device: str,
    count: int,
    window: int,
    kernel: int,
    layers: int,
    rewind: int,
    positions: str,
    kind: str,
    missing: float,
    seed: int,
) -> None:
    """Stepping through a dialogue gives what running it whole gives, whatever is missing, for any window."""
    shape = {"window": window, "kernel": kernel, "layers": layers, "rewind": rewind, "positions": positions}
    model = network(device=device, **(shape | KINDS[kind]))
    t = talk(count, seed=seed, missing=missing, device=device)
    stepped, state = follow(model, t, model.initial_state(2))
    assert state.position == count
    assert_same(stepped, run(model, t))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_back_from_the_future(kind: str, kernel: int) -> None:
    """The gradient of a prediction with respect to every later utterance is exactly zero, and only then."""
    model, t = network(kernel=kernel, **KINDS[kind]), talk(9, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    output = run(model, t)
    for i in range(9):
        value = output.logits[:, i].sum() + output.gates[:, i, 0].sum() + output.students[:, i].sum()
        gradients = torch.autograd.grad(value, list(t.features.values()), retain_graph=True)
        for gradient in gradients:
            assert (gradient[:, i + 1 :] == 0).all()
            assert (gradient[:, i] != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_past_predictions_never_change(kind: str) -> None:
    """What was predicted for the first utterances stays, whatever is said after them."""
    model, a, b = network(kernel=3, **KINDS[kind]), talk(10, seed=1), talk(10, seed=2)
    start, rest = a.part(0, 6), b.part(6, 10)
    joined = Talk(
        {m: torch.cat([start.features[m], rest.features[m]], 1) for m in DIMENSIONS},
        torch.cat([start.present, rest.present], 1),
        torch.cat([start.speakers, rest.speakers], 1),
    )
    before, after = run(model, a), run(model, joined)
    assert_same(DialogueOutput(*(x[:, :6] for x in before)), DialogueOutput(*(x[:, :6] for x in after)), 1e-6)


@pytest.mark.parametrize(("layers", "kernel"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_influence_ends_at_the_edge_of_the_band(layers: int, kernel: int) -> None:
    """An utterance matters up to layers * (window - 1) + kernel - 1 utterances later and never beyond."""
    model, t = network(layers=layers, kernel=kernel), talk(16, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    reach = layers * (SMALL.window - 1) + kernel - 1
    gradient = torch.autograd.grad(run(model, t).logits[:, -1].sum(), t.features["text"])[0]
    felt = (gradient != 0).any(dim=-1).all(dim=0)
    assert felt.tolist() == [i >= 15 - reach for i in range(16)]


@pytest.mark.parametrize("kernel", [1, 3])
def test_utterance_5000_is_like_utterance_0(kernel: int) -> None:
    """With rotary positions the same utterances get the same logits at the start and 5,000 later."""
    model, t = network(kernel=kernel), talk(12)
    start = model.initial_state(2)
    near, _ = follow(model, t, start)
    far, state = follow(model, t, replace(start, position=5000))
    assert state.position == 5012
    assert_same(far, near, 1e-4)


def test_sinusoidal_positions_are_absolute() -> None:
    """With the paper's own positions the same utterances read otherwise further on."""
    model, t = network(positions="sinusoidal"), talk(12)
    start = model.initial_state(2)
    near, far = follow(model, t, start)[0], follow(model, t, replace(start, position=5000))[0]
    assert not torch.allclose(near.logits, far.logits, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional_sees_the_whole_dialogue(kind: str) -> None:
    """With causal off every utterance feels every other one, however far."""
    model, t = network(causal=False, **KINDS[kind]), talk(12, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    output = run(model, t)
    for i in range(12):
        gradient = torch.autograd.grad(output.logits[:, i].sum(), t.features["voice"], retain_graph=True)[0]
        assert (gradient != 0).any(dim=-1).all()


def test_bidirectional_refuses_to_step() -> None:
    """A model that needs the future says so when it is asked to follow a live dialogue."""
    model, t = network(causal=False), talk(1)
    with pytest.raises(UsageError, match="looks into the future"):
        model.step(*t.at(0), model.initial_state(2))
