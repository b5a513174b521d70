"""A high-pass filter in front of every decision about level: offset, mains hum and rumble are no speech. No I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, sosfilt_zi

from realtime.sources.media import SAMPLE_RATE

# 46 dB down at 50 Hz and 36 dB at 60 Hz: hum as loud as speech falls below it. Whoever speaks with a deeper voice
# than this is told by its overtones; the first formant begins at 250 Hz.
_CUTOFF_HZ, _ORDER = 120.0, 6


class HighPass:
    """A Butterworth high-pass of one source, its state carried on, so the result does not depend on chunk sizes.

    What it lets through serves decisions alone: features hear the sound as it was.
    """

    def __init__(self) -> None:
        self._sections = butter(_ORDER, _CUTOFF_HZ, "highpass", fs=SAMPLE_RATE, output="sos")
        self._state: NDArray[np.float64] | None = None

    def filter(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """The next samples, [n] at 16 kHz, without what lies below 120 Hz."""
        if not len(samples):
            return np.zeros(0)
        if self._state is None:
            # As if the first sample had always been there: an offset does not begin with a step, which is a click.
            self._state = sosfilt_zi(self._sections) * float(samples[0])
        filtered, self._state = sosfilt(self._sections, samples.astype(np.float64), zi=self._state)
        return np.asarray(filtered)
