"""Speech is found at any level, and under what a cheap sound card, the mains and the street add to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.conversations import Samples, segments, spoken, utterances

from realtime.segmentation.high_pass import HighPass
from realtime.segmentation.noise_floor import NoiseFloor
from realtime.sources.media import SAMPLE_RATE

DEMO = Path(__file__).resolve().parents[3] / "realtime" / "demo"
Span = tuple[int, int]


@pytest.fixture(scope="module")
def call() -> tuple[Samples, list[Span]]:
    """The demonstration on one channel, and the samples of what is said in it."""
    samples = soundfile.read(DEMO / "conversation.ogg", dtype="float32", always_2d=True)[0].sum(axis=1)
    spans = []
    for line in json.loads((DEMO / "conversation.json").read_text()):
        start = line["start_ms"] * 16
        first, last = spoken(samples[start : line["end_ms"] * 16])
        spans.append((start + first, start + last))
    return samples, spans


def covered(samples: Samples, spans: list[Span]) -> float:
    """Share of what is said that lies within utterances."""
    inside = np.zeros(len(samples), bool)
    for utterance in utterances(segments(samples.astype(np.float32))):
        inside[utterance.samples_start :][: len(utterance.samples)] = True
    return sum(int(inside[start:end].sum()) for start, end in spans) / sum(end - start for start, end in spans)


def tone(hz: float, count: int) -> Samples:
    return np.sin(2 * np.pi * hz * np.arange(count) / SAMPLE_RATE).astype(np.float32)


@pytest.mark.parametrize("added", ["offset", "50 Hz", "60 Hz", "rumble"])
def test_what_lies_below_speech_costs_none_of_it(call: tuple[Samples, list[Span]], added: str) -> None:
    """An offset of a tenth of full scale, hum at -23 dBFS and street rumble lose under 2% more than none of them."""
    samples, spans = call
    samples = samples * 0.7
    walk = np.cumsum(np.random.default_rng(0).standard_normal(len(samples)))
    noise = {
        "offset": np.float32(0.1),
        "50 Hz": 0.1 * tone(50, len(samples)),
        "60 Hz": 0.1 * tone(60, len(samples)),
        "rumble": walk / 3_000,
    }[added]
    assert covered(samples + noise, spans) > covered(samples, spans) - 0.02


@pytest.mark.parametrize(("softer_db", "least"), [(20, 0.96), (40, 0.93), (50, 0.93)])
@pytest.mark.parametrize("bits", [16, 24])
def test_soft_recordings_are_heard(
    call: tuple[Samples, list[Span]], softer_db: float, least: float, bits: int
) -> None:
    """Speech 40 and 50 dB too soft lies within utterances as loud speech does, even rounded to 16 bits."""
    samples, spans = call
    scale = 2 ** (bits - 1)
    assert covered(np.rint(samples * 10 ** (-softer_db / 20) * scale) / scale, spans) > least


@pytest.mark.parametrize("level_db", [-90, -72, -60, -40, -30])
@pytest.mark.parametrize("colour", ["white", "pink"])
def test_steady_noise_of_any_level_is_silence(level_db: float, colour: str) -> None:
    """What raises a soft recording does not raise the noise of a room, a fan or a street into speech."""
    noise = np.random.default_rng(1).standard_normal(60 * SAMPLE_RATE)
    if colour == "pink":
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, len(noise))
    noise *= 10 ** (level_db / 20) / noise.std()
    assert utterances(segments(noise.astype(np.float32))) == []


def test_the_filter_does_not_depend_on_chunk_sizes() -> None:
    """However the sound is cut, what the decisions are made on is the same to the bit."""
    samples = np.random.default_rng(2).standard_normal(5_000).astype(np.float32)
    pieces, whole = HighPass(), HighPass()
    cut = [pieces.filter(part) for part in np.split(samples, [1, 7, 320, 330, 4_999])]
    np.testing.assert_array_equal(np.concatenate(cut), whole.filter(samples))


def test_an_offset_begins_without_a_click() -> None:
    """A recording that begins at 0.1 instead of 0 holds no step that could be taken for a sound."""
    assert np.abs(HighPass().filter(np.full(SAMPLE_RATE, 0.1, np.float32))).max() < 1e-6


def test_the_floor_is_the_noise_under_speech_and_not_the_speech() -> None:
    """Eight seconds of loud frames with a pause of a frame in twenty leave the floor at the pauses."""
    floor = NoiseFloor(20)
    excess = [floor.excess_db(1e-6 if n % 20 == 0 else 1e-2) for n in range(400)]
    assert excess[-1] == pytest.approx(40, abs=1)
    assert floor.excess_db(0.0) == -np.inf


def test_a_fan_that_is_switched_on_becomes_the_floor() -> None:
    """Ten seconds after noise rose by 30 dB it is no longer above the floor."""
    floor = NoiseFloor(20)
    random = np.random.default_rng(3)
    for level in (1e-6, 1e-3):
        excess = [floor.excess_db(level * random.uniform(0.9, 1.1)) for _ in range(510)]
    assert max(excess[500:]) < 1
