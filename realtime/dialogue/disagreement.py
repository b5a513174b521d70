"""How far words, voice and face disagree: the Jensen-Shannon divergence of their distributions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping


def disagreement(opinions: Collection[Mapping[str, float]]) -> float | None:
    """Jensen-Shannon divergence of the modalities' own opinions, of its greatest value: 0 (one mind) to 1.

    None with fewer than two opinions.
    """
    if len(opinions) < 2:
        return None
    labels = next(iter(opinions))
    mixture = [sum(opinion[label] for opinion in opinions) / len(opinions) for label in labels]
    apart = _entropy_of(mixture) - sum(_entropy_of(opinion.values()) for opinion in opinions) / len(opinions)
    return min(1.0, max(0.0, apart / math.log(len(opinions))))


def _entropy_of(distribution: Collection[float]) -> float:
    return -sum(p * math.log(p) for p in distribution if p > 0)
