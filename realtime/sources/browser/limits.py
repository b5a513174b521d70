"""Rate limits of what clients and capture pages send. No I/O, no clock of its own."""

from __future__ import annotations


class TokenBucket:
    """Lets `per_s` of something through in the long run, and `most` at once after a pause.

    A bucket of tokens that fills steadily and from which each message takes: unlike a count that starts anew with
    every window, it never lets twice the limit through around the edge of two windows.
    """

    def __init__(self, *, per_s: float, most: float) -> None:
        self._per_s, self._most, self._left, self._at = per_s, most, most, 0.0

    def take(self, amount: float, now_s: float) -> bool:
        """Whether so much may pass at `now_s`, seconds on any clock that does not go back; takes it if so."""
        self._left = min(self._most, self._left + (now_s - self._at) * self._per_s)
        self._at = now_s
        if amount > self._left:
            return False
        self._left -= amount
        return True
