"""Clock drift: how far a device's clock is off the session's, from when its blocks arrive (Theil-Sen). No I/O."""

from __future__ import annotations

from collections import deque

import numpy as np

# Sound cards are off by up to 200 ppm; what looks like more than this is none of it.
# Sound cards are off by up to 200 ppm; what looks like more than this is none of it.
MOST_DRIFT = 500e-6
# The least late block of a window counts: in five seconds at least one block was not held up.
_WINDOW_MS = 5_000
# The slope is that of the last five minutes, and of one minute at least: over less, jitter is larger than drift.
_WINDOWS, _FEWEST_WINDOWS = 60, 12
# An offset that has come about is taken back within this time.
_PULL_MS = 60_000.0


class ClockDrift:
    """How far a device's clock is off, from when its blocks arrived and how many samples they had.

    A block may arrive late and never early, so the least late one of a few seconds tells the truth; the slope
    over the last minutes is the median of all slopes between two such moments (Theil-Sen), which a burst of
    late blocks cannot bend.
    """

    def __init__(self) -> None:
        self.offset_ms = 0.0
        """How much later than at first sound arrives now, after what was corrected."""
        self.ratio = 1.0
        """Seconds of the media clock that one second of the device's takes."""
        self._ends = 0.0
        self._least: tuple[float, float, float] | None = None
        self._first: float | None = None
        self._late: deque[tuple[float, float]] = deque(maxlen=_WINDOWS)

    def observe(self, heard_ms: float, counted_ms: float, placed_ms: float) -> bool:
        """A block heard at `heard_ms` ends there by the device's count, and was placed there; True once a window."""
        late = heard_ms - counted_ms
        if self._least is None:
            self._ends = heard_ms + _WINDOW_MS
        if self._least is None or late < self._least[1]:
            self._least = heard_ms, late, heard_ms - placed_ms
        if heard_ms < self._ends:
            return False
        at, late, offset = self._least
        self._least = None
        self._first = offset if self._first is None else self._first
        self.offset_ms = offset - self._first
        self._late.append((at, late))
        slope = self._estimate_slope() if len(self._late) >= _FEWEST_WINDOWS else 0.0
        slope += self.offset_ms / _PULL_MS
        self.ratio = 1 + float(np.clip(slope, -MOST_DRIFT, MOST_DRIFT))
        return True

    def _estimate_slope(self) -> float:
        at, late = np.array(self._late).T
        one, other = np.triu_indices(len(at), k=len(at) // 3)
        return float(np.median((late[other] - late[one]) / (at[other] - at[one])))
