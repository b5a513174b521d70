"""Whose voice it is, by ECAPA-TDNN (Desplanques et al., 2020) as speechbrain has it: TDFNet's speaker features.

No package of the registry carries its weights: fetch `embedding_model.ckpt` of speechbrain/spkrec-ecapa-voxceleb from
the hub into a folder. The network is speechbrain's, which is an extra; its `from_hparams` is not used, since it builds
whatever a stranger's YAML names.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.errors import UsageError, WeightsError
from core_models.features.spec import FeatureSpec, tensors_digest

VERSION = 1
_WEIGHTS = "embedding_model.ckpt"
_BANKS = 80
_SHORTEST = 1600
"""Samples below which a clip is filled up with silence, as CAM++'s is."""


class Ecapa:
    """Samples -> the speaker's vector, float32 [192]. Raises UsageError without speechbrain, WeightsError."""

    spec: FeatureSpec

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        try:
            from speechbrain.lobes.features import Fbank
            from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
        except ImportError:
            raise UsageError(
                "ECAPA needs speechbrain, which is not installed: `pip install '.[speechbrain]'`, or use campplus."
            ) from None
        try:
            tensors = torch.load(folder / _WEIGHTS, weights_only=True, map_location="cpu")
            channels = len(tensors["blocks.0.conv.conv.weight"])
            self._network = ECAPA_TDNN(
                _BANKS,
                channels=[*[channels] * 4, len(tensors["mfa.conv.conv.weight"])],
                attention_channels=len(tensors["asp.tdnn.conv.conv.weight"]),
                se_channels=len(tensors["blocks.1.se_block.conv1.conv.weight"]),
                lin_neurons=len(tensors["fc.conv.weight"]),
            )
            self._network.load_state_dict(tensors)
        except (OSError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{folder} holds no ECAPA that can be read ({type(error).__name__}): expected speechbrain's "
                f"{_WEIGHTS}; fetch it from the hub."
            ) from None
        self._network.eval()
        self._banks = Fbank(n_mels=_BANKS)
        self._threads = threads
        self.spec = FeatureSpec(
            modality="speaker",
            name=folder.name,
            version=VERSION,
            dimension=len(tensors["fc.conv.weight"]),
            digest=tensors_digest((name, tensor.numpy()) for name, tensor in tensors.items()),
            settings={"speaker": folder.name, "banks": _BANKS},
        )

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector of mono samples in [-1, 1], float32 [n] at 16 kHz."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        sound = torch.from_numpy(np.array(samples, dtype=np.float32))
        sound = torch.nn.functional.pad(sound, (0, max(0, _SHORTEST - len(sound))))
        with torch.inference_mode():
            banks = self._banks(sound[None])
            vector: NDArray[np.float32] = self._network(banks - banks.mean(dim=1, keepdim=True))[0, 0].numpy()
        return vector


def is_ecapa(folder: Path) -> bool:
    """Whether the folder holds speechbrain's weights of an embedding model."""
    return (folder / _WEIGHTS).is_file()
