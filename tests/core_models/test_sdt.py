"""SDT: contracts 2-5 of the design, and its equations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core_models.dialogue import DialogueOutput, DialogueState
from core_models.errors import CheckpointError, UsageError
from core_models.features.spec import MODALITIES
from core_models.sdt import SDT, SDTConfig

DIMENSIONS = {"text": 5, "voice": 4, "face": 3}
SMALL = SDTConfig(
    dimensions=DIMENSIONS, classes=4, width=16, heads=2, feed_forward=12, dropout=0.0, speakers=3, window=4
)
PATTERNS = [[bool(code >> i & 1) for i in range(3)] for code in range(8)]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]


@dataclass
class Talk:
    """A batch of random dialogues; what stands at missing entries is NaN."""

    features: dict[str, Tensor]
    present: Tensor
    speakers: Tensor

    def part(self, start: int, stop: int) -> Talk:
        cut = slice(start, stop)
        return Talk({m: x[:, cut] for m, x in self.features.items()}, self.present[:, cut], self.speakers[:, cut])

    def at(self, i: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        return {m: x[:, i] for m, x in self.features.items()}, self.present[:, i], self.speakers[:, i]


def talk(count: int, *, seed: int = 0, batch: int = 2, missing: float = 0.4, device: str = "cpu") -> Talk:
    draw = torch.Generator().manual_seed(seed)
    present = torch.rand(batch, count, 3, generator=draw) >= missing
    features = {m: torch.randn(batch, count, d, generator=draw) for m, d in DIMENSIONS.items()}
    for i, m in enumerate(MODALITIES):
        features[m][~present[..., i]] = torch.nan
    speakers = torch.randint(0, 5, (batch, count), generator=draw)
    return Talk({m: x.to(device) for m, x in features.items()}, present.to(device), speakers.to(device))


def network(*, device: str = "cpu", **changes: Any) -> SDT:
    """A small model none of whose parameters is at a value that hides it."""
    torch.manual_seed(7)
    model = SDT(replace(SMALL, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # logits near 1: far larger ones round by 1e-5 themselves
    return model.to(device)


def run(model: SDT, t: Talk, padding: Tensor | None = None) -> DialogueOutput:
    output: DialogueOutput = model(t.features, t.present, t.speakers, padding)
    return output


def follow(model: SDT, t: Talk, state: DialogueState) -> tuple[DialogueOutput, DialogueState]:
    steps = []
    for i in range(t.speakers.shape[1]):
        output, state = model.step(*t.at(i), state)
        steps.append(output)
    return DialogueOutput(*(torch.stack(x, dim=1) for x in zip(*steps, strict=True))), state


def assert_same(a: DialogueOutput, b: DialogueOutput, tolerance: float = 1e-5) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 14),
    window=st.integers(1, 20),
    kernel=st.sampled_from([1, 3]),
    layers=st.integers(1, 2),
    rewind=st.integers(0, 3),
    positions=st.sampled_from(["rotary", "sinusoidal"]),
    gate=st.sampled_from(["learned", "identity", "none"]),
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
    gate: str,
    missing: float,
    seed: int,
) -> None:
    """Stepping through a dialogue gives what running it whole gives, whatever is missing, for any window."""
    model = network(
        device=device,
        window=window,
        kernel=kernel,
        layers=layers,
        rewind=rewind,
        positions=positions,
        unimodal_gate=gate,
    )
    t = talk(count, seed=seed, missing=missing, device=device)
    stepped, state = follow(model, t, model.initial_state(2))
    assert state.position == count
    assert_same(stepped, run(model, t))


@pytest.mark.parametrize("kernel", [1, 3])
def test_no_gradient_reaches_back_from_the_future(kernel: int) -> None:
    """The gradient of a prediction with respect to every later utterance is exactly zero, and only then."""
    model, t = network(kernel=kernel), talk(9, missing=0.0)
    for x in t.features.values():
        x.requires_grad_()
    output = run(model, t)
    for i in range(9):
        value = output.logits[:, i].sum() + output.gates[:, i, 0].sum() + output.students[:, i].sum()
        gradients = torch.autograd.grad(value, list(t.features.values()), retain_graph=True)
        for gradient in gradients:
            assert (gradient[:, i + 1 :] == 0).all()
            assert (gradient[:, i] != 0).any()


def test_past_predictions_never_change() -> None:
    """What was predicted for the first utterances stays, whatever is said after them."""
    model, a, b = network(kernel=3), talk(10, seed=1), talk(10, seed=2)
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
def test_saved_state_goes_on_as_if_never_saved(kernel: int, tmp_path: Any) -> None:
    """A state that went through a safetensors file gives the same predictions, to the last bit."""
    model, t = network(kernel=kernel), talk(12)
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
)
def test_truncated_state_is_the_earlier_state(said: int, back: int, window: int, kernel: int, rewind: int) -> None:
    """Taking back utterances gives the state before them exactly, or is refused where memory has ended."""
    model, t, other = network(window=window, kernel=kernel, rewind=rewind), talk(14), talk(14, seed=5)
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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gate", ["learned", "identity", "none"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_modality_pattern_is_finite(pattern: list[bool], gate: str, device: str) -> None:
    """With any modalities missing throughout, outputs and gradients are finite; gates sum to 1 over the rest."""
    model, t = network(unimodal_gate=gate, kernel=3, device=device), talk(6, missing=0.0, device=device)
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
        assert (output.students[..., i, :] != 0).any() == there


def test_gates_cover_what_is_there() -> None:
    """At each utterance the gates of the modalities that are there sum to 1, and the others are 0."""
    t = talk(20)
    gates = run(network(), t).gates
    assert (gates[~t.present] == 0).all()
    torch.testing.assert_close(gates.sum(-1), t.present.any(-1).float())


def test_nothing_at_a_missing_entry_is_read() -> None:
    """What stands where a modality is missing changes nothing, and a modality left out is missing."""
    model, t = network(kernel=3), talk(8)
    t.present[..., 2] = False
    expected = run(model, t)
    assert all(x.isfinite().all() for x in expected)
    other = Talk({m: x.nan_to_num(3.0) for m, x in t.features.items()}, t.present, t.speakers)
    assert_same(run(model, other), expected, 0)
    del other.features["face"]
    other.present[..., 2] = True
    assert_same(run(model, other), expected, 0)


def test_a_missing_modality_is_not_silence_of_zeros() -> None:
    """An absent voice and a voice whose features are all zero are told apart."""
    model, t = network(), talk(5, missing=0.0)
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


def test_utterance_with_nothing_only_passes_time() -> None:
    """An utterance of which everything is missing is not heard by later ones, but counts as a position."""
    model, t = network(window=10), talk(6, missing=0.0)
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
def test_padding_is_inert(causal: bool) -> None:
    """A dialogue gives the same alone and padded behind a longer one, whatever the padding holds."""
    model, t = network(causal=causal, kernel=3), talk(9, missing=0.2)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[:, 5:] = True
    t.speakers[:, 5:] = -1
    padded, alone = run(model, t, padding), run(model, t.part(0, 5))
    assert_same(DialogueOutput(*(x[:, :5] for x in padded)), alone)
    assert (padded.gates[:, 5:] == 0).all()


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


@pytest.mark.parametrize("used", [("text",), ("text", "face"), ("voice", "face")])
def test_fewer_modalities(used: tuple[str, ...]) -> None:
    """A model for some modalities steps as it runs, ignores the others, and reports them as missing."""
    model, t = network(dimensions={m: DIMENSIONS[m] for m in used}), talk(7)
    output = run(model, t)
    assert_same(follow(model, t, model.initial_state(2))[0], output)
    assert output.gates.shape == (2, 7, 3)
    assert output.students.shape == (2, 7, 3, 4)
    for i, m in enumerate(MODALITIES):
        assert (output.gates[..., i] > 0).any() == (m in used)


def test_statistics_standardise() -> None:
    """After set_statistics the model sees features less their mean, by their deviation, never by nearly zero."""
    plain, model, t = network(), network(), talk(5, missing=0.0)
    model.set_statistics("voice", torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 4.0, 0.5, 0.0]))
    raw = t.features["voice"]
    t.features["voice"] = (raw - torch.tensor([1.0, 2.0, 3.0, 4.0])) / torch.tensor([2.0, 4.0, 0.5, 1e-3])
    expected = run(plain, t)
    t.features["voice"] = raw
    assert_same(run(model, t), expected)


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
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], word: str) -> None:
    """A configuration that cannot work is refused in a sentence that names the field and its value."""
    with pytest.raises(UsageError, match=word):
        SDTConfig(**(asdict(SMALL) | changes))
