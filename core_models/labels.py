"""Label sets, and the maps between those of different corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of emotion names; a checkpoint has exactly one."""

    name: str
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def index(self, label: str) -> int:
        """Position of `label`; ValueError names the set when it is not in it."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise ValueError(f"{label!r} is not one of {self.name}: {', '.join(self.labels)}") from None


MELD7 = LabelSet("meld7", ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust"))
IEMOCAP6 = LabelSet("iemocap6", ("happy", "sad", "neutral", "angry", "excited", "frustrated"))
IEMOCAP4 = LabelSet("iemocap4", ("happy", "sad", "neutral", "angry"))

LABEL_SETS: Mapping[str, LabelSet] = {s.name: s for s in (MELD7, IEMOCAP6, IEMOCAP4)}
