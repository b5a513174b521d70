"""Words are shown where there were words, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.features.audio.whisper import SAMPLE_RATE, Hypothesis, Whisper
from realtime.perception.transcriber import Transcriber, _ran_away

pytestmark = pytest.mark.weights
SIZES = pytest.mark.parametrize("size", ["whisper_base", "whisper_tiny"])


def coloured(random: np.random.Generator, n: int, power: float) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(random.standard_normal(n))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    noise = np.fft.irfft(spectrum / frequency ** (power / 2), n)
    return (noise / noise.std()).astype(np.float32)


def wordless() -> dict[str, NDArray[np.float32]]:
    """Silence, noise, hum, chords and keys: what webrtcvad may let through."""
    random, n = np.random.default_rng(0), 2 * SAMPLE_RATE
    t = np.arange(n) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330, 440)) * np.exp(-2 * (t % 0.5))
    keys = np.zeros(n)
    for start in random.integers(0, n - 400, 14):
        keys[start : start + 400] += random.standard_normal(400) * np.exp(-np.arange(400) / 60)
    sounds = {
        "silence": np.zeros(n),
        "white noise": 0.05 * coloured(random, n, 0),
        "pink noise": 0.05 * coloured(random, n, 1),
        "brown noise": 0.05 * coloured(random, n, 2),
        "hum": 0.05 * (np.sin(2 * np.pi * 50 * t) + np.sin(2 * np.pi * 150 * t) / 2),
        "music": 0.05 * chord,
        "keyboard": 0.2 * keys,
    }
    return {name: sound.astype(np.float32) for name, sound in sounds.items()}


@SIZES
@pytest.mark.parametrize("name", list(wordless()))
def test_what_is_not_speech_has_no_words(size: str, name: str, request: pytest.FixtureRequest) -> None:
    """Silence, noise, hum, music and keys are discarded with a reason, never shown as words."""
    transcriber = Transcriber(request.getfixturevalue(size), language="en", text_languages={"en"})
    transcript = transcriber(wordless()[name])
    assert transcript.discarded is not None, transcript.text
    assert transcript.discarded[0] in ("not_speech", "no_words")


@SIZES
def test_what_is_speech_is_kept(size: str, librivox, request: pytest.FixtureRequest) -> None:
    """Read sentences pass, without the padded fallback, also with noise 15 dB below them."""
    transcriber = Transcriber(request.getfixturevalue(size), language="en", text_languages={"en"})
    random = np.random.default_rng(1)
    for _, samples in librivox:
        noise = coloured(random, len(samples), 1) * samples.std() * 10 ** (-15 / 20)
        for heard in (samples, samples + noise):
            transcript = transcriber(heard)
            assert transcript.discarded is None
            assert transcript.status == "ok"
            assert not transcript.fallback_used


def test_the_session_keeps_its_language(whisper_base: Whisper, librivox) -> None:
    """With `auto`, sentences in English settle on English, and a grunt or a hum does not move it."""
    transcriber = Transcriber(whisper_base, text_languages={"en"})
    for sound in (librivox[0][1], wordless()["hum"], librivox[1][1][:4_000]):
        transcript = transcriber(sound)
        assert transcript.language == "en"
        transcriber.settle(transcript)


def test_what_proves_to_be_no_utterance_does_not_choose_the_language(whisper_base: Whisper, librivox) -> None:
    """Only what is settled votes: a transcript that is dropped leaves the next as it would have been."""
    transcriber = Transcriber(whisper_base, text_languages={"en"})
    vote = transcriber(librivox[0][1])
    assert vote.vote == "en"
    for _ in range(2):
        transcriber.settle(replace(vote, vote="de"))
    for _ in range(3):  # heard ahead of time, over and over, and dropped
        assert transcriber(librivox[0][1]).language == "de"
    for expected in ("de", "en"):
        transcript = transcriber(librivox[0][1])
        assert transcript.language == expected
        transcriber.settle(transcript)


def test_a_partial_does_not_decode_again_what_was_agreed(whisper_tiny: Whisper, librivox) -> None:
    """With the beginning given, the same words come out, the given ones untouched."""
    transcriber = Transcriber(whisper_tiny, text_languages={"en"})
    _, samples = librivox[0]
    whole = transcriber.partial(samples, (), words=True)
    again = transcriber.partial(samples, whole.tokens[:6], words=True)
    assert again.tokens == whole.tokens
    other = transcriber.partial(samples, (*whole.tokens[:3], 11), words=True)  # a comma where there was none
    assert other.tokens[:4] == (*whole.tokens[:3], 11)
    assert transcriber.partial(samples, (), words=False).status == "pending"


def test_a_language_that_the_text_encoder_does_not_know_is_said(whisper_base: Whisper, librivox) -> None:
    """Words in it are still shown, but the text modality is `unsupported_language`."""
    transcript = Transcriber(whisper_base, language="de", text_languages={"en"})(librivox[2][1])
    assert transcript.language == "de"
    assert transcript.status == "unsupported_language"


def test_an_unknown_language_is_refused(whisper_base: Whisper, whisper_tiny: Whisper) -> None:
    """A code that the model does not have is one sentence; tiny.en has English alone."""
    with pytest.raises(UsageError, match="klingon"):
        Transcriber(whisper_base, language="klingon", text_languages={"en"})
    with pytest.raises(UsageError, match="tiny"):
        Transcriber(whisper_tiny, language="de", text_languages={"en"})


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ([1, 2, 3, 4, 5, 6, 7], False),
        ([7, 11] * 4, False),  # "no, no, no, no"
        ([7] * 20, True),
        ([1, 2, 3] * 6, True),
        ([9, 9] + [1, 2, 3, 4] * 5, True),
        (list(range(40)), False),
        ([1, 2, 3, 4, 5] * 2, False),
    ],
)
def test_a_loop_is_told_from_emphasis(tokens: list[int], loop: bool) -> None:
    """Five times in a row and fifteen tokens make a loop; four "no"s do not."""
    heard = Hypothesis("words", "en", -0.2, 0.0, tuple(tokens), True)
    assert _ran_away(heard) is loop


def test_a_decoder_that_ran_into_its_bound_is_a_loop() -> None:
    """An incomplete hypothesis is never believed as it stands."""
    assert _ran_away(Hypothesis("words", "en", -0.2, 0.0, (1, 2, 3), False))
