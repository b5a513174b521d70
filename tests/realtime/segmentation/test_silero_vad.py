"""Silero's second opinion: music and typing are no speech, and speech is what it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.conversations import conversation, described, quiet, segments, utterances

from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.silero_vad import Silero
from realtime.sources.media import SAMPLE_RATE

ASKED = Endpointing(silero=True)
SECONDS = 20


def typing() -> NDArray[np.float32]:
    """Somebody types fast: decaying bursts of noise and ringing."""
    random, sound, at = np.random.default_rng(3), np.zeros(SECONDS * SAMPLE_RATE), 0
    while at < len(sound) - 2_000:
        count = int(random.integers(200, 900))
        t = np.arange(count) / SAMPLE_RATE
        ring = random.standard_normal(count) + np.sin(2 * np.pi * random.uniform(400, 3_000) * t)
        sound[at : at + count] += random.uniform(0.2, 1) * np.exp(-t * random.uniform(30, 150)) * ring
        at += int(random.integers(300, 1_300))
    return (0.1 * sound).astype(np.float32)


def music() -> NDArray[np.float32]:
    """Struck chords with overtones, three a second."""
    random, sound = np.random.default_rng(4), np.zeros(SECONDS * SAMPLE_RATE)
    t = np.arange(SAMPLE_RATE * 6 // 10) / SAMPLE_RATE
    for start in range(0, len(sound) - len(t), SAMPLE_RATE // 3):
        root = 220 * 2 ** (random.integers(0, 12) / 12)
        for ratio in (1, 1.26, 1.5, 2):
            for overtone in range(1, 8):
                tone = np.sin(2 * np.pi * root * ratio * overtone * t) / overtone**2
                sound[start : start + len(t)] += tone * np.exp(-3 * t)
    return (0.05 * sound / sound.std()).astype(np.float32)


@pytest.mark.parametrize("noise", [typing, music])
def test_what_webrtcvad_takes_for_speech_is_rejected(noise) -> None:
    """Nearly all of it is utterances without Silero, and none with it."""
    sound = noise() + quiet(SECONDS * 1_000)
    let_through = sum(u.end_ms - u.start_ms for u in utterances(segments(sound)))
    assert let_through > 0.8 * SECONDS * 1_000
    assert utterances(segments(sound, ASKED)) == []


def test_every_turn_of_speech_is_still_there(librivox: list[tuple[str, NDArray[np.float32]]]) -> None:
    """As many utterances as turns, each with its first and last word, also after a long silence."""
    stream, turns = conversation([samples for _, samples in librivox], [600, 700, 12_000, 1_500, 2_000])
    found = utterances(segments(stream, ASKED))
    assert len(found) == len(turns)
    for utterance, (start, end) in zip(found, turns, strict=True):
        assert utterance.samples_start <= start
        assert utterance.samples_start + len(utterance.samples) >= end


def test_speech_under_which_music_starts_ends_where_speech_does(librivox) -> None:
    """Music that goes on behind the last word does not hold the utterance open."""
    stream, turns = conversation([librivox[1][1]], [600])
    end = turns[0][1]
    sound = np.concatenate([stream[:end], music()])
    found = utterances(segments(sound, ASKED))
    assert found
    assert found[-1].end_ms < end / 16 + 1_500


def test_boundaries_with_silero_do_not_depend_on_chunk_sizes(librivox) -> None:
    """However the sound is chunked, segments are the same to the sample."""
    stream, _ = conversation([samples for _, samples in librivox], [700, 500])
    assert described(segments(stream, ASKED, [137, 4_001])) == described(segments(stream, ASKED))


def test_its_opinion_does_not_depend_on_the_pieces(librivox) -> None:
    """The state is carried from chunk to chunk, and `reset` begins anew."""
    _, samples = librivox[0]
    silero = Silero()
    whole = [silero(samples[at : at + 512]) for at in range(0, 512 * 60, 512)]
    silero.reset()
    again = [silero(samples[at : at + 128]) for at in range(0, 512 * 60, 128)]
    assert again[3::4] == whole
    assert max(whole) > 0.9
