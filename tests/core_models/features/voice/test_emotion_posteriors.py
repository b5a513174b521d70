"""A voice head's log-probabilities: the same alone and in a batch, on disk and in memory, on its own frames alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core_models.errors import CheckpointError, UsageError
from core_models.feature_network import NetworkSidecar
from core_models.features.audio.prosody import DIMENSION
from core_models.features.audio.whisper import Whisper
from core_models.features.voice.emotion_posteriors import HEADS, VoiceEmotion, head_frames, voice_head_frames_spec
from core_models.features.voice.mced_embedding import encoder_frames_spec
from core_models.networks.voice_head import HeadConfig, VoiceHead
from core_models.tensor_files import SIDECAR


def a_head(states: int, seed: int = 0, members: int = 2) -> VoiceHead:
    torch.manual_seed(seed)
    config = HeadConfig(
        states=states, prosody=DIMENSION, classes=7, members=members, width=12, prosody_width=4, attention=8
    )
    return VoiceHead(config).eval()


def written(folder: Path, whisper: Whisper, seed: int = 0) -> Path:
    head = a_head(whisper.dimension, seed)
    frames = voice_head_frames_spec(encoder_frames_spec(whisper))
    HEADS.save(folder, head, HEADS.sidecar(head, "meld7", frames, {"seed": seed}))
    return folder


def test_a_clip_does_not_depend_on_what_it_is_padded_with() -> None:
    """Alone, or padded beside a longer clip, a clip has the same log-probabilities, to 1e-5; each sums to 1."""
    head = a_head(16)
    clips = [torch.randn(n, 16 + DIMENSION, generator=torch.Generator().manual_seed(n)) for n in (1, 7, 40)]
    padded = torch.full((3, 40, 16 + DIMENSION), 9.0)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    together = head(padded, torch.tensor([1, 7, 40]))
    alone = torch.cat([head(clip[None], torch.tensor([len(clip)])) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.exp().sum(dim=1), torch.ones(3))


def test_a_head_is_the_mean_of_its_members() -> None:
    """Its log-probabilities are the members' mean over the temperature, normalised."""
    head = a_head(16, members=3)
    head.temperature.fill_(2.0)
    frames, lengths = torch.randn(2, 9, 16 + DIMENSION), torch.tensor([9, 5])
    each = torch.stack([member(frames, lengths).log_softmax(dim=-1) for member in head.members])
    torch.testing.assert_close(head(frames, lengths), (each.mean(dim=0) / 2).log_softmax(dim=-1))


def test_dropout_takes_a_channel_from_all_frames() -> None:
    """In training, two clips of constant frames lose whole channels: the frames of a clip stay alike."""
    head = a_head(16)
    layer = head.members[0].layers[0].train()  # type: ignore[union-attr,index]
    layer.rate = 0.5
    x = torch.randn(1, 1, 16).expand(1, 30, 16)
    inner = layer(x, torch.ones(1, 30, 1))[0, 5:25]
    torch.testing.assert_close(inner, inner[:1].expand_as(inner))


def test_a_shape_that_cannot_be_is_refused() -> None:
    """Attention heads divide the channels."""
    with pytest.raises(UsageError, match="heads must divide"):
        HeadConfig(states=16, prosody=4, classes=7, width=13)


@pytest.mark.weights
def test_the_vector_is_what_the_head_says(tmp_path: Path, whisper_tiny: Whisper, librivox) -> None:
    """Seven log-probabilities from one encoder pass, the same each time, whose spec names Whisper, head and digest."""
    head = HEADS.load(written(tmp_path / "mini-voice", whisper_tiny))
    voice, encoded = VoiceEmotion(head, whisper_tiny), whisper_tiny.encode(librivox[0][1])
    vector = voice(encoded)
    frames = torch.from_numpy(head_frames(encoded))
    assert len(frames) == (len(encoded.frames) + 1) // 2
    assert vector == pytest.approx(head.model(frames[None], torch.tensor([len(frames)]))[0].numpy(), abs=1e-6)
    assert np.exp(vector).sum() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vector, voice(encoded))
    assert voice.spec.dimension == len(vector) == 7
    assert voice.spec.settings["head"] == "mini-voice"
    assert voice.spec.settings["whisper"] == "whisper-tiny.en"
    other = HEADS.load(written(tmp_path / "other" / "mini-voice", whisper_tiny, seed=1))
    assert VoiceEmotion(other, whisper_tiny).spec.digest != voice.spec.digest


@pytest.mark.weights
def test_other_frames_are_refused(tmp_path: Path, whisper_tiny: Whisper, whisper_base: Whisper) -> None:
    """A head of tiny.en's states does not run on base's, and the sentence names both."""
    head = HEADS.load(written(tmp_path / "mini-voice", whisper_tiny))
    with pytest.raises(CheckpointError, match=r"whisper-tiny\.en.*whisper-base"):
        VoiceEmotion(head, whisper_base)


@pytest.mark.weights
@pytest.mark.parametrize("broken", ["tensors", "sidecar", "classes", "finite", "format"])
def test_a_folder_that_is_off_is_refused(tmp_path: Path, whisper_tiny: Whisper, broken: str) -> None:
    """Whatever is wrong with a head's files is one sentence that names the folder or the head."""
    folder = written(tmp_path / "mini-voice", whisper_tiny)
    sidecar = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=NetworkSidecar)
    if broken == "tensors":
        (folder / HEADS.tensors).write_bytes(b"no tensors")
    elif broken == "finite":
        tensors = load_file(folder / HEADS.tensors)
        tensors["members.0.classifier.weight"][0, 0] = float("nan")
        save_file(tensors, folder / HEADS.tensors)
    else:
        changed = {
            "sidecar": {"config": {**sidecar.config, "width": 24}},
            "classes": {"labels": "iemocap4"},
            "format": {"format": 9},
        }[broken]
        (folder / SIDECAR).write_bytes(msgspec.json.encode(msgspec.structs.replace(sidecar, **changed)))
    with pytest.raises(CheckpointError, match="mini-voice"):
        HEADS.find(folder)


@pytest.mark.weights
def test_loudness_alone_changes_no_frame_but_its_own(whisper_tiny: Whisper, librivox) -> None:
    """What is heard of states comes from the encoder alone, what is heard of prosody from the samples alone."""
    encoded = whisper_tiny.encode(librivox[1][1])
    here, there = head_frames(encoded), head_frames(replace(encoded, samples=encoded.samples * np.float32(0.5)))
    assert np.array_equal(here[:, : whisper_tiny.dimension], there[:, : whisper_tiny.dimension])
    assert (here - there)[:, -4] == pytest.approx(np.full(len(here), 2 * np.log10(2)), abs=1e-3)
