"""Scores are those of the literature."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from core_models.labels import MELD7
from train.evaluation.calibration import abstain_below, fit_temperature
from train.evaluation.metrics import score


@given(
    truth=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    skill=st.floats(0, 3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_another_library(truth: list[int], skill: float, seed: int) -> None:
    """On random predictions F1, accuracy, UAR and confusion agree with scikit-learn's, absent classes and all."""
    wanted = torch.tensor(truth)
    noise = torch.randn(len(truth), 7, generator=torch.Generator().manual_seed(seed))
    logits = noise + skill * torch.nn.functional.one_hot(wanted, 7)
    said, classes = logits.softmax(dim=1).argmax(dim=1).tolist(), list(range(7))
    scores = score(logits, wanted, MELD7)
    f1 = {
        kind: metrics.f1_score(truth, said, labels=classes, average=kind, zero_division=0)
        for kind in ("weighted", "macro", None)
    }
    assert scores.weighted_f1 == pytest.approx(f1["weighted"], abs=1e-6)
    assert scores.macro_f1 == pytest.approx(f1["macro"], abs=1e-6)
    assert list(scores.per_class_f1.values()) == pytest.approx(f1[None].tolist(), abs=1e-6)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-6)
    there = sorted(set(truth))
    recall = metrics.recall_score(truth, said, labels=there, average="macro", zero_division=0)
    assert scores.uar == pytest.approx(recall, abs=1e-6)
    assert scores.confusion == metrics.confusion_matrix(truth, said, labels=classes).tolist()


@given(n=st.integers(1, 60), heat=st.floats(0.1, 4), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_calibration_error_by_hand(n: int, heat: float, seed: int) -> None:
    """Fifteen bins of equal width: the gap between confidence and accuracy in each, weighted by its share."""
    generator = torch.Generator().manual_seed(seed)
    logits = heat * torch.randn(n, 7, generator=generator)
    truth = torch.randint(0, 7, (n,), generator=generator)
    confidence, said = logits.softmax(dim=1).max(dim=1)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for sure, right in zip(confidence.tolist(), (said == truth).tolist(), strict=True):
        bins.setdefault(min(14, math.floor(15 * sure)), []).append((sure, right))
    error = sum(
        len(held) / n * abs(sum(s for s, _ in held) / len(held) - sum(r for _, r in held) / len(held))
        for held in bins.values()
    )
    assert score(logits, truth, MELD7).ece == pytest.approx(error, abs=1e-5)


def test_absent_class_lowers_no_recall() -> None:
    """Unweighted recall is averaged over the classes that occur."""
    truth = torch.tensor([0, 0, 1, 1])
    logits = 5.0 * torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 2]), 7)
    assert score(logits, truth, MELD7).uar == pytest.approx(0.75)


def test_calibration_error_is_the_gap_of_confidence() -> None:
    """One bin at confidence 0.9 of which half is right has an error of 0.4."""
    truth = torch.zeros(100, dtype=torch.long)
    probabilities = torch.full((100, 7), 0.1 / 6)
    probabilities[:50, 0] = 0.9
    probabilities[50:, 1] = 0.9
    assert score(probabilities.log(), truth, MELD7).ece == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
def test_temperature_takes_out_overconfidence(heat: float) -> None:
    """Labels drawn from a softmax whose logits are then multiplied give that factor as the temperature."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(20_000, 7)
    truth = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(heat * logits, truth) == pytest.approx(heat, rel=0.05)


@given(truth=st.lists(st.integers(0, 2), min_size=1, max_size=60), skill=st.floats(0, 3), seed=st.integers(0, 99))
def test_what_is_told_is_right_as_often_as_was_asked(truth: list[int], skill: float, seed: int) -> None:
    """From the threshold on the share of right ones is what was asked for, and a lower one would not keep it."""
    labels = torch.tensor(truth)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(truth), 3, generator=generator) + skill * torch.nn.functional.one_hot(labels, 3)
    threshold = abstain_below(logits, labels, 2 / 3)
    confidence, predicted = logits.double().softmax(dim=-1).max(dim=-1)
    right = predicted == labels
    if threshold < 1:
        assert right[confidence >= threshold].double().mean() >= 2 / 3
    for lower in confidence[confidence < threshold].tolist():
        assert right[confidence >= lower].double().mean() < 2 / 3
