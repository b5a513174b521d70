"""Whose voice it is, by ECAPA-TDNN (Desplanques et al., ECAPA-TDNN: Emphasized Channel Attention, Propagation and
Aggregation in TDNN Based Speaker Verification, Interspeech 2020): TDFNet's speaker features.

No package of the registry carries its weights: fetch `embedding_model.ckpt` of speechbrain/spkrec-ecapa-voxceleb from
the hub into a folder. Its tensors alone are read, by speechbrain's names, and speechbrain itself, whose YAML builds
whatever a stranger writes into it, is not needed.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import WeightsError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.torch_threads import torch_threads

VERSION = 1
SAMPLE_RATE = 16_000
# speechbrain's features of this network: 25 ms every 10 ms, 80 banks.
WINDOW, HOP, BANKS = 400, 160, 80
WEIGHTS = "embedding_model.ckpt"

# Samples below which a clip is filled up with silence, as for CAM++.
_SHORTEST = 1600
# How far below the loudest bank the quietest may lie.
_QUIETEST_DB = 80.0


class Ecapa:
    """Samples -> the speaker's vector, float32 [192]. WeightsError for a folder that holds no such weights."""

    spec: FeatureSpec

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        try:
            self._weights: dict[str, Tensor] = torch.load(folder / WEIGHTS, weights_only=True, map_location="cpu")
            dimension = len(self._weights["fc.conv.weight"])
            with torch.inference_mode():
                self._run_network(torch.zeros(1, BANKS, 20))
        except (OSError, RuntimeError, UnpicklingError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(
                f"{folder} holds no ECAPA that can be read ({type(error).__name__}): expected speechbrain's {WEIGHTS}, "
                "which is to be fetched from the hub."
            ) from None
        self._threads = threads
        self.spec = FeatureSpec(
            modality="speaker",
            name=folder.name,
            version=VERSION,
            dimension=dimension,
            digest=tensors_digest((name, tensor.numpy()) for name, tensor in self._weights.items()),
            settings={"speaker": folder.name, "banks": BANKS},
        )

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector of mono samples in [-1, 1], float32 [n] at 16 kHz."""
        sound = torch.from_numpy(np.array(samples, dtype=np.float32))
        sound = F.pad(sound, (0, max(0, _SHORTEST - len(sound))))
        with torch_threads(self._threads), torch.inference_mode():
            banks = mel_decibels(sound)
            vector: NDArray[np.float32] = self._run_network((banks - banks.mean(dim=0)).T[None])[0].numpy()
        return vector

    def _run_network(self, x: Tensor) -> Tensor:
        """[1, 192] of banks [1, 80, T] that are free of their mean over time (figure 2)."""
        x = self._run_tdnn(x, "blocks.0")
        found = []
        for block, dilation in ((1, 2), (2, 3), (3, 4)):
            x = x + self._squeeze_excite(self._run_res2net(x, f"blocks.{block}", dilation), f"blocks.{block}.se_block")
            found.append(x)
        x = self._run_tdnn(torch.cat(found, dim=1), "mfa")
        pooled = self._normalise_batch(self._pool_attentively(x)[..., None], "asp_bn.norm")
        return self._convolve_time(pooled, "fc.conv")[..., 0]

    def _run_res2net(self, x: Tensor, name: str, dilation: int) -> Tensor:
        """Eight groups of channels, each but the first convolved after adding what the one before gave."""
        first, *others = self._run_tdnn(x, f"{name}.tdnn1").chunk(8, dim=1)
        groups = [first]
        for number, group in enumerate(others):
            given = group if number == 0 else group + groups[-1]
            groups.append(self._run_tdnn(given, f"{name}.res2net_block.blocks.{number}", dilation))
        return self._run_tdnn(torch.cat(groups, dim=1), f"{name}.tdnn2")

    def _squeeze_excite(self, x: Tensor, name: str) -> Tensor:
        """Channels weighed by their means over time (eq. 4 to 6)."""
        means = self._convolve_time(x.mean(dim=-1, keepdim=True), f"{name}.conv1.conv").relu()
        return x * self._convolve_time(means, f"{name}.conv2.conv").sigmoid()

    def _pool_attentively(self, x: Tensor) -> Tensor:
        """[1, 2C]: mean and deviation over time, frames weighed for each channel (eq. 1 to 3, with global context)."""
        mean, deviation = _weighted_moments(x, torch.full_like(x, 1 / x.shape[-1]))
        context = torch.cat([x, *(part[..., None].expand_as(x) for part in (mean, deviation))], dim=1)
        scores = self._convolve_time(self._run_tdnn(context, "asp.tdnn").tanh(), "asp.conv.conv")
        return torch.cat(_weighted_moments(x, scores.softmax(dim=-1)), dim=1)

    def _run_tdnn(self, x: Tensor, name: str, dilation: int = 1) -> Tensor:
        return self._normalise_batch(self._convolve_time(x, f"{name}.conv.conv", dilation).relu(), f"{name}.norm.norm")

    def _convolve_time(self, x: Tensor, name: str, dilation: int = 1) -> Tensor:
        """Over time, as many frames as before; behind the ends the sound is mirrored."""
        weight = self._weights[f"{name}.weight"]
        margin = dilation * (weight.shape[-1] - 1) // 2
        padded = F.pad(x, (margin, margin), mode="reflect") if margin else x
        return F.conv1d(padded, weight, self._weights[f"{name}.bias"], dilation=dilation)

    def _normalise_batch(self, x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            self._weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias)


def mel_decibels(samples: Tensor) -> Tensor:
    """float32 [n // HOP + 1, BANKS]: mel banks in decibels as speechbrain computes them, frames centred."""
    window = torch.hamming_window(WINDOW)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square().T  # [T, WINDOW / 2 + 1]
    banks = 10 * (power @ _mel_triangles()).clamp(min=1e-10).log10()
    return banks.clamp(min=float(banks.max()) - _QUIETEST_DB)


def is_ecapa(folder: Path) -> bool:
    """Whether the folder holds speechbrain's weights of an embedding model."""
    return (folder / WEIGHTS).is_file()


def _weighted_moments(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, deviation), [1, C] each, of x [1, C, T] under weights that sum to 1 over time."""
    mean = (weights * x).sum(dim=-1)
    variance = (weights * (x - mean[..., None]).square()).sum(dim=-1)
    return mean, variance.clamp(min=1e-12).sqrt()


@lru_cache(maxsize=1)
def _mel_triangles() -> Tensor:
    """[WINDOW / 2 + 1, BANKS]: triangles around frequencies even on the mel scale, as wide on both sides."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = torch.from_numpy(700 * (10 ** (np.linspace(0, top, BANKS + 2) / 2595) - 1))
    bins = torch.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    slope = (bins[:, None] - hertz[1:-1]) / (hertz[1:-1] - hertz[:-2])
    return torch.minimum(slope + 1, 1 - slope).clamp(min=0.0).float()
