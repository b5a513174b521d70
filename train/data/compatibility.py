"""Refuses data that do not go with the checkpoint that a run warm-starts from."""

from __future__ import annotations

from core_models.checkpoint import Checkpoint
from core_models.errors import CheckpointError
from core_models.feature_spec import FeatureSpec
from core_models.labels import LABEL_SETS, LabelSet


def require_labels(start: Checkpoint | None, labels: LabelSet) -> None:
    """Refuse data of other labels than those of `start`: CheckpointError that names both."""
    if start is not None and LABEL_SETS[start.sidecar.labels] != labels:
        raise CheckpointError(
            f"Checkpoint {start.name}, the start, was trained with labels {start.sidecar.labels}, but the data have "
            f"{labels.name}: choose data.train.labels, or another start."
        )


def require_feature(start: Checkpoint | None, spec: FeatureSpec) -> None:
    """Refuse a feature other than that of `start` (contract 1): CheckpointError that names both."""
    if start is None:
        return
    if spec.modality not in start.sidecar.features:
        raise CheckpointError(
            f"Checkpoint {start.name}, the start, knows no {spec.modality}, but the feature at hand is "
            f"[{spec.describe()}]: set features.{spec.modality} to null, or choose another start."
        )
    start.require({spec.modality: spec})
