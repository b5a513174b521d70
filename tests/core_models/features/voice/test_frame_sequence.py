"""Words token by token and voice frame by frame: what TDFNet reads, on tiny encoders and on real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny_encoder import tiny_encoder

from core_models.assets import model_folder
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.campplus import SpeakerVector
from core_models.features.audio.whisper import Whisper
from core_models.features.text.sentence_encoder import TextFeature
from core_models.features.text.token_states import TokenStates
from core_models.features.voice.frame_sequence import VoiceSequence, voice_sequence_spec, with_speaker

TEXTS = ["you had your hands full .", "what ?", "this is the best day !"]


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_token_states_of_an_encoder_in_the_hubs_format(tmp_path: Path, kind: str) -> None:
    """One vector a token, ends among them, the same alone as among others; their mean is the sentence's vector."""
    folder = tiny_encoder(tmp_path / "tiny", kind)
    tokens = TokenStates(folder, max_tokens=6)
    states = tokens(TEXTS)
    assert [state.shape for state in states] == [(6, 16), (4, 16), (6, 16)]
    for text, state in zip(TEXTS, states, strict=True):
        np.testing.assert_allclose(tokens([text])[0], state, atol=1e-5)
    means = TextFeature(folder, max_tokens=6)(TEXTS)
    np.testing.assert_allclose(np.stack([state.mean(axis=0) for state in states]), means, atol=1e-5)


def test_spec_tells_tokens_from_sentences(tmp_path: Path) -> None:
    """Two lengths, or a vector for each sentence, are other features of the same encoder."""
    folder = tiny_encoder(tmp_path / "tiny")
    long, short = TokenStates(folder, max_tokens=128).spec, TokenStates(folder, max_tokens=6).spec
    assert long.digest == short.digest == TextFeature(folder).spec.digest
    assert long != short
    assert (long.dimension, long.settings["pooling"], long.settings["max_tokens"]) == (16, "none", 128)


def test_the_speaker_stands_behind_every_frame() -> None:
    """Frames keep their order and place, and without a speaker they are all there is."""
    frames, vector = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([7, 8, 9], np.float32)
    joined = with_speaker(frames, vector)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined[:, :2], frames)
    np.testing.assert_array_equal(joined[:, 2:], [vector] * 3)
    assert with_speaker(frames, None) is frames


def test_spec_names_both_networks() -> None:
    """Another network behind frames or speaker is another feature."""
    frames = FeatureSpec(
        modality="voice", name="f", version=1, dimension=5, digest="11" * 32, settings={"whisper": "w"}
    )
    speaker = FeatureSpec(
        modality="speaker", name="s", version=1, dimension=3, digest="22" * 32, settings={"speaker": "s"}
    )
    both, alone = voice_sequence_spec(frames, speaker), voice_sequence_spec(frames, None)
    assert (both.dimension, alone.dimension) == (8, 5)
    assert (both.settings["whisper"], both.settings["speaker"], alone.settings["speaker"]) == ("w", "s", "none")
    swapped = voice_sequence_spec(
        FeatureSpec(modality="voice", name="f", version=1, dimension=5, digest="22" * 32),
        FeatureSpec(modality="speaker", name="s", version=1, dimension=3, digest="11" * 32, settings={"speaker": "s"}),
    )
    assert len({both.digest, alone.digest, swapped.digest}) == 3


@pytest.mark.weights
def test_voice_is_that_of_the_transcripts_own_pass(
    whisper_tiny: Whisper, librivox: list[tuple[str, NDArray[np.float32]]]
) -> None:
    """Frames are the encoder's own, the speaker's vector is that of the same samples."""
    speaker = SpeakerVector(model_folder("campplus"))
    samples = librivox[0][1][:24_000]
    encoded = whisper_tiny.encode(samples)
    heard = VoiceSequence(whisper_tiny, speaker)(encoded)
    np.testing.assert_array_equal(heard[:, : whisper_tiny.dimension], encoded.frames)
    np.testing.assert_allclose(heard[0, whisper_tiny.dimension :], speaker(samples), atol=1e-5)
    assert VoiceSequence(whisper_tiny, speaker).spec.dimension == heard.shape[1]
    assert VoiceSequence(whisper_tiny, None)(encoded).shape == encoded.frames.shape
