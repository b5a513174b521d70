"""Scores are those of the literature."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from core_models.labels import MELD7
from train.scores import fit_temperature, score


def test_scores_are_those_of_another_library() -> None:
    """On random predictions F1, accuracy, UAR and confusion agree with scikit-learn's."""
    torch.manual_seed(0)
    truth = torch.randint(0, 7, (500,))
    logits = torch.randn(500, 7) + 1.5 * torch.nn.functional.one_hot(truth, 7)
    predicted = logits.argmax(dim=1)
    scores = score(logits, truth, MELD7)
    assert scores.weighted_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="weighted"), abs=1e-6)
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="macro"), abs=1e-6)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted), abs=1e-6)
    assert scores.uar == pytest.approx(metrics.balanced_accuracy_score(truth, predicted), abs=1e-6)
    assert scores.confusion == metrics.confusion_matrix(truth, predicted).tolist()


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
