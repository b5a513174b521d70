"""SDT's state between utterances: a plain value to save, fork and take back."""

from __future__ import annotations

from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sdt_models import KINDS, SMALL, assert_same, follow, network, run, talk

from core_models.errors import CheckpointError, UsageError
from core_models.networks.dialogue_state import DialogueOutput, DialogueState


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_state_goes_on_as_if_never_saved(kind: str, kernel: int, tmp_path: Any) -> None:
    """A state that went through a safetensors file gives the same predictions, to the last bit."""
    model, t = network(kernel=kernel, **KINDS[kind]), talk(12)
    _, state = follow(model, t.part(0, 8), model.initial_state(2))
    safetensors.torch.save_file(state.to_tensors(), tmp_path / "state.safetensors")
    restored = DialogueState.from_tensors(safetensors.torch.load_file(tmp_path / "state.safetensors"))
    kept, _ = follow(model, t.part(8, 12), state)
    again, _ = follow(model, t.part(8, 12), restored)
    assert_same(kept, again, 0)


@pytest.mark.parametrize("lost", ["position", "layers.0.keys", "layers.0.valid"])
def test_damaged_state_is_refused(lost: str) -> None:
    """A saved state that lacks a tensor is refused in a sentence that names it."""
    tensors = network().initial_state(1).to_tensors()
    del tensors[lost]
    with pytest.raises(CheckpointError, match=lost):
        DialogueState.from_tensors(tensors)


def test_a_fork_leaves_no_trace() -> None:
    """Stepping from a state leaves it as it was: what another branch said is not heard in this one."""
    model, t, other = network(kernel=3), talk(10, seed=1), talk(5, seed=2)
    _, state = follow(model, t.part(0, 5), model.initial_state(2))
    saved = state.to_tensors()
    follow(model, other, state)
    assert all(x.equal(saved[name]) for name, x in state.to_tensors().items())
    rest, _ = follow(model, t.part(5, 10), state)
    assert_same(rest, DialogueOutput(*(x[:, 5:] for x in run(model, t))))


@settings(max_examples=40, deadline=None)
@given(
    said=st.integers(0, 14),
    back=st.integers(0, 14),
    window=st.integers(1, 8),
    kernel=st.sampled_from([1, 3, 5]),
    rewind=st.integers(0, 4),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_truncated_state_is_the_earlier_state(
    said: int, back: int, window: int, kernel: int, rewind: int, kind: str
) -> None:
    """Taking back utterances gives the state before them exactly, or is refused where memory has ended."""
    model = network(window=window, kernel=kernel, rewind=rewind, **KINDS[kind])
    t, other = talk(14), talk(14, seed=5)
    _, state = follow(model, t.part(0, said), model.initial_state(2)) if said else (None, model.initial_state(2))
    if back > (said if said < window + rewind else rewind):
        with pytest.raises(UsageError, match=f"take back {back} utterances"):
            state.truncate(back)
        return
    truncated = state.truncate(back)
    left = said - back
    _, early = follow(model, t.part(0, left), model.initial_state(2)) if left else (None, model.initial_state(2))
    assert truncated.position == early.position
    a, b = follow(model, other, truncated)[0], follow(model, other, early)[0]
    assert_same(a, b, 1e-6)


def test_truncating_twice_is_truncating_once() -> None:
    """The reach shrinks by what was taken back: two times two is four, and a fifth is refused."""
    model = network(rewind=4)
    _, state = follow(model, talk(14), model.initial_state(2))
    twice = state.truncate(2).truncate(2)
    once = state.truncate(4)
    assert all(x.equal(once.to_tensors()[name]) for name, x in twice.to_tensors().items())
    with pytest.raises(UsageError, match="reaches back 0"):
        twice.truncate(1)
    with pytest.raises(UsageError, match="take back -1"):
        state.truncate(-1)


def test_state_stops_growing() -> None:
    """The state of a long dialogue is no larger than window - 1 + rewind utterances need."""
    model, t = network(kernel=3), talk(60)
    _, state = follow(model, t, model.initial_state(2))
    held = SMALL.window - 1 + SMALL.rewind
    assert {past.valid.shape[-1] for past in state.layers} == {held}
    assert {x.shape[1] for x in state.inputs.values()} == {held}


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_forgotten_utterance_leaves_nothing_and_the_others_all(kernel: int) -> None:
    """`without` empties what an utterance left in the layers and in the convolution's tail, and touches no other."""
    model, t = network(kernel=kernel), talk(6, missing=0.0)
    _, state = follow(model, t, model.initial_state(2))
    after = state.without([False, False, False, False, True, False])
    kept = [0, 1, 2, 3, 5]
    for before, past in zip(state.layers, after.layers, strict=True):
        assert not past.valid[..., 4].any()
        assert not past.keys[..., 4, :].any()
        assert not past.values[..., 4, :].any()
        for old, new in zip(before[:2], past[:2], strict=True):
            assert torch.equal(old[..., kept, :], new[..., kept, :])
        assert torch.equal(before.valid[..., kept], past.valid[..., kept])
    for modality, tail in state.inputs.items():
        expected = tail.clone()
        expected[:, -2:-1] = 0.0
        assert torch.equal(after.inputs[modality], expected)
    assert (state.inputs["text"].shape[1] > 0) == (kernel > 1)
