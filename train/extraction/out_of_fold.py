"""Out-of-fold predictions: log-posteriors for training clips from heads whose folds left their speakers out.

On clips that it has learned a head is surer than it ever is in a call, so nothing may be trained or measured on that.
The command that trains a voice head writes these predictions beside it, and every extraction reads them
(train/extraction/extractors.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from core_models.atomic_write import write_atomically
from core_models.errors import CheckpointError

# The name of before the module was renamed: voice folders that exist hold it.
FILE = "cross_fit.safetensors"
# Of a clip's digest, which are enough to know it by.
_KEY_BYTES = 8


def write_out_of_fold(folder: Path, predictions: Mapping[str, Tensor]) -> None:
    """Keep digest of a clip -> log-probabilities [C] beside the voice in `folder`. Raises DiskError."""
    keys = np.array([list(_short_key(key)) for key in predictions], np.uint8)
    rows: NDArray[np.float16] = np.stack([row.numpy() for row in predictions.values()]).astype(np.float16)
    write_atomically(folder / FILE, lambda path: save_file({"keys": keys, "log_probabilities": rows}, path))


def read_out_of_fold(folder: Path) -> dict[bytes, NDArray[np.float32]]:
    """First bytes of a clip's digest -> log-probabilities [C]; empty where the voice comes without. CheckpointError."""
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        tensors = load_file(path)
        keys, rows = tensors["keys"], tensors["log_probabilities"].astype(np.float32)
        return {key.tobytes(): row for key, row in zip(keys, rows, strict=True)}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): train the voice again, or remove the file and never train on its clips."
        ) from None


def find_out_of_fold(predictions: Mapping[bytes, NDArray[np.float32]], key: str) -> NDArray[np.float32] | None:
    """The log-probabilities of the clip with that digest; None where the voice was not trained on it."""
    return predictions.get(_short_key(key))


def _short_key(key: str) -> bytes:
    return bytes.fromhex(key)[:_KEY_BYTES]
