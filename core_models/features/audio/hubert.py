"""Frames of sound by HuBERT (Hsu et al., 2021) in the hub's own format: TDFNet's audio embedding (section III-B).

No package of the registry carries its weights: fetch them from the hub (facebook/hubert-large-ls960-ft, 1024-d) into a
folder with config.json and model.safetensors. It is too slow to run beside a recogniser, so never live.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from core_models.errors import WeightsError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.torch_threads import torch_threads

VERSION = 1
# Samples that the convolutions need for one frame.
_SHORTEST = 400


class Hubert:
    """Samples to the last layer of HuBERT, 50 vectors a second. WeightsError for a folder that holds none."""

    rate = 50
    """Frames a second."""
    spec: FeatureSpec

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        from transformers.models.hubert.configuration_hubert import HubertConfig
        from transformers.models.hubert.modeling_hubert import HubertModel

        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
            self._network = HubertModel(HubertConfig(**settings)).eval()
            # A model that was fine-tuned keeps its encoder under a prefix, and a head beside it.
            found = {name.removeprefix("hubert."): tensor.float() for name, tensor in tensors.items()}
            expected = self._network.state_dict()
            # Saved before torch had parametrisations, the weight norm of the positions has other names.
            old = {"original0": "weight_g", "original1": "weight_v"}
            used = {}
            for name in expected:
                place, _, last = name.rpartition(".")
                twin = f"{place.removesuffix('.parametrizations.weight')}.{old.get(last, last)}"
                used[name] = found[name if name in found else twin]
            self._network.load_state_dict(used)
        except Exception as error:  # transformers and safetensors have errors of their own
            raise WeightsError(
                f"{folder} holds no HuBERT that can be read ({type(error).__name__}: {error}): expected config.json "
                "and model.safetensors as transformers writes them; fetch them from the hub."
            ) from None
        self._threads = threads
        self._normalise = settings.get("feat_extract_norm") == "layer"
        self.spec = FeatureSpec(
            modality="voice",
            name=folder.name,
            version=VERSION,
            dimension=int(settings["hidden_size"]),
            digest=tensors_digest((name, tensor.numpy()) for name, tensor in used.items()),
            settings={"hubert": folder.name, "normalised": self._normalise},
        )

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [T, dimension] of mono samples at 16 kHz."""
        sound = torch.from_numpy(np.array(samples, dtype=np.float32))
        # As the large models were trained: zero mean and unit variance a clip.
        if self._normalise:
            sound = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
        sound = torch.nn.functional.pad(sound, (0, max(0, _SHORTEST - len(sound))))
        with torch_threads(self._threads), torch.inference_mode():
            frames: NDArray[np.float32] = self._network(sound[None]).last_hidden_state[0].numpy()
        return frames


def is_hubert(folder: Path) -> bool:
    """Whether the folder's config.json says that it is HuBERT's."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get("model_type") == "hubert"
