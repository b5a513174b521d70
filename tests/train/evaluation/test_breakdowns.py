"""Predictions apart: who is in which part, and what goes missing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_models.labels import MELD7
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.data.dialogue_tensors import TensorDialogue
from train.evaluation.breakdowns import (
    break_down_predictions,
    drop_entries,
    emotional_shifts,
    length_class,
    score_missing_rates,
    score_subsets,
)
from train.evaluation.predictions import Place, Predictions, scored_places


def dialogue(name: str, *turns: tuple[str, str | None], style: str | None = None) -> Dialogue:
    lines = tuple(Utterance(f"{name}_{i}", speaker, label=label) for i, (speaker, label) in enumerate(turns))
    return Dialogue(name, lines, style=style)


def tensors(name: str, present: torch.Tensor) -> TensorDialogue:
    count = len(present)
    features = {m: torch.randn(count, 4) for m in ("text", "voice", "face")}
    zeros = torch.zeros(count, dtype=torch.long)
    return TensorDialogue(name, features, present, zeros, zeros, torch.zeros(7))


def told(places: list[Place], right: list[bool]) -> Predictions:
    """Predictions of the first class, where the truth is it or another."""
    logits = torch.zeros(len(places), 7)
    logits[:, 0] = 5
    return Predictions(logits, torch.tensor([0 if r else 1 for r in right]), tuple(places), "meld7")


def test_shift_is_a_change_within_one_speaker() -> None:
    """SDT Table V: against the same speaker's labelled utterance before; a first utterance is in neither part."""
    talk = dialogue(
        "d", ("A", "joy"), ("B", "joy"), ("A", "joy"), ("B", "anger"), ("A", None), ("A", "fear"), ("C", "fear")
    )
    assert emotional_shifts(talk) == [None, None, False, True, None, True, None]


def test_parts_hold_their_own_utterances() -> None:
    """With and without shift, by length and by style: every part is scored on its own utterances alone."""
    talk = dialogue("short", ("A", "neutral"), ("A", "neutral"), ("A", "joy"), style="scripted")
    long = dialogue("long", *[("A", "neutral")] * 10, style="improvised")
    corpus = Corpus("meld", MELD7, (talk, long))
    places = [Place("short", i) for i in range(3)] + [Place("long", i) for i in range(10)]
    parts = break_down_predictions(told(places, [True, True, False, *[True] * 10]), corpus)
    assert {name: (p.n, p.accuracy) for name, p in parts["shift"].parts.items()} == {
        "with shift": (1, 0.0),
        "without shift": (10, 1.0),
    }
    assert {name: p.n for name, p in parts["length"].parts.items()} == {"C1 (1-9)": 3, "C2 (10-20)": 10}
    assert {name: p.accuracy for name, p in parts["style"].parts.items()} == {
        "scripted": pytest.approx(2 / 3, abs=1e-4),
        "improvised": 1.0,
    }


@pytest.mark.parametrize(
    ("corpus", "length", "named"),
    [
        ("iemocap", 39, "C1 (1-39)"),
        ("iemocap", 40, "C2 (40-69)"),
        ("iemocap", 69, "C2 (40-69)"),
        ("iemocap", 70, "C3 (70 or more)"),
        ("meld", 9, "C1 (1-9)"),
        ("meld", 20, "C2 (10-20)"),
        ("meld", 21, "C3 (21 or more)"),
        ("ravdess", 1, ""),
    ],
)
def test_lengths_are_those_of_the_paper(corpus: str, length: int, named: str) -> None:
    """The bounds of CMATH Fig. 5, counted in labelled utterances; single clips have no length."""
    context = [("A", None)] * 3 if length > 1 else []
    assert length_class(corpus, dialogue("d", *[("A", "joy")] * length, *context)) == named


@given(
    present=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_missing_rates_are_exact_and_seeded(present: list[tuple[bool, bool, bool]], rate: float, seed: int) -> None:
    """Exactly that share of the entries goes, as far as every utterance keeps one; a seed drops the same again."""
    mask = torch.tensor(present)
    half = len(mask) // 2
    parts = [tensors("a", mask[:half]), tensors("b", mask[half:])] if half else [tensors("a", mask)]
    if not mask.any():
        return
    left, dropped = drop_entries(parts, rate, seed)
    kept = torch.cat([d.present for d in left])
    spare = int(mask.sum() - mask.any(dim=1).sum())
    gone = int(mask.sum() - kept.sum())
    assert gone == min(round(rate * int(mask.sum())), spare)
    assert dropped == gone / int(mask.sum())
    assert not (kept & ~mask).any()
    assert torch.equal(kept.any(dim=1), mask.any(dim=1))
    assert all(torch.equal(a.present, b.present) for a, b in zip(left, drop_entries(parts, rate, seed)[0], strict=True))
    assert torch.equal(torch.cat([d.present for d in parts]), mask)


def test_higher_rates_drop_what_lower_ones_do() -> None:
    """The curve over rates is one random order, cut at several places."""
    dialogues = [tensors("a", torch.ones(30, 3, dtype=torch.bool))]
    fewer, more = (drop_entries(dialogues, rate, 3)[0][0].present for rate in (0.2, 0.5))
    assert not (more & ~fewer).any()
    assert not torch.equal(drop_entries(dialogues, 0.2, 4)[0][0].present, fewer)


def test_rates_end_where_nothing_is_left_to_drop() -> None:
    """Three modalities reach two thirds; the part says how much went. A single one reaches nothing."""
    dialogues = [tensors("a", torch.ones(30, 3, dtype=torch.bool))]

    def predict(given: list[TensorDialogue]) -> Predictions:
        places = [place for place, _ in scored_places(given)]
        return told(places, [True] * len(places))

    found = score_missing_rates(dialogues, 0, predict)
    assert found.parts["0.3"].dropped == pytest.approx(0.3)
    assert found.parts["0.7"].dropped == pytest.approx(2 / 3, abs=1e-4)
    words = [d.masked(("text",)) for d in dialogues]
    assert list(score_missing_rates(words, 0, predict).parts) == ["0.0"]
    assert "seed 0" in found.protocol


def test_subsets_are_all_that_are_not_empty() -> None:
    """Seven subsets of three modalities, each with the others masked, counted where one of it is there."""
    mask = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    seen = []

    def predict(given: list[TensorDialogue]) -> Predictions:
        seen.append(given[0].present)
        places = [place for place, _ in scored_places(given)]
        return told(places, [True] * len(places))

    parts = score_subsets([tensors("a", mask)], ("text", "voice", "face"), predict).parts
    assert {name: part.n for name, part in parts.items()} == {
        "text": 2,
        "voice": 1,
        "face": 1,
        "text+voice": 2,
        "text+face": 3,
        "voice+face": 2,
        "text+voice+face": 3,
    }
    assert not any((shown & ~mask).any() for shown in seen)
