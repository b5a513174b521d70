"""Batches of items of like length (bucketing), in random order."""

from __future__ import annotations

import random
from collections.abc import Sequence

# Batches that are sorted by length together: little padding, order still random.
POOL_BATCHES = 50


def bucket_by_length(lengths: Sequence[int], size: int, *, seed: tuple[int, int, int]) -> list[list[int]]:
    """Batches of utterance indices in random order, utterances of like length together: every utterance once."""
    chance = random.Random(repr(seed))
    order = chance.sample(range(len(lengths)), len(lengths))
    batches = []
    for start in range(0, len(order), size * POOL_BATCHES):
        pool = sorted(order[start : start + size * POOL_BATCHES], key=lambda index: lengths[index])
        batches += [pool[first : first + size] for first in range(0, len(pool), size)]
    chance.shuffle(batches)
    return batches
