"""CMATH: contracts 2, 3 and 5 of the design."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cmath_models import KINDS, SMALL, assert_same, follow, network, run, tensors
from support.sdt_models import DEVICES, DIMENSIONS, Talk, talk

from core_models.errors import UsageError
from core_models.networks.dialogue_state import DialogueState

EVERYWHERE = slice(None)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 14),
    window=st.integers(1, 20),
    kernel=st.sampled_from([1, 3]),
    layers=st.integers(1, 2),
    rewind=st.integers(0, 3),
    positions=st.sampled_from(["rotary", "sinusoidal"]),
    reconstruction=st.booleans(),
    cma=st.booleans(),
    missing=st.sampled_from([0.0, 0.4, 0.8]),
    seed=st.integers(0, 2**16),
)
def test_streaming_equals_batch(device: str, count: int, missing: float, seed: int, **changes: Any) -> None:
    """Stepping through a dialogue gives what running it whole gives, whatever is missing, for any window."""
    changes["window"] = max(changes["window"], 2 * changes["kernel"] - 1)
    model, t = network(device=device, **changes), talk(count, seed=seed, missing=missing, device=device)
    stepped, state = follow(model, t, model.initial_state(2))
    assert state.position == count
    assert_same(stepped, tensors(run(model, t)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_back_from_the_future(kind: str) -> None:
    """The gradient of all that is said with respect to every later utterance is exactly zero, and only then."""
    model, t = network(**KINDS[kind]), talk(9, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    output = run(model, t)
    for i in range(9):
        value = sum(x[:, i].square().sum() for x in tensors(output))
        for gradient in torch.autograd.grad(value, list(t.features.values()), retain_graph=True):
            assert (gradient[:, i + 1 :] == 0).all()
            assert (gradient[:, i] != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_past_predictions_never_change(kind: str) -> None:
    """What was predicted for the first utterances stays, whatever is said after them."""
    model, a, b = network(**KINDS[kind]), talk(10, seed=1), talk(10, seed=2)
    start, rest = a.part(0, 6), b.part(6, 10)
    joined = Talk(
        {m: torch.cat([start.features[m], rest.features[m]], 1) for m in DIMENSIONS},
        torch.cat([start.present, rest.present], 1),
        torch.cat([start.speakers, rest.speakers], 1),
    )
    first = (EVERYWHERE, slice(0, 6))
    assert_same(tensors(run(model, a), *first), tensors(run(model, joined), *first), 1e-6)


@pytest.mark.parametrize(("layers", "kernel", "cma"), [(1, 1, True), (2, 1, True), (1, 3, True), (1, 3, False)])
def test_influence_ends_at_the_edge_of_the_band(layers: int, kernel: int, cma: bool) -> None:
    """An utterance matters up to layers * (window - 1) + kernel - 1 utterances later and never beyond."""
    model, t = network(layers=layers, kernel=kernel, cma=cma), talk(16, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    reach = layers * (SMALL.window - 1) * cma + kernel - 1
    gradient = torch.autograd.grad(run(model, t).logits[:, -1].sum(), t.features["text"])[0]
    felt = (gradient != 0).any(dim=-1).all(dim=0)
    assert felt.tolist() == [i >= 15 - reach for i in range(16)]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_state_goes_on_as_if_never_saved(kind: str, tmp_path: Any) -> None:
    """A state that went through a safetensors file gives the same predictions, to the last bit."""
    model, t = network(**KINDS[kind]), talk(12)
    _, state = follow(model, t.part(0, 8), model.initial_state(2))
    safetensors.torch.save_file(state.to_tensors(), tmp_path / "state.safetensors")
    restored = DialogueState.from_tensors(safetensors.torch.load_file(tmp_path / "state.safetensors"))
    assert_same(follow(model, t.part(8, 12), state)[0], follow(model, t.part(8, 12), restored)[0], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_leaves_no_trace(kind: str) -> None:
    """Stepping from a state leaves it as it was: what another branch said is not heard in this one."""
    model, t, other = network(**KINDS[kind]), talk(10, seed=1), talk(5, seed=2)
    _, state = follow(model, t.part(0, 5), model.initial_state(2))
    saved = state.to_tensors()
    follow(model, other, state)
    assert all(x.equal(saved[name]) for name, x in state.to_tensors().items())
    assert_same(follow(model, t.part(5, 10), state)[0], tensors(run(model, t), EVERYWHERE, slice(5, 10)))


@settings(max_examples=40, deadline=None)
@given(
    said=st.integers(0, 14),
    back=st.integers(0, 14),
    window=st.integers(1, 8),
    kernel=st.sampled_from([1, 3, 5]),
    rewind=st.integers(0, 4),
    cma=st.booleans(),
)
def test_truncated_state_is_the_earlier_state(
    said: int, back: int, window: int, kernel: int, rewind: int, cma: bool
) -> None:
    """Taking back utterances gives the state before them exactly, or is refused where memory has ended."""
    window = max(window, 2 * kernel - 1)
    model, t, other = network(window=window, kernel=kernel, rewind=rewind, cma=cma), talk(14), talk(14, seed=5)
    start = model.initial_state(2)
    state = follow(model, t.part(0, said), start)[1] if said else start
    if back > (said if said < window + rewind else rewind):
        with pytest.raises(UsageError, match=f"take back {back} utterances"):
            state.truncate(back)
        return
    truncated = state.truncate(back)
    early = follow(model, t.part(0, said - back), start)[1] if said > back else start
    assert truncated.position == early.position
    assert_same(follow(model, other, truncated)[0], follow(model, other, early)[0], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_forgetting_everything_leaves_the_time_alone(kind: str) -> None:
    """A state without any of its utterances goes on as after utterances of which everything was missing."""
    model, t, other = network(**KINDS[kind]), talk(20, missing=0.0), talk(3, seed=5)
    _, state = follow(model, t, model.initial_state(2))
    t.present[:] = False
    _, empty = follow(model, t, model.initial_state(2))
    assert_same(follow(model, other, state.without([True] * state.held))[0], follow(model, other, empty)[0], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_state_stops_growing(kind: str) -> None:
    """The state of a dialogue of 60 utterances is no larger than that of 12, which is all that it can need."""
    model, t = network(**KINDS[kind]), talk(60)
    _, early = follow(model, t.part(0, 12), model.initial_state(2))
    _, late = follow(model, t.part(12, 60), early)
    sizes = [{name: x.shape for name, x in state.to_tensors().items()} for state in (early, late)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sinusoidal"])
def test_utterance_5000_is_like_utterance_0(kind: str) -> None:
    """With rotary positions the same utterances get the same output at the start and 5,000 later."""
    model, t = network(**KINDS[kind]), talk(12)
    start = model.initial_state(2)
    far, state = follow(model, t, replace(start, position=5000))
    assert state.position == 5012
    assert_same(far, follow(model, t, start)[0], 1e-4)


def test_bidirectional_sees_the_whole_dialogue() -> None:
    """With causal off every utterance feels every other one, however far."""
    model, t = network(causal=False), talk(12, missing=0.0)
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


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_inert(kind: str, causal: bool) -> None:
    """A dialogue gives the same alone and padded behind a longer one, whatever the padding holds."""
    model, t = network(causal=causal, **KINDS[kind]), talk(9, missing=0.2)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[:, 5:] = True
    t.speakers[:, 5:] = -1
    padded = run(model, t, padding)
    assert_same(tensors(padded, EVERYWHERE, slice(0, 5)), tensors(run(model, t.part(0, 5))))
    assert (padded.gates[:, 5:] == 0).all()


def test_slots_are_nothing_but_numbers() -> None:
    """Speakers renamed together with their embeddings say the same; speakers exchanged alone do not."""
    model, t = network(), talk(8, missing=0.0)
    t.speakers = t.speakers % 3
    expected = tensors(run(model, t))
    order = torch.tensor([2, 0, 1])
    t.speakers = order[t.speakers]
    assert not torch.allclose(run(model, t).logits, expected[0], atol=1e-3)
    with torch.no_grad():
        model.speakers.weight[order] = model.speakers.weight.clone()
    assert_same(tensors(run(model, t)), expected, 1e-6)


def test_overflowing_speakers_share_the_last_slot() -> None:
    """Every slot beyond the last counts as the last."""
    model, t = network(), talk(4, missing=0.0)
    t.speakers[:] = 2
    expected = tensors(run(model, t))
    t.speakers[:] = 99
    assert_same(tensors(run(model, t)), expected, 0)
