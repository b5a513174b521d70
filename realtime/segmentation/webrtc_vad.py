"""webrtcvad for recordings of any level: the same detector at several fixed gains, of which the level chooses one."""

from __future__ import annotations

import math

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from realtime.segmentation.noise_floor import decibels
from realtime.sources.media import SAMPLE_RATE

# (least level in dBFS, gain in dB): speech of a recording 50 dB too soft still reaches webrtcvad, which hears nothing
# below -60 dBFS. It models noise and speech by their absolute level and learns them within seconds, so each gain has
# a detector of its own, rather than one detector a gain that moves.
_GAINS = ((-45.0, 0.0), (-65.0, 20.0), (-math.inf, 40.0))
# The level is what 200 ms of the last 30 s exceed: a door is too short to make a recording loud, and a room in which
# somebody spoke half a minute ago is not raised until its clock is heard.
_MEMORY_S, _LOUD_S = 30.0, 0.2
# Raised noise may sound like a voice to webrtcvad; steady noise stays within 1 dB of its floor, speech does not.
_AMPLIFIED_GATE_DB = 4.0


class WebRtcVad:
    """Voice activity of one source's frames, high-passed; `aggressiveness` is webrtcvad's mode, 0 to 3."""

    def __init__(self, aggressiveness: int, frame_ms: int) -> None:
        self._detectors = [(least_db, gain_db, webrtcvad.Vad(aggressiveness)) for least_db, gain_db in _GAINS]
        self._levels_db = np.full(round(_MEMORY_S * 1000 / frame_ms), -math.inf)  # a ring
        self._count = 0
        self._rank = len(self._levels_db) - round(_LOUD_S * 1000 / frame_ms)

    def is_speech(self, frame: NDArray[np.float64], power: float, excess_db: float) -> bool:
        """Whether the next frame, in [-1, 1] and of this mean square and excess over the noise floor, is speech."""
        self._levels_db[self._count % len(self._levels_db)] = decibels(power)
        self._count += 1
        # Every detector hears every frame, so that it knows the noise by the time it is asked.
        speech = [_is_speech(detector, frame, gain_db) for _, gain_db, detector in self._detectors]
        level_db = np.partition(self._levels_db, self._rank)[self._rank]
        chosen = next(n for n, (least_db, _, _) in enumerate(self._detectors) if level_db >= least_db)
        return speech[chosen] and (chosen == 0 or excess_db > _AMPLIFIED_GATE_DB)


def _is_speech(detector: webrtcvad.Vad, frame: NDArray[np.float64], gain_db: float) -> bool:
    scaled = np.rint(frame * (32768 * 10 ** (gain_db / 20)))
    pcm = np.clip(scaled, -32768, 32767).astype(np.int16)
    return bool(detector.is_speech(pcm.tobytes(), SAMPLE_RATE))
