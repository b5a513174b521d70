"""Silero as a second opinion on voice activity: keys and music sound like a voice to webrtcvad, seldom to it.

The network of faster-whisper's own folder (silero_vad_v6.onnx), fed chunk by chunk with its state carried on.
"""

from __future__ import annotations

import functools
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 512  # 32 ms at 16 kHz
# Samples of the chunk before that each run sees.
_CONTEXT = 64
# Chunks: it hesitates within a word, and a frame may lie between two chunks.
_RECENT = 3


class Silero:
    """Follows one source's sound. Its state drifts on endless streams: `reset` it in long silences, not in speech."""

    def __init__(self) -> None:
        self._load_session = _load_session()
        self.reset()

    def reset(self) -> None:
        """Forget everything that was heard."""
        self._state = [np.zeros((1, 1, 128), np.float32) for _ in range(2)]
        self._waiting = np.zeros(_CONTEXT, np.float32)
        self._latest: deque[float] = deque([0.0], _RECENT)

    def __call__(self, samples: NDArray[np.float32]) -> float:
        """Take the next samples, float32 [n] at 16 kHz; the highest probability of speech in the last 100 ms."""
        self._waiting = np.concatenate([self._waiting, samples])
        while len(self._waiting) >= _CONTEXT + _CHUNK:
            given = {"input": self._waiting[None, : _CONTEXT + _CHUNK], "h": self._state[0], "c": self._state[1]}
            probability, *self._state = self._load_session.run(None, given)
            self._latest.append(float(probability[0]))
            self._waiting = self._waiting[_CHUNK:]
        return max(self._latest)


@functools.cache
def _load_session() -> Any:
    import faster_whisper
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    path = Path(faster_whisper.__file__).parent / "assets" / "silero_vad_v6.onnx"
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
