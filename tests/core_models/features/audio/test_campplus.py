"""Speaker vectors: Kaldi's filter banks, CAM++ on real weights, and where they are kept."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.errors import WeightsError
from core_models.features.audio.campplus import DIMENSION, SpeakerVector
from core_models.features.audio.filter_banks import BANKS, log_mel_banks


@pytest.fixture(scope="module")
def speaker() -> SpeakerVector:
    """CAM++ as it is fetched."""
    return SpeakerVector(model_folder("campplus"))


def test_a_tone_is_loudest_in_its_bank() -> None:
    """A louder tone adds twice the logarithm of its gain everywhere, and a higher one moves to higher banks."""
    t = torch.arange(8000) / 16_000
    tones = {hz: log_mel_banks(0.1 * torch.sin(2 * torch.pi * hz * t)) for hz in (200, 1000, 4000)}
    assert all(banks.shape == ((8000 - 400) // 160 + 1, BANKS) for banks in tones.values())
    loudest = {hz: int(banks.mean(0).argmax()) for hz, banks in tones.items()}
    mel = {hz: 1127 * np.log1p(hz / 700) for hz in (20, 200, 1000, 4000, 8000)}
    for hz, bank in loudest.items():
        assert bank == pytest.approx((mel[hz] - mel[20]) / (mel[8000] - mel[20]) * 81 - 1, abs=1)
    noise = 10.0 * torch.randn(4000)
    torch.testing.assert_close(
        log_mel_banks(3 * noise) - log_mel_banks(noise),
        torch.full((23, BANKS), 2 * np.log(3)).float(),
        atol=1e-3,
        rtol=0,
    )


def test_a_constant_offset_is_not_heard() -> None:
    """Frames are freed of their mean, as Kaldi does it."""
    noise = 0.01 * torch.randn(4000)
    torch.testing.assert_close(log_mel_banks(noise + 0.5), log_mel_banks(noise), atol=0.05, rtol=0)


@pytest.mark.weights
def test_banks_and_vector_are_those_of_the_reference(
    speaker: SpeakerVector, librivox: list[tuple[str, NDArray[np.float32]]]
) -> None:
    """Banks of kaldi-native-fbank 1.22.5 and CAM++ as 3D-Speaker's program computes it, to the fourth digit.

    The numbers were written down once from both, over the first three seconds of the first clip.
    """
    samples = librivox[0][1][:48_000]
    banks = log_mel_banks(torch.from_numpy(samples))
    np.testing.assert_allclose(banks[[0, 100, 297], [0, 40, 79]], BANKS_GOLDEN, atol=1e-3)
    vector = speaker(samples)
    assert (vector.shape, vector.dtype) == ((DIMENSION,), np.float32)
    np.testing.assert_allclose(vector[:6], VECTOR_GOLDEN, atol=1e-3)


BANKS_GOLDEN = [-12.3212, -6.9388, -13.0191]
VECTOR_GOLDEN = [-1.2732, 0.6035, 1.1101, -0.1288, 0.4825, 0.3864]


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.weights
def test_one_voice_is_nearer_to_itself_than_to_another(
    speaker: SpeakerVector, librivox: list[tuple[str, NDArray[np.float32]]]
) -> None:
    """Two parts of one reading are closer than the reading and the same one spoken a fifth higher by another mouth."""
    first, second = (librivox[0][1][n * 32_000 : (n + 1) * 32_000] for n in (0, 1))
    at = np.arange(0, 31_999, 1.4)
    other = np.interp(at, np.arange(32_000), second).astype(np.float32)
    own, foreign = cosine(speaker(first), speaker(second)), cosine(speaker(first), speaker(other))
    assert own > 0.5 > foreign


@pytest.mark.weights
def test_loudness_does_not_matter_and_the_shortest_has_a_vector(
    speaker: SpeakerVector, librivox: list[tuple[str, NDArray[np.float32]]]
) -> None:
    """A tenth as loud is the same speaker; one sample and silence give finite vectors."""
    samples = librivox[0][1][:32_000]
    assert cosine(speaker(samples), speaker(0.1 * samples)) > 0.95
    for odd in (np.zeros(1, np.float32), np.zeros(16_000, np.float32), samples[:1600]):
        assert np.isfinite(speaker(odd)).all()


@pytest.mark.weights
def test_weights_are_kept_as_safetensors(speaker: SpeakerVector, tmp_path: Path) -> None:
    """The pickle is read once; from then on its tensors are read from safetensors, and the spec is the same."""
    pickled = model_folder("campplus") / "campplus_cn_en_common.pt"
    folder = tmp_path / "campplus"
    folder.mkdir()
    (folder / pickled.name).write_bytes(pickled.read_bytes())
    assert SpeakerVector(folder).spec == speaker.spec
    (folder / pickled.name).unlink()
    assert SpeakerVector(folder).spec == speaker.spec
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """No file, a pickle that would run code, tensors of another network: one sentence each."""
    with pytest.raises(WeightsError, match="no CAM\\+\\+"):
        SpeakerVector(tmp_path)
    torch.save({"run": itertools.count}, tmp_path / "campplus_cn_en_common.pt")
    with pytest.raises(WeightsError, match="no CAM\\+\\+"):
        SpeakerVector(tmp_path)
    torch.save({"head.conv1.weight": torch.zeros(3)}, tmp_path / "campplus_cn_en_common.pt")
    with pytest.raises(WeightsError, match="no CAM\\+\\+"):
        SpeakerVector(tmp_path)
