"""Where a device's sound lies on the media clock: counted samples, held to the clock (contract 6). No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from realtime.sources.clock_drift import MOST_DRIFT, ClockDrift
from realtime.sources.media import SAMPLE_RATE, AudioChunk

# Blocks of which the least late one says when they began: callbacks are up to 100 ms late when a stream begins.
_PLACED_TOGETHER = 10
# Sound that is late by so much for a whole window was lost, whether the system said so or not.
_JUMP_MS = 300.0


@dataclass(frozen=True, slots=True)
class Block:
    """What a device gave at once: frames [n, channels], the last of which was heard at `heard_ms` of media time.

    `dropped` frames before it found the queue full; `overflow`: the system lost some, and does not say how many.
    """

    frames: NDArray[np.float32]
    heard_ms: int
    dropped: int = 0
    overflow: bool = False


class ClockAligner:
    """Places blocks on the media clock: the first few by when they were heard, the others by counting samples.

    A callback can be late, by 100 ms and more when a stream begins, but never early: of a few blocks, the least late
    says when they began. From then on samples are counted, and a device whose clock is off is resampled to the
    session's (`ClockDrift`). The clock alone is asked again where sound was lost. What was lost is a gap; `lost_ms`
    adds it up.
    """

    def __init__(self, name: str, rate: int) -> None:
        self.lost_ms = 0
        self.drift = ClockDrift()
        self._name = name
        self._rate = rate
        self._unplaced: list[Block] = []
        self._resampler: Any = None
        self._begun_ms = 0.0
        self._counted = 0  # frames since then
        self._next = 0  # sample at 16 kHz

    def align(self, block: Block) -> Iterator[AudioChunk]:
        """The chunks that are complete with this block."""
        if block.dropped or block.overflow:
            yield from self.flush()
            if not block.overflow:
                self._begin_count(self._next + self._at_16_khz(block.dropped))
        if self._resampler is None:
            self._unplaced.append(block)
            if len(self._unplaced) == _PLACED_TOGETHER:
                yield from self._place_together()
            return
        yield from self._resample_frames(block.frames)
        counted_ms = self._begun_ms + self._counted * 1000 / self._rate
        if self.drift.observe(block.heard_ms, counted_ms, self._next * 1000 / SAMPLE_RATE):
            if self.drift.offset_ms > _JUMP_MS:
                yield from self.flush()
            else:
                self._resampler.set_io_ratio(self._rate / self.drift.ratio, SAMPLE_RATE, SAMPLE_RATE // 10)

    def reopened(self, rate: int) -> ClockAligner:
        """An aligner for what the device gives once it has been opened again, at `rate`; time never goes back."""
        again = ClockAligner(self._name, rate)
        again._next, again.lost_ms = self._next, self.lost_ms
        return again

    def flush(self) -> Iterator[AudioChunk]:
        """What was held back; a block after it is placed by the clock again."""
        if self._unplaced:
            yield from self._place_together()
        if self._resampler is not None:
            resampler, self._resampler = self._resampler, None
            yield from self._make_chunk(resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    def _place_together(self) -> Iterator[AudioChunk]:
        counted = np.cumsum([len(block.frames) for block in self._unplaced])
        ends = [block.heard_ms * SAMPLE_RATE // 1000 for block in self._unplaced]
        self._begin_count(min(end - self._at_16_khz(int(n)) for end, n in zip(ends, counted, strict=True)))
        frames = np.concatenate([block.frames for block in self._unplaced])
        self._unplaced.clear()
        yield from self._resample_frames(frames)

    def _begin_count(self, at: int) -> None:
        if self._counted:
            self.lost_ms += max(0, at - self._next) * 1000 // SAMPLE_RATE
        self._next = max(self._next, at)
        self._begun_ms, self._counted = self._next * 1000 / SAMPLE_RATE, 0
        self.drift = ClockDrift()
        # soxr asks for the largest ratio that will be needed, and begins with it.
        self._resampler = soxr.ResampleStream(self._rate * (1 + 2 * MOST_DRIFT), SAMPLE_RATE, 1, "float32", vr=True)
        self._resampler.set_io_ratio(self._rate, SAMPLE_RATE)

    def _resample_frames(self, frames: NDArray[np.float32]) -> Iterator[AudioChunk]:
        self._counted += len(frames)
        yield from self._make_chunk(self._resampler.resample_chunk(frames.mean(axis=1)))

    def _make_chunk(self, samples: NDArray[np.float32]) -> Iterator[AudioChunk]:
        if len(samples):
            yield AudioChunk(self._name, self._next, samples)
            self._next += len(samples)

    def _at_16_khz(self, frames: int) -> int:
        return frames * SAMPLE_RATE // self._rate
