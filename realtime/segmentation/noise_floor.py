"""The noise floor of one source: how far a frame stands above what the room and the microphone give by themselves."""

from __future__ import annotations

import math

import numpy as np

# Digital silence: 16-bit sound rounds at -101 dBFS, so what lies below says nothing about the room.
_SILENCE_DB = -100.0
# No floor is believed to be higher than this in the first seconds: a recording may begin with speech.
_START_DB = -45.0
_START_S = 3.0
# Nobody speaks for so long without the pauses and closures that make up the percentile below.
_WINDOW_S = 10.0
# Speech without a breath is below its own loud parts by 20 dB for a tenth of the time; steady noise lies within 1 dB
# of its percentiles, so a hum or fan is its own floor after a few seconds.
_PERCENTILE = 3


class NoiseFloor:
    """Tracks a low percentile of the level over the last seconds."""

    def __init__(self, frame_ms: int) -> None:
        self._levels_db = np.zeros(round(_WINDOW_S * 1000 / frame_ms))  # a ring
        self._count = 0
        self._started = round(_START_S * 1000 / frame_ms)

    def excess_db(self, power: float) -> float:
        """Take the next frame's mean square, of samples in [-1, 1]; the decibels by which it exceeds the floor.

        Digital silence leaves the floor where it is and is minus infinity above it.
        """
        level_db = decibels(power)
        if level_db <= _SILENCE_DB:
            return -math.inf
        self._levels_db[self._count % len(self._levels_db)] = level_db
        self._count += 1
        known = self._levels_db[: self._count]
        rank = len(known) * _PERCENTILE // 100
        floor_db = float(np.partition(known, rank)[rank])
        if self._count < self._started:
            floor_db = min(floor_db, _START_DB)
        return level_db - floor_db


def decibels(power: float) -> float:
    """Of a mean square, relative to full scale; minus infinity for nothing."""
    return 10 * math.log10(power) if power > 0 else -math.inf
