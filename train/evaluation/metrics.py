"""Scores of a classification: the ones that papers of the field report, and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from core_models.labels import LabelSet

BINS = 15


@dataclass(frozen=True)
class Scores:
    """Shares in [0, 1]."""

    n: int
    """Utterances counted."""
    weighted_f1: float
    """F1 of each class, weighted by its count."""
    macro_f1: float
    """F1 of each class, weighted alike; a class that neither occurs nor is predicted counts as 0."""
    accuracy: float
    """Share that is right (WA)."""
    uar: float
    """Unweighted average recall over the classes that occur (UA)."""
    ece: float
    """Expected calibration error, 15 bins of equal width (Guo et al., 2017, eq. 3)."""
    per_class_f1: dict[str, float]
    """Label -> F1."""
    confusion: list[list[int]]
    """[C][C], rows the truth, columns the prediction."""

    def rounded(self) -> dict[str, Any]:
        """As a dict of plain values, shares to four digits."""
        return {
            "n": self.n,
            **{name: round(getattr(self, name), 4) for name in ("weighted_f1", "macro_f1", "accuracy", "uar", "ece")},
            "per_class_f1": {label: round(value, 4) for label, value in self.per_class_f1.items()},
            "confusion": self.confusion,
        }


def score(logits: Tensor, truth: Tensor, labels: LabelSet) -> Scores:
    """Scores of logits [n, C] (already divided by a temperature, if one is used) against truth int64 [n]."""
    classes = len(labels)
    probabilities = logits.float().softmax(dim=-1)
    predicted = probabilities.argmax(dim=-1)
    f1 = multiclass_f1_score(predicted, truth, classes, average="none")
    recall = multiclass_accuracy(predicted, truth, classes, average="none")
    confusion = multiclass_confusion_matrix(predicted, truth, classes)
    occurring = confusion.sum(dim=1) > 0
    weights = confusion.sum(dim=1) / len(truth)
    return Scores(
        n=len(truth),
        weighted_f1=float((f1 * weights).sum()),
        macro_f1=float(f1.mean()),
        accuracy=float((predicted == truth).float().mean()),
        uar=float(recall[occurring].mean()),
        ece=float(multiclass_calibration_error(probabilities, truth, classes, n_bins=BINS)),
        per_class_f1=dict(zip(labels.labels, f1.tolist(), strict=True)),
        confusion=confusion.tolist(),
    )
