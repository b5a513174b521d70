"""One encoder pass, without padding: right words, states that do not depend on the compute type."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core_models.assets import model_folder
from core_models.errors import UsageError, WeightsError
from core_models.features.audio.whisper import SAMPLE_RATE, Whisper
from core_models.features.voice.statistics_pooling import VoiceFeature

pytestmark = pytest.mark.weights


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("-", " "))


@pytest.mark.parametrize("size", ["whisper_base", "whisper_tiny"])
def test_words_are_those_that_were_read(size: str, librivox, request: pytest.FixtureRequest) -> None:
    """Of five read sentences at most one word in ten is not among those heard."""
    whisper: Whisper = request.getfixturevalue(size)
    missed = total = 0
    for said, samples in librivox:
        heard = words(whisper.decode(whisper.encode(samples), "en").text)
        total += len(said.split())
        missed += sum(word not in heard for word in words(said))
    assert missed <= 0.1 * total


@pytest.mark.corpora
@pytest.mark.parametrize("size", ["whisper_base", "whisper_tiny"])
def test_a_short_sentence_is_said_once(size: str, corpora: Path, request: pytest.FixtureRequest) -> None:
    """Of acted sentences of six words, fewer than one word in ten is wrong, and none comes twice."""
    whisper: Whisper = request.getfixturevalue(size)
    errors = 0
    for actor in range(1, 21, 2):
        samples, _ = soundfile.read(corpora / "ravdess" / f"03-01-01-01-02-01-{actor:02}.flac", dtype="float32")
        heard = words(whisper.decode(whisper.encode(samples), "en").text)
        errors += len(set("dogs are sitting by the door".split()) ^ set(heard)) + len(heard) - len(set(heard))
    assert errors < 6


def test_the_decoder_sees_the_utterance_and_then_quiet(whisper_tiny: Whisper, librivox) -> None:
    """Thirty seconds of states: the utterance's own, and behind them always the same."""
    behind = []
    for _, samples in librivox:
        encoded = whisper_tiny.encode(samples[: 4 * SAMPLE_RATE])
        states = np.array(encoded.states)[0]
        np.testing.assert_array_equal(states[: len(encoded.frames)], encoded.frames)
        behind.append(states[len(encoded.frames) + 50 :][-1_000:])
        assert len(states) == 1_500
    for other in behind:
        np.testing.assert_array_equal(other, behind[0])


@pytest.mark.parametrize("size", ["whisper_base", "whisper_tiny"])
def test_what_the_decoder_gets_leaves_the_voice_feature_as_it_is(
    size: str, librivox, request: pytest.FixtureRequest
) -> None:
    """The voice vector is bit by bit that of the network's own encoder over the short context, nothing added."""
    whisper: Whisper = request.getfixturevalue(size)
    for _, samples in librivox[:2]:
        mel = whisper.model.feature_extractor(samples, padding=0)
        context = np.zeros((len(mel), max(500, mel.shape[1] + 200)), np.float32)
        context[:, : mel.shape[1]] = mel
        states = np.array(whisper.model.encode(context), dtype=np.float32)[0][: (mel.shape[1] + 1) // 2]
        encoded = whisper.encode(samples)
        feature = VoiceFeature(whisper)
        np.testing.assert_array_equal(encoded.frames, states)
        np.testing.assert_array_equal(feature(encoded), feature(replace(encoded, frames=states, states=None)))


def test_frames_are_fifty_a_second_and_none_of_the_padding(whisper_base: Whisper, librivox) -> None:
    """The states cover the utterance and not the silence behind it."""
    for _, samples in librivox:
        encoded = whisper_base.encode(samples)
        assert encoded.frames.shape == (pytest.approx(50 * encoded.seconds, abs=1.01), whisper_base.dimension)
        assert encoded.frames.dtype == np.float32
        assert encoded.seconds == pytest.approx(len(samples) / SAMPLE_RATE)


def test_int8_hears_what_fp32_hears(librivox) -> None:
    """Compute type is no part of a feature: voice vectors of int8 and fp32 agree, and nine words in ten do."""
    folder = model_folder("whisper-tiny.en")
    small, full = (Whisper(folder, device="cpu", compute_type=c) for c in ("int8", "float32"))
    voice = VoiceFeature(full)
    assert VoiceFeature(small).spec == voice.spec
    differ = total = 0
    for _, samples in librivox:
        a, b = small.encode(samples), full.encode(samples)
        x, y = voice(a), voice(b)
        assert x @ y / np.linalg.norm(x) / np.linalg.norm(y) > 0.995
        heard, expected = words(small.decode(a, "en").text), words(full.decode(b, "en").text)
        differ += sum(word not in heard for word in expected)
        total += len(expected)
    assert differ <= 0.1 * total


def test_two_sizes_are_two_features(whisper_base: Whisper, whisper_tiny: Whisper) -> None:
    """A checkpoint for one size does not fit the other."""
    base, tiny = VoiceFeature(whisper_base).spec, VoiceFeature(whisper_tiny).spec
    assert base.dimension == 1024
    assert tiny.dimension == 768
    assert base.digest != tiny.digest


def test_length_is_bounded_at_both_ends(whisper_tiny: Whisper) -> None:
    """An instant of sound still has a frame; more than 30 s is refused in a sentence."""
    assert len(whisper_tiny.encode(np.zeros(10, np.float32)).frames) >= 1
    with pytest.raises(UsageError, match="30"):
        whisper_tiny.encode(np.zeros(31 * SAMPLE_RATE, np.float32))


def test_a_clip_of_any_length_has_frames_in_windows(whisper_tiny: Whisper, librivox) -> None:
    """Up to 30 s it is one pass, bit by bit; beyond that equal windows of 15 s at most, without a gap or an overlap."""
    _, samples = librivox[0]
    short, same = whisper_tiny.encode(samples), whisper_tiny.encode_windowed(samples)
    np.testing.assert_array_equal(short.frames, same.frames)
    long = np.tile(samples, 8)[: 45 * SAMPLE_RATE + 123]
    encoded = whisper_tiny.encode_windowed(long)
    assert len(encoded.frames) == pytest.approx(len(long) / 320, abs=2)
    assert encoded.seconds == len(long) / SAMPLE_RATE
    np.testing.assert_array_equal(encoded.samples, long)
    assert np.isfinite(VoiceFeature(whisper_tiny)(encoded)).all()


def test_an_english_model_detects_english(whisper_base: Whisper, whisper_tiny: Whisper, librivox) -> None:
    """tiny.en says English without looking; base recognises it."""
    _, samples = librivox[0]
    assert whisper_tiny.language_probabilities(whisper_tiny.encode(samples)) == {"en": 1.0}
    probabilities = whisper_base.language_probabilities(whisper_base.encode(samples))
    assert next(iter(probabilities)) == "en"
    assert probabilities["en"] > 0.8
    assert sum(probabilities.values()) == pytest.approx(1)


def test_a_model_cut_short_is_refused(tmp_path: Path) -> None:
    """A truncated model.bin is one sentence, not a crash of native code."""
    folder = tmp_path / "whisper-tiny.en"
    shutil.copytree(model_folder("whisper-tiny.en"), folder)
    weights = folder / "model.bin"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError):
        Whisper(folder, device="cpu")


def test_a_folder_without_a_tokenizer_asks_no_hub(tmp_path: Path) -> None:
    """What is missing is named instead of being fetched behind the person's back."""
    folder = tmp_path / "whisper-tiny.en"
    shutil.copytree(model_folder("whisper-tiny.en"), folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        Whisper(folder, device="cpu")
