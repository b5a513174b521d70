"""What a feature is: the description that a checkpoint records and a live run is held to (contract 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

# The order of modalities in every array, mask and gate of the project.
MODALITIES = ("text", "voice", "face")


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that changes the numbers of one modality's feature vector.

    `digest` is taken over the tensors of the network behind the feature (see `tensors_digest`), not
    over its file: two conversions of equal tensors differ as files. Compute type (int8, fp16, fp32)
    is not part of a spec; a test shows that they agree closely enough.
    """

    modality: str
    name: str
    version: int
    dimension: int
    digest: str
    settings: dict[str, str | int | float | bool] = {}

    def describe(self) -> str:
        """`voice whisper-base v1 1024-d 3f2a9c10 {context_min=500, ...}`: one line for messages."""
        settings = ", ".join(f"{k}={v}" for k, v in sorted(self.settings.items()))
        return f"{self.modality} {self.name} v{self.version} {self.dimension}-d {self.digest[:8]} {{{settings}}}"


def tensors_digest(tensors: Iterable[tuple[str, NDArray[np.generic]]]) -> str:
    """SHA-256 (hex) over the sorted (name, dtype, shape, little-endian bytes) of `tensors`."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        array = np.ascontiguousarray(tensor)
        sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()


def combined_digest(digests: Mapping[str, str]) -> str:
    """One digest over those of several networks, each by the part that it plays in the feature."""
    return tensors_digest((part, np.frombuffer(bytes.fromhex(digest), np.uint8)) for part, digest in digests.items())
