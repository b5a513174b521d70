"""A device whose clock is off, on a virtual clock: its sound stays where the session's clock says it was."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.sources.clock_sync import Block, ClockAligner

RATE, FRAMES = 16_000, 480


def followed(ppm: float, minutes: int, *, lost: range = range(0), seed: int = 0) -> tuple[ClockAligner, list[float]]:
    """The aligner of a device that is `ppm` too fast, and by how many ms its sound is misplaced block by block."""
    random = np.random.default_rng(seed)
    aligner, wrong = ClockAligner("m", RATE), []
    for number in range(minutes * 60_000 // 30):
        if number in lost:
            continue
        # Blocks are handed over late: often a little, at times by a lot, for seconds on end where the machine is busy.
        late = random.exponential(8) + (random.random() < 0.02) * 150 + (number % 2_000 < 100) * 60
        at_ms = 1_000 + (number + 1) * 30 / (1 + ppm * 1e-6)
        chunks = list(aligner.align(Block(np.zeros((FRAMES, 1), np.float32), round(at_ms + late))))
        if chunks:
            wrong.append((chunks[-1].start + len(chunks[-1].samples)) / 16 - at_ms)
    return aligner, wrong


@pytest.mark.parametrize("ppm", [-200.0, -40.0, 0.0, 200.0])
def test_a_clock_that_is_off_is_estimated_and_corrected(ppm: float) -> None:
    """Up to 200 ppm either way: after twelve minutes, in which it would be off by 144 ms, it is off by less than 15."""
    aligner, wrong = followed(ppm, 12)
    assert abs((1 / aligner.drift.ratio - 1) * 1e6 - ppm) < 40
    settled = np.array(wrong[len(wrong) // 2 :]) - np.median(wrong[:200])
    assert np.abs(settled).max() < 15
    assert aligner.lost_ms == 0


def test_sound_that_was_lost_in_silence_is_a_gap() -> None:
    """Where frames go missing and nothing says so, what follows stands where the clock says, and the loss is told."""
    aligner, wrong = followed(0, 3, lost=range(2_000, 2_040))
    assert 900 <= aligner.lost_ms <= 1_500
    assert abs(np.median(wrong[-500:])) < 40
