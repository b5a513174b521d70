"""What a speaker seems to feel while still speaking: when to look, and how not to flicker. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core_models.errors import UsageError

# Weight of the latest look against those before it.
_LATEST = 0.6
# Another emotion must lead the one that is shown by so much before it is shown.
_LEAD = 0.1


@dataclass(frozen=True)
class Provisional:
    """When an utterance is judged before it has ended. Milliseconds are media time."""

    every_ms: int = 1_000
    """How often; 0 for never."""
    first_ms: int = 800
    """How long after the start of speech for the first time."""
    words: bool = True
    """Whether to look for words too, where this machine keeps up."""

    def __post_init__(self) -> None:
        if self.every_ms < 0 or self.first_ms < 300:
            raise UsageError("every_ms cannot be negative, and first_ms must be at least 300: change them.")

    def due(self, start_ms: int, looks: int) -> int:
        """Media time of the next look after `looks` of them."""
        return start_ms + self.first_ms + looks * self.every_ms


class ProvisionalSmoother:
    """The distribution that is shown for one utterance: smoothed, and held until another emotion clearly leads."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def update(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """What to show after this look; sums to 1 as `probabilities` do."""
        before = self._mean or probabilities
        self._mean = {k: _LATEST * p + (1 - _LATEST) * before[k] for k, p in probabilities.items()}
        top = max(self._mean, key=self._mean.__getitem__)
        held = max(self._shown, key=self._shown.__getitem__) if self._shown else top
        if top == held or self._mean[top] - self._mean[held] >= _LEAD:
            self._shown = self._mean
        return self._shown
