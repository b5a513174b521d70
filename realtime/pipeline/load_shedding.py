"""Whether this machine keeps up, and what is shed while it does not: never a final result. No I/O."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from realtime.protocol import events

# Results two seconds late no longer belong to what is heard now. Recovery is announced at a quarter of that, so that a
# lag that swings around one threshold does not announce itself again and again.
_BEHIND_MS = 2_000
_CAUGHT_UP_MS = 500


class LoadShedder:
    """Decides by the lag: the age of the oldest endpoint whose final is still outstanding.

    Above two seconds everything in `sheddable` is shed, until the lag is below half a second.
    """

    def __init__(self, sheddable: Iterable[str]) -> None:
        self.shedding = False
        self.lag_ms = 0.0
        self.total: Counter[str] = Counter()
        self._sheddable = tuple(sheddable)
        self._shed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count_shed(self, what: str) -> None:
        """Count one of `what` as not used."""
        with self._lock:
            self._shed[what] += 1
            self.total[what] += 1

    def update_lag(self, lag_ms: float) -> list[events.StreamDegraded]:
        """Take the present lag; the events that announce a change of state."""
        self.lag_ms = lag_ms
        if self.shedding == (lag_ms > (_CAUGHT_UP_MS if self.shedding else _BEHIND_MS)):
            return []
        self.shedding = not self.shedding
        if self.shedding:
            sentence = f"This machine is {lag_ms / 1000:.1f} s behind; finals come late until it has caught up."
            return [events.StreamDegraded(what=what, detail=sentence) for what in self._sheddable]
        with self._lock:
            shed, self._shed = self._shed, Counter()
        sentence = "This machine has caught up."
        return [
            events.StreamDegraded(what=what, count=shed[what], recovered=True, detail=sentence)
            for what in self._sheddable
        ]
