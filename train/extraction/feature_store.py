"""The feature store: vectors by the digest of what they were computed from, so that nothing is computed twice.

A store is a folder of safetensors shards; the header of a shard is its index. A shard appears whole or not at
all, under a name of its own, so a killed extraction loses its last unfinished shard and nothing else, and
several programs may fill one store.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core_models.errors import DiskError
from core_models.feature_spec import FeatureSpec
from train.media.content_digest import digest

SHARD = 128
"""Vectors a shard: what a kill may cost."""


def spec_digest(spec: FeatureSpec) -> str:
    """SHA-256 (hex) of the spec: of everything that changes the numbers."""
    return digest(msgspec.json.encode(spec, order="deterministic"))


class FeatureStore:
    """Vectors of one spec, float32 [dimension], by content digest; None where looking found nothing (no face)."""

    def __init__(self, root: Path, spec: FeatureSpec) -> None:
        """Open, or begin, the store of `spec` under `root`; shards that cannot be read are done without."""
        self.spec = spec
        self.folder = root / f"{spec.modality}-{spec.name}-{spec_digest(spec)[:12]}"
        self._vectors: dict[str, NDArray[np.float32] | None] = {}
        self._pending: dict[str, NDArray[np.float32] | None] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            described = self.folder / "spec.json"
            if not described.exists():
                described.write_bytes(msgspec.json.format(msgspec.json.encode(spec)) + b"\n")
        except OSError as error:
            raise DiskError(
                f"Features cannot be kept in {root} ({error.strerror}): set --store to a folder that can be written."
            ) from None
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path)

    def __contains__(self, key: str) -> bool:
        return key in self._vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, key: str) -> NDArray[np.float32] | None:
        """The vector of `key`, None where its extractor found nothing; KeyError where it was never computed."""
        return self._vectors[key]

    def put(self, key: str, vector: NDArray[np.float32] | None) -> None:
        """Keep `vector` [dimension]; it is on disk once its shard is full or `flush` was called."""
        if vector is not None and vector.shape != (self.spec.dimension,):
            raise ValueError(f"{vector.shape} is no vector of {self.spec.describe()}")
        self._vectors[key] = self._pending[key] = vector
        if len(self._pending) >= SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard, atomically. Raises DiskError."""
        if not self._pending:
            return
        found = [key for key, vector in self._pending.items() if vector is not None]
        rows = [vector for vector in self._pending.values() if vector is not None]
        stacked = np.stack(rows) if rows else np.zeros((0, self.spec.dimension), np.float32)
        absent = [key for key, vector in self._pending.items() if vector is None]
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        unfinished = path.with_suffix(".part")
        try:
            save_file(
                {"vectors": np.ascontiguousarray(stacked, dtype=np.float32)},
                unfinished,
                metadata={"found": json.dumps(found), "absent": json.dumps(absent)},
            )
            os.replace(unfinished, path)
        except (OSError, SafetensorError) as error:
            raise DiskError(
                f"Features cannot be written to {self.folder} ({error}): free space or set --store to another folder."
            ) from None
        self._pending.clear()

    def _read(self, path: Path) -> None:
        try:
            with safe_open(path, "numpy") as shard:
                header = shard.metadata() or {}
                vectors = shard.get_tensor("vectors")
            found, absent = json.loads(header["found"]), json.loads(header["absent"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return
        if vectors.shape == (len(found), self.spec.dimension):
            self._vectors |= dict(zip(found, vectors, strict=True)) | dict.fromkeys(absent)
