"""Whose voice it is: CAM++ (Wang et al., CAM++: A Fast and Efficient Network for Speaker Verification Using
Context-Aware Masking, Interspeech 2023), trained on 200,000 speakers of Chinese and English.

Two vectors of one speaker have a high cosine, those of two speakers a low one. What is said and how hardly matters.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import WeightsError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.features.audio.filter_banks import BANKS, SAMPLE_RATE, log_mel_banks
from core_models.torch_threads import torch_threads

VERSION = 1
DIMENSION = 192
SHORTEST_SECONDS = 0.1

_PICKLED, _KEPT = "campplus_cn_en_common.pt", "campplus.safetensors"
# Number, layers and dilation of each densely connected block (section 3.1).
_DENSE = ((1, 12, 1), (2, 24, 2), (3, 16, 2))
# Weights and statistics in all.
_TENSORS = 815
# Frames that share one mask of the context (section 3.2): two seconds.
_SEGMENT = 100


class SpeakerVector:
    """Samples -> the speaker's vector, float32 [192], not normalised to a length.

    `folder` is what `core_models.assets` fetches as campplus: the weights are read from its pickle once, tensors
    alone, and kept beside it as safetensors. WeightsError where they are not there or not CAM++'s.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._weights = _load_weights(folder)
        self._threads = threads
        self.spec = FeatureSpec(
            modality="speaker",
            name="campplus",
            version=VERSION,
            dimension=DIMENSION,
            digest=tensors_digest((name, tensor.numpy()) for name, tensor in self._weights.items()),
            settings={"speaker": folder.name, "banks": BANKS},
        )

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector of mono samples in [-1, 1], float32 [n] at 16 kHz; below 0.1 s they are filled up with silence."""
        sound = torch.from_numpy(np.array(samples, dtype=np.float32))
        sound = F.pad(sound, (0, max(0, round(SHORTEST_SECONDS * SAMPLE_RATE) - len(sound))))
        with torch_threads(self._threads), torch.inference_mode():
            banks = log_mel_banks(sound)
            vector: NDArray[np.float32] = self._run_network(banks - banks.mean(dim=0))[0].numpy()
        return vector

    def _run_network(self, banks: Tensor) -> Tensor:
        """[1, 192] of banks [T, 80] that are free of their mean over time."""
        x = self._run_front(banks.T[None, None])  # [1, 32, 10, T]
        x = F.conv1d(x.flatten(1, 2), self._weights["xvector.tdnn.linear.weight"], stride=2, padding=2)
        x = self._normalise_batch(x, "xvector.tdnn.nonlinear.batchnorm").relu()  # [1, 128, T / 2]
        for number, layers, dilation in _DENSE:
            for layer in range(1, layers + 1):
                x = torch.cat([x, self._run_dense_layer(x, f"xvector.block{number}.tdnnd{layer}", dilation)], dim=1)
            x = self._normalise_batch(x, f"xvector.transit{number}.nonlinear.batchnorm").relu()
            x = F.conv1d(x, self._weights[f"xvector.transit{number}.linear.weight"])
        x = self._normalise_batch(x, "xvector.out_nonlinear.batchnorm").relu()
        pooled = torch.cat([x.mean(dim=-1), x.std(dim=-1)], dim=1)[..., None]
        return self._normalise_batch(
            F.conv1d(pooled, self._weights["xvector.dense.linear.weight"]), "xvector.dense.nonlinear.batchnorm"
        )[..., 0]

    def _run_front(self, x: Tensor) -> Tensor:
        """The convolutions over frequency and time that precede the D-TDNN: three halvings of the frequency."""
        x = self._normalise_batch(F.conv2d(x, self._weights["head.conv1.weight"], padding=1), "head.bn1").relu()
        for block, stride in (("layer1.0", 2), ("layer1.1", 1), ("layer2.0", 2), ("layer2.1", 1)):
            name = f"head.{block}"
            y = F.conv2d(x, self._weights[f"{name}.conv1.weight"], stride=(stride, 1), padding=1)
            y = self._normalise_batch(y, f"{name}.bn1").relu()
            y = self._normalise_batch(F.conv2d(y, self._weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride > 1:
                x = F.conv2d(x, self._weights[f"{name}.shortcut.0.weight"], stride=(stride, 1))
                x = self._normalise_batch(x, f"{name}.shortcut.1")
            x = (x + y).relu()
        return self._normalise_batch(
            F.conv2d(x, self._weights["head.conv2.weight"], stride=(2, 1), padding=1), "head.bn2"
        ).relu()

    def _run_dense_layer(self, x: Tensor, name: str, dilation: int) -> Tensor:
        """[1, 32, T]: a layer of a D-TDNN, masked by its context (eq. 1 to 5)."""
        x = self._normalise_batch(x, f"{name}.nonlinear1.batchnorm").relu()
        x = self._normalise_batch(
            F.conv1d(x, self._weights[f"{name}.linear1.weight"]), f"{name}.nonlinear2.batchnorm"
        ).relu()
        local = F.conv1d(x, self._weights[f"{name}.cam_layer.linear_local.weight"], padding=dilation, dilation=dilation)
        segments = F.avg_pool1d(x, _SEGMENT, ceil_mode=True)
        context = x.mean(dim=-1, keepdim=True) + segments.repeat_interleave(_SEGMENT, dim=-1)[..., : x.shape[-1]]
        for linear, then in (("linear1", torch.relu), ("linear2", torch.sigmoid)):
            at = f"{name}.cam_layer.{linear}"
            context = then(F.conv1d(context, self._weights[f"{at}.weight"], self._weights[f"{at}.bias"]))
        return local * context

    def _normalise_batch(self, x: Tensor, name: str) -> Tensor:
        mean, variance = (self._weights[f"{name}.running_{part}"] for part in ("mean", "var"))
        weight, bias = (self._weights.get(f"{name}.{part}") for part in ("weight", "bias"))
        return F.batch_norm(x, mean, variance, weight, bias)


def _load_weights(folder: Path) -> dict[str, Tensor]:
    kept, pickled = folder / _KEPT, folder / _PICKLED
    try:
        if kept.is_file():
            return _check_weights(load_file(kept))
        tensors = torch.load(pickled, weights_only=True, map_location="cpu")
        weights = _check_weights(
            {n: tensor.contiguous() for n, tensor in tensors.items() if tensor.is_floating_point()}
        )
    except (OSError, RuntimeError, UnpicklingError, SafetensorError, AttributeError, ValueError) as error:
        raise WeightsError(
            f"{folder} holds no CAM++ that can be read ({type(error).__name__}): expected {_PICKLED}; "
            "run `python -m core_models.assets fetch campplus`."
        ) from None
    # A folder that cannot be written is read from its pickle every time.
    with suppress(OSError, SafetensorError):
        unfinished = folder / f".{os.getpid()}.{_KEPT}"
        save_file(weights, unfinished)
        os.replace(unfinished, kept)
    return weights


def _check_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, once a shape at each end of the network is right. Raises ValueError."""
    shapes = {"head.conv1.weight": (32, 1, 3, 3), "xvector.dense.linear.weight": (DIMENSION, 1024, 1)}
    if len(weights) != _TENSORS or any(weights[n].shape != shape for n, shape in shapes.items() if n in weights):
        raise ValueError("tensors of another network")
    return weights
