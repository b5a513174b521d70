"""The far end in the near microphone: copies are recognised, people who speak at the same time are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.segmentation.crosstalk import CROSSTALK_SHARE, CrosstalkDetector
from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk

Samples = NDArray[np.float32]


def room(seconds: float, seed: int = 0) -> Samples:
    """A small loudspeaker in a room: the highs are damped, and the sound dies away within `seconds`."""
    random = np.random.default_rng(seed)
    count = int(seconds * SAMPLE_RATE)
    tail = random.standard_normal(count) * 10 ** (-3 * np.arange(count) / count) * 0.15
    tail[0] = 1.0
    return np.convolve(tail, [0.3, 0.5, 0.2]).astype(np.float32)


def utterance(samples: Samples, at: int) -> Utterance:
    end = at + len(samples)
    return Utterance("microphone", at // 16, end // 16, end // 16 + 400, samples, at, False)


def heard(far: Samples, at: int) -> CrosstalkDetector:
    end = CrosstalkDetector()
    for start in range(0, len(far), 480):
        end.observe(AudioChunk("system", at + start, far[start : start + 480]))
    return end


def leaked(far: Samples, delay_ms: int, gain: float, reverberation: float) -> Samples:
    """What the microphone makes of the far end, which begins at its own sample 8000."""
    copy = np.convolve(far, room(reverberation))[: len(far)] * gain
    late = np.concatenate((np.zeros(delay_ms * 16), copy))[: len(far)]
    noise = np.random.default_rng(1).standard_normal(len(far)) * 0.0005
    return (late + noise).astype(np.float32)


@pytest.mark.parametrize("delay_ms", [0, 35, 180, 400])
@pytest.mark.parametrize(("gain", "reverberation"), [(0.5, 0.05), (0.1, 0.2), (0.03, 0.1)])
def test_an_attenuated_delayed_filtered_copy_is_the_far_end(
    delay_ms: int, gain: float, reverberation: float, librivox: list[tuple[str, Samples]]
) -> None:
    """Whatever loudspeaker, room and delay did to it, a copy of the far end is recognised, whole or a word of it."""
    for _, far in librivox[:3]:
        near = leaked(far, delay_ms, gain, reverberation)
        assert heard(far, 8_000).share(utterance(near, 8_000)) > CROSSTALK_SHARE
        word = near[16_000:28_000]
        assert heard(far, 8_000).share(utterance(word, 24_000)) > CROSSTALK_SHARE


def test_another_voice_at_the_same_time_is_not(librivox: list[tuple[str, Samples]]) -> None:
    """Who speaks while the far end does is kept, with the far end's leak underneath or without."""
    for one, other in ((0, 1), (1, 2), (2, 0)):
        near, far = librivox[one][1], librivox[other][1]
        near, far = (x[: min(len(near), len(far))] for x in (near, far))
        assert heard(far, 0).share(utterance(near, 0)) < CROSSTALK_SHARE / 2
        both = near + leaked(far, 60, 0.2, 0.1)
        assert heard(far, 0).share(utterance(both, 0)) < CROSSTALK_SHARE
        word = both[16_000:26_000]
        assert heard(far, 0).share(utterance(word, 16_000)) < CROSSTALK_SHARE


def test_a_silent_far_end_explains_nothing(librivox: list[tuple[str, Samples]]) -> None:
    """Where nothing is played, or it was long ago, the microphone heard a person."""
    near = librivox[0][1]
    assert CrosstalkDetector().share(utterance(near, 0)) == 0.0
    assert heard(np.zeros(len(near), np.float32), 0).share(utterance(near, 0)) == 0.0
    assert heard(near, 0).share(utterance(near, 60 * SAMPLE_RATE)) == 0.0


def test_the_louder_of_two_channels_is_known(librivox: list[tuple[str, Samples]]) -> None:
    """Where each channel holds the other's sound, 16 dB down and late, its owner's is louder; an offset is no sound."""
    far = librivox[0][1]
    leak = (0.15 * np.concatenate((np.zeros(240), far))[: len(far)] + 0.2).astype(np.float32)
    assert heard(far, 0).excess_db(utterance(leak, 0)) == pytest.approx(16.5, abs=0.5)
    assert heard(leak, 0).excess_db(utterance(far, 0)) == pytest.approx(-16.5, abs=0.5)
    assert heard(far, 0).excess_db(utterance(far, 0)) == pytest.approx(0, abs=0.01)
