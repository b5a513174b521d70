"""The noise floor of one source: how far a frame stands above what the room and the microphone give by themselves."""

from __future__ import annotations

import math

_LOWEST_DB = -70.0
"""Below it, a microphone's own noise is nothing to compare speech with."""
_START_DB = -45.0
"""A recording may begin with speech, so its first frames are not taken for noise."""
_NOISE_FLOOR_RISE_DB_PER_S = 1.0
"""15 s of speech without a pause lift the floor by less than speech stands above it."""


class NoiseFloor:
    """Tracks the lowest level of late: it falls at once and rises slowly.

    A steady hum, which webrtcvad takes for speech without end, is its own floor; and webrtcvad's lingering after the
    last word is cut short.
    """

    def __init__(self, frame_ms: int) -> None:
        self._floor_db = _START_DB
        self._rise_db = _NOISE_FLOOR_RISE_DB_PER_S * frame_ms / 1000

    def excess_db(self, power: float) -> float:
        """Take the next frame's mean square, of samples in [-1, 1]; the decibels by which it exceeds the floor.

        Digital silence says nothing about the room: it leaves the floor where it is and is minus infinity above it.
        """
        if not power:
            return -math.inf
        level_db = 10 * math.log10(power)
        self._floor_db = max(min(level_db, self._floor_db + self._rise_db), _LOWEST_DB)
        return level_db - self._floor_db
