"""Sound for the benchmarks: made or read piece by piece, and played at the pace of real time or as it is taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from realtime.sources.media import SAMPLE_RATE, AudioChunk
from realtime.sources.source import Sink, SourceStatus

BLOCK = SAMPLE_RATE * 30 // 1000


class AudioPlayer:
    """A source of the pieces of sound that an iterator gives, mono float32 at 16 kHz, one after another.

    `pace`: as a microphone delivers them; else as fast as they are taken, but for moments at which `behind` says that
    what was taken is still to be dealt with. `samples` is how many were played since `began_at` (of `time.monotonic`);
    `after_block` is called after each 30 ms of them.
    """

    name, kind, detail, has_audio = "played", "file", "sound of a benchmark", True

    def __init__(self, pieces: Iterable[NDArray[np.float32]], *, pace: bool) -> None:
        self.samples = 0
        self.began_at = 0.0
        self.behind: Callable[[], bool] = lambda: False
        self.after_block: Callable[[], object] = lambda: None
        self._pieces, self._pace = pieces, pace
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin to play."""
        self._thread = threading.Thread(target=self._play_samples, args=(sink,), daemon=True)
        self._thread.start()

    def _play_samples(self, sink: Sink) -> None:
        self.began_at = begun = time.monotonic()
        try:
            for piece in self._pieces:
                for start in range(0, len(piece), BLOCK):
                    block = piece[start : start + BLOCK]
                    due = begun + (self.samples + len(block)) / SAMPLE_RATE
                    if self._stopped.wait(max(0.0, due - time.monotonic()) if self._pace else 0.0):
                        return
                    while not self._pace and self.behind() and not self._stopped.wait(0.01):
                        pass
                    sink.audio(AudioChunk(self.name, self.samples, block))
                    self.samples += len(block)
                    self.after_block()
        finally:  # a piece that cannot be read ends the sound; a session that waited for more would never end
            sink.status(SourceStatus(self.name, self.kind, "ended"))

    def stop(self) -> None:
        """Stop playing; idempotent."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
