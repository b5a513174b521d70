"""What every feature extractor is: one modality of an utterance in, its vector out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core_models.feature_spec import FeatureSpec
from train.corpora.dialogues import UtteranceInContext

# An extractor as it travels to another process: what opens it again there.
Reduced = tuple[type["Extractor"], tuple[Any, ...]]


class Extractor(Protocol):
    """One modality of a turn -> its feature vector. Pickles as what opens it, so that other processes may have one."""

    spec: FeatureSpec
    batch: int

    def key(self, turn: UtteranceInContext) -> str | None:
        """Digest of what the vector is computed from; None where the utterance has no such modality. MediaError."""

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        """One vector [dimension] a turn; None where nothing was found. MediaError for what cannot be decoded."""
