"""Label sets, and the maps between those of different corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core_models.errors import UsageError


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
EMORYNLP7 = LabelSet("emorynlp7", ("joyful", "mad", "peaceful", "neutral", "sad", "powerful", "scared"))
EMODB7 = LabelSet("emodb7", ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral"))
MCED5 = LabelSet("mced5", ("neutral", "joy", "surprise", "sadness", "anger"))
PLUTCHIK9 = LabelSet(
    "plutchik9",
    ("neutral", "anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"),
)
ISEAR7 = LabelSet("isear7", ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt"))
TOPICALCHAT8 = LabelSet(
    "topicalchat8",
    ("neutral", "happy", "sad", "angry", "surprised", "fearful", "disgusted", "curious to dive deeper"),
)
MSPIMPROV5 = LabelSet("mspimprov5", ("anger", "happiness", "neutral", "sadness", "other"))
FERPLUS8 = LabelSet(
    "ferplus8",
    ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
)
RAVDESS8 = LabelSet("ravdess8", ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"))

LABEL_SETS: Mapping[str, LabelSet] = {
    s.name: s
    for s in (
        *(MELD7, IEMOCAP6, IEMOCAP4, EMORYNLP7, EMODB7, RAVDESS8, MCED5),
        *(PLUTCHIK9, ISEAR7, TOPICALCHAT8, MSPIMPROV5, FERPLUS8),
    )
}

# The seven are the common ground. Joy covers happiness and excitement alike; frustration, peace, power, boredom,
# anticipation, trust, shame, guilt, curiosity and contempt have no twin there.
_TO_SEVEN: Mapping[str, Mapping[str, str]] = {
    "meld7": {label: label for label in MELD7.labels},
    "mced5": {label: label for label in MCED5.labels},
    "iemocap6": {"happy": "joy", "excited": "joy", "sad": "sadness", "neutral": "neutral", "angry": "anger"},
    "iemocap4": {"happy": "joy", "sad": "sadness", "neutral": "neutral", "angry": "anger"},
    "emorynlp7": {"joyful": "joy", "mad": "anger", "neutral": "neutral", "sad": "sadness", "scared": "fear"},
    "emodb7": {
        "anger": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happiness": "joy",
        "sadness": "sadness",
        "neutral": "neutral",
    },
    "plutchik9": {label: label for label in PLUTCHIK9.labels if label in MELD7.labels},
    "isear7": {label: label for label in ISEAR7.labels if label in MELD7.labels},
    "topicalchat8": {
        "neutral": "neutral",
        "happy": "joy",
        "sad": "sadness",
        "angry": "anger",
        "surprised": "surprise",
        "fearful": "fear",
        "disgusted": "disgust",
    },
    "mspimprov5": {"anger": "anger", "happiness": "joy", "neutral": "neutral", "sadness": "sadness"},
    "ferplus8": {
        "neutral": "neutral",
        "happiness": "joy",
        "surprise": "surprise",
        "sadness": "sadness",
        "anger": "anger",
        "disgust": "disgust",
        "fear": "fear",
    },
    "ravdess8": {
        "neutral": "neutral",
        "calm": "neutral",
        "happy": "joy",
        "sad": "sadness",
        "angry": "anger",
        "fearful": "fear",
        "disgust": "disgust",
        "surprised": "surprise",
    },
}
_FROM_SEVEN: Mapping[str, Mapping[str, str]] = {
    "meld7": {label: label for label in MELD7.labels},
    "mced5": {label: label for label in MCED5.labels},
    "iemocap6": {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"},
    "iemocap4": {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"},
    "emorynlp7": {"neutral": "neutral", "joy": "joyful", "sadness": "sad", "anger": "mad", "fear": "scared"},
}


@dataclass(frozen=True)
class LabelMap:
    """What the labels of one set are called in another."""

    source: LabelSet
    target: LabelSet
    mapping: Mapping[str, str]
    """Label of `source` -> its twin in `target`; a label without a twin is not in it."""

    @property
    def unmapped(self) -> tuple[str, ...]:
        """Labels of `source` that have no twin."""
        return tuple(label for label in self.source.labels if label not in self.mapping)

    def describe(self) -> str:
        """`emodb7->meld7: happiness as joy; no twin for boredom`; `own` within one set."""
        if self.source == self.target:
            return "own"
        renamed = [f"{old} as {new}" for old, new in self.mapping.items() if old != new]
        parts = [", ".join(renamed)] if renamed else []
        if self.unmapped:
            parts.append(f"no twin for {', '.join(self.unmapped)}")
        return f"{self.source.name}->{self.target.name}: {'; '.join(parts) or 'same names'}"


def label_map(source: LabelSet, target: LabelSet) -> LabelMap:
    """The map from `source` into `target`, by way of MELD's seven unless they are one.

    Raises UsageError where no corpus has its twins in `target`.
    """
    if source == target:
        return LabelMap(source, target, {label: label for label in source.labels})
    if source.name not in _TO_SEVEN or target.name not in _FROM_SEVEN:
        raise UsageError(
            f"There is no label map from {source.name} to {target.name}: choose a checkpoint of "
            f"{', '.join(_FROM_SEVEN)}, or of the corpus's own label set."
        )
    onward = _FROM_SEVEN[target.name]
    seven = _TO_SEVEN[source.name]
    twins = {label: onward[seven[label]] for label in source.labels if seven.get(label) in onward}
    return LabelMap(source, target, twins)


# Label of an utterance that counts in no term.
IGNORED = -1
