"""Scores of a classification: the ones that papers of the field report, and calibration."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from core_models.labels import LabelSet
from train.evaluation.results import Scores

# As Guo et al. (2017) and the papers that quote an ECE after them.
BINS = 15


def score(logits: Tensor, truth: Tensor, labels: LabelSet) -> Scores:
    """Scores of logits [n, C] (already divided by a temperature, if one is used) against truth int64 [n]."""
    classes = len(labels)
    probabilities = logits.float().softmax(dim=-1)
    predicted = probabilities.argmax(dim=-1)
    f1 = multiclass_f1_score(predicted, truth, classes, average="none")
    recall = multiclass_accuracy(predicted, truth, classes, average="none")
    confusion = multiclass_confusion_matrix(predicted, truth, classes)
    # UAR is the mean over classes that the test part holds: a class without a sample has no recall.
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
