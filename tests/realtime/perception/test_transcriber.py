"""Words are shown where there were words, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.features.audio.whisper import SAMPLE_RATE, Hypothesis, Whisper
from realtime.perception.transcriber import UNDETERMINED, Transcriber, _ran_away
from realtime.sources.recording.file import read_audio

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


def test_a_grunt_does_not_choose_a_language(whisper_base: Whisper, librivox) -> None:
    """With `auto`, after sentences in English a hum and a quarter of a second of speech are English too."""
    transcriber = Transcriber(whisper_base, text_languages={"en"})
    for sound in (librivox[0][1], wordless()["hum"], librivox[1][1][:4_000]):
        transcript = transcriber(sound)
        assert transcript.language == "en"
        transcriber.settle(transcript)


def test_the_past_decides_what_the_sound_leaves_open_and_nothing_else(whisper_base: Whisper, librivox) -> None:
    """Only what is settled counts; after German, a quarter of a second is German, and a sentence in English English."""
    transcriber = Transcriber(whisper_base, text_languages={"en"})
    sentence, grunt = librivox[0][1], librivox[1][1][:4_000]
    clear = transcriber(sentence)
    assert clear.vote == "en"
    for _ in range(3):  # heard ahead of time, over and over, and dropped
        transcriber(sentence)
    for _ in range(3):
        transcriber.settle(replace(clear, vote="de"))
    assert transcriber(grunt).language == "de"
    assert transcriber(grunt).vote is None
    assert transcriber(sentence).language == "en"


@pytest.fixture(scope="module")
def italian() -> list[NDArray[np.float32]]:
    """Sentences in Italian through a telephone, 16 kHz."""
    folder = Path("/usr/share/asterisk/sounds/it_IT_m_Carlo")
    if not folder.is_dir():
        pytest.skip("no prompts here: apt-get install asterisk-core-sounds-it-wav")
    names = ("vm-intro", "vm-review", "conf-invalid")
    return [read_audio(folder / f"{name}.wav")[: 10 * SAMPLE_RATE] for name in names]


def test_italian_is_italian_whatever_was_spoken_before(whisper_base: Whisper, italian, librivox) -> None:
    """In an English conversation each utterance has its own language, and the next sentence is English again."""
    transcriber = Transcriber(whisper_base, text_languages={"en"})
    transcriber.settle(transcriber(librivox[0][1]))
    for sound in italian:
        transcript = transcriber(sound)
        assert (transcript.language, transcript.status) == ("it", "unsupported_language")
        transcriber.settle(transcript)
    assert transcriber(librivox[1][1]).language == "en"


def test_a_recogniser_of_english_alone_notices_italian(whisper_tiny: Whisper, italian, librivox) -> None:
    """It invents no English for it; of English it is not in doubt; a language that was given is believed."""
    transcriber = Transcriber(whisper_tiny, text_languages={"en"})
    for sound in italian:
        transcript = transcriber(sound)
        assert (transcript.text, transcript.language, transcript.status) == ("", UNDETERMINED, "unsupported_language")
    for _, sound in librivox:
        assert transcriber(sound).status == "ok"
    assert Transcriber(whisper_tiny, language="en", text_languages={"en"})(italian[0]).language == "en"


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
