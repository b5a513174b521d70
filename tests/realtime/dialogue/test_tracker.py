"""The tracker steps a real model as the wire promises."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_models.checkpoint import Checkpoint, Sidecar, sidecar_config
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.labels import MELD7
from core_models.networks.sdt import SDT, SDTConfig
from realtime.dialogue.tracker import NonFiniteStep, Tracker

WIDTHS = {"text": 6, "voice": 5, "face": 4}


def checkpoint(modalities: tuple[str, ...] = MODALITIES, temperature: dict[str, float] | None = None) -> Checkpoint:
    torch.manual_seed(0)
    widths = {m: WIDTHS[m] for m in modalities}
    config = SDTConfig(dimensions=widths, classes=7, width=32, heads=4, feed_forward=32, window=5, speakers=3)
    model = SDT(config).eval().requires_grad_(False)
    specs = {
        m: FeatureSpec(modality=m, name="test", version=1, dimension=w, digest="0" * 64) for m, w in widths.items()
    }
    sidecar = Sidecar(
        model="sdt",
        config=sidecar_config(config),
        labels=MELD7.name,
        features=specs,
        window=5,
        temperature=temperature or {},
    )
    return Checkpoint("test", model, sidecar, "0" * 64)


def drawn(seed: int, patterns: list[set[str]]) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [{m: random.standard_normal(WIDTHS[m]).astype(np.float32) for m in sorted(p)} for p in patterns]


patterns = st.lists(st.sets(st.sampled_from(MODALITIES), min_size=1), min_size=1, max_size=12)


@settings(deadline=None, max_examples=30)
@given(patterns=patterns, seed=st.integers(0, 1000))
def test_an_opinion_is_what_the_model_says_with_the_others_masked_throughout(
    patterns: list[set[str]], seed: int
) -> None:
    """Each modality's own probabilities equal `forward` over the dialogue with the other modalities missing."""
    loaded = checkpoint()
    tracker, dialogue = Tracker(loaded), drawn(seed, patterns)
    judged = [tracker.step("ab"[n % 2], features) for n, features in enumerate(dialogue)]
    whole = {
        m: torch.tensor(np.array([f.get(m, np.zeros(w, np.float32)) for f in dialogue]))[None]
        for m, w in WIDTHS.items()
    }
    there = torch.tensor([[m in f for m in MODALITIES] for f in dialogue])[None]
    speakers = torch.tensor([[n % 2 for n in range(len(dialogue))]])
    for column, only in [(None, "all"), *enumerate(MODALITIES)]:
        mask = torch.ones(3, dtype=torch.bool) if column is None else torch.eye(3, dtype=torch.bool)[column]
        logits = loaded.model(whole, there & mask, speakers).logits[0]
        for row, judgement in zip(logits, judged, strict=True):
            said = judgement.probabilities if column is None else judgement.unimodal.get(only)
            if said is not None:
                expected = torch.softmax(row.double(), -1).numpy()
                assert np.allclose([said[label] for label in MELD7.labels], expected, atol=1e-5)


def test_probabilities_sum_to_one_and_name_the_emotion() -> None:
    """The emotion is the most probable label, and every distribution sums to 1."""
    judgement = Tracker(checkpoint()).step("a", drawn(1, [set(MODALITIES)])[0])
    assert judgement.emotion == max(judgement.probabilities, key=judgement.probabilities.__getitem__)
    for distribution in (judgement.probabilities, *judgement.unimodal.values()):
        assert sum(distribution.values()) == pytest.approx(1)
    assert sum(judgement.gates.values()) == pytest.approx(1, abs=1e-5)


def test_before_is_the_same_speakers_last_emotion() -> None:
    """A shift is told between two utterances of one speaker, not between speakers."""
    tracker, dialogue = Tracker(checkpoint()), drawn(2, [{"text"}] * 4)
    first = tracker.step("a", dialogue[0])
    other = tracker.step("b", dialogue[1])
    assert first.previous is None
    assert other.previous is None
    assert tracker.step("a", dialogue[2]).previous == first.emotion
    assert tracker.step("b", dialogue[3]).previous == other.emotion


def test_temperature_softens_by_pattern() -> None:
    """The temperature of a pattern applies to it and to no other."""
    features = drawn(3, [{"text", "voice"}])[0]
    plain = Tracker(checkpoint()).step("a", features)
    softened = Tracker(checkpoint(temperature={"text+voice": 4.0})).step("a", features)
    assert max(softened.probabilities.values()) < max(plain.probabilities.values())
    assert softened.unimodal == plain.unimodal


def test_a_modality_that_the_checkpoint_does_not_know_is_not_used() -> None:
    """A checkpoint for words and voice judges an utterance with a face as one without."""
    loaded, features = checkpoint(("text", "voice")), drawn(4, [set(MODALITIES)])[0]
    without = {m: v for m, v in features.items() if m != "face"}
    assert Tracker(loaded).step("a", features) == Tracker(loaded).step("a", without)


def test_nothing_to_judge_is_refused() -> None:
    """An utterance without any modality takes no step (contract 4)."""
    with pytest.raises(ValueError, match="no step"):
        Tracker(checkpoint()).step("a", {})


def test_a_look_ahead_leaves_no_trace() -> None:
    """Judgements are the same whether or not the dialogue was looked ahead of between them, by whomever."""
    dialogue = drawn(5, [set(MODALITIES)] * 6)
    plain, looking = Tracker(checkpoint()), Tracker(checkpoint())
    for number, features in enumerate(dialogue):
        speaker = "ab"[number % 2]
        ahead = looking.step_without_commit(speaker, features)
        looking.step_without_commit("somebody new", dialogue[0])
        expected = plain.step(speaker, features)
        assert ahead == expected
        assert looking.step(speaker, features) == expected


def test_who_is_forgotten_might_never_have_spoken() -> None:
    """What is judged after `forget` is what the model says where everything of that speaker was missing."""
    loaded, dialogue = checkpoint(), drawn(6, [set(MODALITIES)] * 12)
    tracker = Tracker(loaded)
    for number, features in enumerate(dialogue[:8]):
        tracker.step("ab"[number % 2], features)
    tracker.forget("a")
    judged = [tracker.step("b", features) for features in dialogue[8:]]
    whole = {m: torch.tensor(np.array([f[m] for f in dialogue]))[None] for m in MODALITIES}
    there = torch.ones(1, 12, 3, dtype=torch.bool)
    there[0, 0:8:2] = False
    speakers = torch.tensor([[n % 2 if n < 8 else 1 for n in range(12)]])
    logits = loaded.model(whole, there, speakers).logits[0, 8:]
    for row, judgement in zip(logits, judged, strict=True):
        expected = torch.softmax(row.double(), -1).numpy()
        assert np.allclose([judgement.probabilities[label] for label in MELD7.labels], expected, atol=1e-5)
    assert not np.allclose(
        loaded.model(whole, torch.ones_like(there), speakers).logits[0, 8:].numpy(), logits.numpy(), atol=1e-3
    )


def test_a_forgotten_speakers_emotion_is_forgotten() -> None:
    """Whoever speaks again after `forget` has no emotion before."""
    tracker, dialogue = Tracker(checkpoint()), drawn(7, [{"text"}] * 2)
    tracker.step("a", dialogue[0])
    tracker.forget("a")
    tracker.forget("nobody")
    assert tracker.step("a", dialogue[1]).previous is None


def test_a_guess_below_the_checkpoints_threshold_is_uncertain() -> None:
    """Confidence below `abstain` is uncertain, and such an emotion is nobody's emotion before."""
    loaded, dialogue = checkpoint(), drawn(3, [set(MODALITIES)] * 3)
    confidence = max(Tracker(loaded).step("a", dialogue[0]).probabilities.values())
    for abstain, uncertain in ((confidence - 1e-6, False), (confidence + 1e-6, True)):
        sidecar = msgspec.structs.replace(loaded.sidecar, abstain=abstain)
        tracker = Tracker(replace(loaded, sidecar=sidecar))
        first = tracker.step("a", dialogue[0])
        assert first.uncertain is uncertain
        assert tracker.step("a", dialogue[1]).previous == (None if uncertain else first.emotion)


def test_a_step_without_a_number_leaves_the_dialogue_as_it_was() -> None:
    """One NaN in one feature is refused, and what follows is judged as if that utterance had never come."""
    dialogue = drawn(6, [set(MODALITIES)] * 4)
    plain, hit = Tracker(checkpoint()), Tracker(checkpoint())
    broken = {m: np.full_like(x, np.nan) for m, x in dialogue[1].items()}
    assert plain.step("a", dialogue[0]) == hit.step("a", dialogue[0])
    with pytest.raises(NonFiniteStep, match="left out"):
        hit.step("b", broken)
    for speaker, features in zip("ba", dialogue[2:], strict=True):
        assert plain.step(speaker, features) == hit.step(speaker, features)
