"""MCED's student and soft alignment, its checkpoint, and the voice feature that it gives."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.whisper import Whisper
from core_models.features.voice.mced_embedding import STUDENTS, MCEDVoice, encoder_frames_spec
from core_models.networks.mced_student import SoftAlign, Student, StudentConfig

SMALL = StudentConfig(inputs=6, classes=5, width=16, layers=3, heads=2, feed_forward=24)
SPEC = FeatureSpec(modality="voice", name="test-frames", version=1, dimension=6, digest="0" * 64)


def student(config: StudentConfig = SMALL, seed: int = 0) -> Student:
    torch.manual_seed(seed)
    made = Student(config)
    made.scale_by(torch.randn(config.inputs), torch.rand(config.inputs) + 0.5)
    return made.eval()


def clips(*lengths: int, inputs: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [3 * torch.randn(length, inputs, generator=generator) + 1 for length in lengths]


def test_student_has_the_shape_of_the_paper() -> None:
    """Section 3.2: four Conv1D layers, six transformer layers of four heads and 512, two fully connected layers."""
    config = StudentConfig(inputs=130, classes=5)
    made = Student(config)
    assert (len(made.convolutions), len(made.layers), config.heads, config.width) == (4, 6, 4, 512)
    assert [type(layer).__name__ for layer in made.classifier].count("Linear") == 2
    with torch.no_grad():
        output = made.eval()(torch.randn(1, 41, 130), torch.tensor([41]))
    assert output.logits.shape == (1, 5)
    assert output.utterance.shape == (1, 512)
    assert [h.shape for h in output.hidden] == [(1, 11, 512)] * 6


@pytest.mark.parametrize("padding", [0.0, 1e4])
def test_a_clip_does_not_depend_on_its_batch(padding: float) -> None:
    """A clip alone gives what it gives in a padded batch, whatever stands in the padding."""
    lengths = (1, 2, 5, 8, 17, 40)
    alone = clips(*lengths)
    batch = torch.full((len(alone), 53, 6), padding)
    for row, clip in enumerate(alone):
        batch[row, : len(clip)] = clip
    made = student()
    with torch.no_grad():
        together = made(batch, torch.tensor(lengths))
        for row, clip in enumerate(alone):
            single = made(clip[None], torch.tensor([len(clip)]))
            own = single.real.shape[1]
            assert together.real[row].sum() == own
            torch.testing.assert_close(together.logits[row], single.logits[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.utterance[row], single.utterance[0], atol=1e-5, rtol=0)
            for many, one in zip(together.hidden, single.hidden, strict=True):
                torch.testing.assert_close(many[row, :own], one[0], atol=1e-5, rtol=0)


def test_the_maximum_is_over_real_frames() -> None:
    """The utterance is the maximum over the last layer's own frames, though padded ones may be larger."""
    made = student()
    frames = torch.zeros(2, 30, 6)
    frames[0, :9], frames[1] = clips(9, 30)
    with torch.no_grad():
        output = made(frames, torch.tensor([9, 30]))
    last = output.hidden[-1]
    expected = torch.stack([last[0, : output.real[0].sum()].amax(0), last[1].amax(0)])
    assert torch.equal(output.utterance, expected)
    assert (last[0].amax(0) > expected[0]).any()


def test_every_parameter_learns() -> None:
    """Gradients of the logits are finite and reach every parameter, with clips of one frame in the batch."""
    made = student().train()
    frames = torch.zeros(3, 30, 6)
    for row, clip in enumerate(clips(1, 12, 30)):
        frames[row, : len(clip)] = clip
    made(frames, torch.tensor([1, 12, 30])).logits.square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_statistics_scale_the_frames() -> None:
    """A student whose statistics are those of shifted and stretched frames gives the same output on them."""
    plain, moved = student(), student()
    frames, lengths = clips(20)[0][None], torch.tensor([20])
    shift, stretch = torch.arange(6.0), torch.tensor([1e6, 2.0, 0.1, 1.0, 5.0, 1.0])
    moved.scale_by(plain.mean * stretch + shift, plain.deviation * stretch)
    with torch.no_grad():
        torch.testing.assert_close(
            plain(frames, lengths).logits, moved(frames * stretch + shift, lengths).logits, atol=1e-3, rtol=0
        )
    moved.scale_by(torch.zeros(6), torch.zeros(6))
    assert torch.equal(moved.deviation, torch.ones(6))


def test_soft_alignment_is_equation_2() -> None:
    """Rows sum to 1, padded frames have no share, and the sum is that of eq. 2 written out."""
    torch.manual_seed(0)
    align = SoftAlign(teacher=8, student=6)
    words, frames = torch.randn(2, 4, 8), torch.randn(2, 7, 6)
    real = torch.arange(7) < torch.tensor([[7], [3]])
    weights = align.weights(words, frames, real)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4))
    assert (weights[1, :, 3:] == 0).all()
    aligned = align(words, frames, real)
    assert aligned.shape == words.shape
    w_q, w_k, w_v = align.query.weight.T, align.key.weight.T, align.value.weight.T
    assert (w_q.shape, w_k.shape, w_v.shape) == ((8, 8), (6, 8), (6, 8))
    for row, own in ((0, 7), (1, 3)):
        h = frames[row, :own]
        expected = (words[row] @ w_q @ F.gelu(h @ w_k).T / 8**0.5).softmax(-1) @ F.gelu(h @ w_v)
        torch.testing.assert_close(aligned[row], expected)


def test_shapes_that_cannot_work_are_refused() -> None:
    """A width that the heads do not divide, an even kernel: one sentence each."""
    with pytest.raises(UsageError, match="width 18"):
        dataclasses.replace(SMALL, width=18)
    with pytest.raises(UsageError, match="kernel"):
        dataclasses.replace(SMALL, kernel=4)


def test_round_trip(tmp_path: Path) -> None:
    """A student comes back from its folder as it was, to half precision, its statistics whole."""
    made = student()
    made.scale_by(torch.full((6,), 3e6), torch.full((6,), 2e5))
    STUDENTS.save(tmp_path / "voice", made, STUDENTS.sidecar(made, "mced5", SPEC, {"stage": "distil"}))
    loaded = STUDENTS.load(tmp_path / "voice")
    assert (loaded.name, loaded.sidecar.labels, loaded.sidecar.record) == ("voice", "mced5", {"stage": "distil"})
    assert loaded.model.config == SMALL
    assert torch.equal(loaded.model.mean, made.mean)
    frames, lengths = 3e6 + 2e5 * clips(20)[0][None], torch.tensor([20])
    with torch.no_grad():
        one, other = made(frames, lengths), loaded.model(frames, lengths)
    torch.testing.assert_close(one.utterance, other.utterance, atol=2e-2, rtol=0)
    STUDENTS.save(tmp_path / "again", loaded.model, loaded.sidecar)
    assert STUDENTS.load(tmp_path / "again").digest == loaded.digest


def test_whatever_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Foreign tensors, labels, frames, formats and broken files end in a sentence that names the student."""
    made = student()
    good = tmp_path / "good"
    sidecar = STUDENTS.sidecar(made, "mced5", SPEC, {})
    STUDENTS.save(good, made, sidecar)

    def spoilt(**changes: object) -> Path:
        folder = tmp_path / "-".join(changes)
        shutil.copytree(good, folder)
        (folder / "sidecar.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(sidecar, **changes)))
        return folder

    wider = {**sidecar.config, "feed_forward": 32}
    for folder, sentence in (
        (spoilt(config=wider), "do not belong together"),
        (spoilt(labels="meld7"), "5 classes are not those"),
        (spoilt(format=9), "format 9"),
        (spoilt(inputs=msgspec.structs.replace(SPEC, dimension=7)), "inputs have 7"),
        (tmp_path / "nowhere", "no MCED student"),
    ):
        with pytest.raises(CheckpointError, match=sentence):
            STUDENTS.load(folder)
    (good / "student.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="no MCED student"):
        STUDENTS.load(good)
    with torch.no_grad():
        next(made.parameters()).fill_(float("inf"))
    with pytest.raises(CheckpointError, match="not finite"):
        STUDENTS.save(tmp_path / "infinite", made, sidecar)


@pytest.fixture
def on_tiny(whisper_tiny: Whisper, tmp_path: Path) -> Path:
    """A student of Whisper tiny.en's frames."""
    made = student(StudentConfig(inputs=whisper_tiny.dimension, classes=5, width=16, heads=2, feed_forward=24))
    sidecar = STUDENTS.sidecar(made, "mced5", encoder_frames_spec(whisper_tiny), {})
    STUDENTS.save(tmp_path / "tiny-student", made, sidecar)
    return tmp_path / "tiny-student"


@pytest.mark.weights
def test_voice_is_the_pooled_last_layer(
    whisper_tiny: Whisper, on_tiny: Path, librivox: list[tuple[str, NDArray[np.float32]]]
) -> None:
    """The vector of a real utterance is the student's utterance representation over the transcript's own states."""
    voice = MCEDVoice(STUDENTS.load(on_tiny), encoder_frames_spec(whisper_tiny))
    encoded = whisper_tiny.encode(librivox[0][1][:32_000])
    vector = voice(encoded)
    assert (vector.shape, vector.dtype) == ((voice.spec.dimension,), np.float32)
    frames = torch.from_numpy(encoded.frames)[None]
    output = STUDENTS.load(on_tiny).model(frames, torch.tensor([frames.shape[1]]))
    np.testing.assert_allclose(vector, output.hidden[-1][0].amax(0).numpy(), atol=1e-6)


@pytest.mark.weights
def test_spec_names_both_networks(whisper_tiny: Whisper, on_tiny: Path, tmp_path: Path) -> None:
    """Another student is another feature, though it may have the same name; one of other frames is refused."""
    spec = MCEDVoice(STUDENTS.find(on_tiny), encoder_frames_spec(whisper_tiny)).spec
    assert (spec.name, spec.settings["whisper"]) == ("mced-tiny-student", "whisper-tiny.en")
    assert STUDENTS.folder(tmp_path) is None
    with pytest.raises(CheckpointError, match="no MCED student 'nowhere'"):
        STUDENTS.find("nowhere")
    loaded = STUDENTS.load(on_tiny)
    other = student(loaded.model.config, seed=1)
    STUDENTS.save(tmp_path / "b" / "tiny-student", other, loaded.sidecar)
    second = MCEDVoice(STUDENTS.load(tmp_path / "b" / "tiny-student"), encoder_frames_spec(whisper_tiny)).spec
    assert (second.name, second.settings) == (spec.name, spec.settings)
    assert second.digest != spec.digest
    foreign = msgspec.structs.replace(loaded.sidecar.inputs, digest="f" * 64)
    STUDENTS.save(tmp_path / "foreign", other, msgspec.structs.replace(loaded.sidecar, inputs=foreign))
    with pytest.raises(CheckpointError, match="was trained on .*ffffffff.* at hand"):
        MCEDVoice(STUDENTS.load(tmp_path / "foreign"), encoder_frames_spec(whisper_tiny))


def test_strides_keep_clips_apart() -> None:
    """Every mixture of strides keeps real frames and padding apart."""
    for strides in itertools.product((1, 2, 3), repeat=2):
        made = student(dataclasses.replace(SMALL, strides=strides))
        frames = torch.zeros(2, 23, 6)
        frames[0, :10] = clips(10)[0]
        with torch.no_grad():
            padded = made(frames, torch.tensor([10, 23])).logits[0]
            alone = made(frames[:1, :10], torch.tensor([10])).logits[0]
        torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)
