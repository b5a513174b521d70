"""Frames of clips: what they are, and that the store keeps them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import train.extraction.frame_store
from core_models.assets import model_folder
from core_models.errors import UsageError
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.whisper import Whisper
from core_models.features.voice.mced_embedding import encoder_frames_spec
from train.extraction.frame_extractors import open_frames
from train.extraction.frame_store import FrameStore


def spec(**settings: str) -> FeatureSpec:
    return FeatureSpec(modality="voice", name="x", version=1, dimension=3, digest="0" * 64, settings=settings)


def test_store_keeps_clips_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips come back as they were put, pending or from any shard, before and after the store is opened anew."""
    monkeypatch.setattr(train.extraction.frame_store, "CLIPS_A_SHARD", 2)
    clips = {str(n): np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32) for n in (1, 4, 2, 7, 3)}
    store = FrameStore(tmp_path, spec())
    for key, frames in clips.items():
        store.put(key, frames)
    assert len(list(store.folder.glob("*.safetensors"))) == 2
    for opened in (store, FrameStore(tmp_path, spec())):
        assert ("3" in opened) == (opened is store)  # the fifth was never flushed
        for key in set(clips) - {"3"}:
            assert opened.length(key) == len(clips[key])
            np.testing.assert_array_equal(opened[key], clips[key])
    with pytest.raises(ValueError, match="no frames of"):
        store.put("flat", np.zeros((0, 3), np.float32))


def test_a_broken_shard_is_done_without(tmp_path: Path) -> None:
    """A shard that cannot be read costs its own clips alone."""
    store = FrameStore(tmp_path, spec())
    store.put("a", np.ones((2, 3), np.float32))
    store.flush()
    (store.folder / "damaged.safetensors").write_bytes(b"half a shard")
    assert "a" in FrameStore(tmp_path, spec())


def test_encoder_states_are_kept_in_half_precision(tmp_path: Path) -> None:
    """Whisper's frames take two bytes a number, those of descriptors, which float16 cannot hold, four."""
    large = np.full((2, 3), 3e6, np.float32)
    store = FrameStore(tmp_path, spec())
    store.put("a", large)
    np.testing.assert_array_equal(store["a"], large)
    store = FrameStore(tmp_path, spec(whisper="base"))
    store.put("a", np.full((2, 3), 0.1, np.float32))
    assert store["a"][0, 0] == np.float16(0.1)


@pytest.mark.weights
def test_whisper_frames_are_those_of_the_live_run(
    whisper_tiny: Whisper, librivox: list[tuple[str, NDArray[np.float32]]]
) -> None:
    """Frames for training are the encoder states of the transcript, 50 a second, and the spec says which."""
    frames = open_frames("whisper-tiny.en", threads=1)
    by_folder = open_frames(str(model_folder("whisper-tiny.en")), threads=1)
    assert frames.spec == by_folder.spec == encoder_frames_spec(whisper_tiny)
    samples = librivox[0][1][:24_000]
    heard = frames(samples)
    assert heard.shape == (75, frames.spec.dimension)
    np.testing.assert_allclose(heard, whisper_tiny.encode(samples).frames, atol=1e-5)


def test_descriptors_are_130(librivox: list[tuple[str, NDArray[np.float32]]]) -> None:
    """The 65 low-level descriptors of ComParE and their deltas, a hundred times a second, all of them numbers."""
    pytest.importorskip("opensmile")
    frames = open_frames("descriptors", threads=1)
    samples = librivox[0][1][:32_000]
    heard = frames(samples)
    assert heard.shape[1] == frames.spec.dimension == 130
    assert abs(len(heard) / frames.rate - 2) < 0.1
    assert np.isfinite(heard).all()
    assert (heard.std(axis=0) > 0).mean() > 0.9


def test_descriptors_without_opensmile_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, a sentence names it and what to train on instead."""
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UsageError, match=r"non-commercial .*\[opensmile\].*whisper-base"):
        open_frames("descriptors", threads=1)
