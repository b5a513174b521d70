"""The feature store: vectors by the digest of what they were computed from, so that nothing is computed twice."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from core_models.feature_spec import FeatureSpec
from train.extraction.shards import open_shards, spec_digest, write_shard

# What a killed extraction may lose: seconds of a text encoder, a minute of a landmarker.
VECTORS_A_SHARD = 128


class FeatureStore:
    """Vectors of one spec, float32 [dimension], by content digest; None where looking found nothing (no face)."""

    def __init__(self, root: Path, spec: FeatureSpec) -> None:
        """Open, or begin, the store of `spec` under `root`; shards that cannot be read are done without. DiskError."""
        self.spec = spec
        self.folder = root / f"{spec.modality}-{spec.name}-{spec_digest(spec)[:12]}"
        self._vectors: dict[str, NDArray[np.float32] | None] = {}
        self._pending: dict[str, NDArray[np.float32] | None] = {}
        shards = open_shards(self.folder)
        described = self.folder / "spec.json"
        if not described.exists():
            # For people alone: where it cannot be written, neither can a shard, which says so.
            with suppress(OSError):
                described.write_bytes(msgspec.json.format(msgspec.json.encode(spec)) + b"\n")
        for path in shards:
            self._read_shard(path)

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
        if len(self._pending) >= VECTORS_A_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard, atomically. Raises DiskError."""
        if not self._pending:
            return
        found = [key for key, vector in self._pending.items() if vector is not None]
        rows = [vector for vector in self._pending.values() if vector is not None]
        stacked = np.stack(rows) if rows else np.zeros((0, self.spec.dimension), np.float32)
        absent = [key for key, vector in self._pending.items() if vector is None]
        write_shard(
            self.folder,
            {"vectors": np.ascontiguousarray(stacked, dtype=np.float32)},
            {"found": json.dumps(found), "absent": json.dumps(absent)},
        )
        self._pending.clear()

    def _read_shard(self, path: Path) -> None:
        try:
            with safe_open(path, "numpy") as shard:
                header = shard.metadata() or {}
                vectors = shard.get_tensor("vectors")
            found, absent = json.loads(header["found"]), json.loads(header["absent"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return
        if vectors.shape == (len(found), self.spec.dimension):
            # What was looked for and not found is kept too: a clip without a face would be searched again in every run.
            self._vectors |= dict(zip(found, vectors, strict=True)) | dict.fromkeys(absent)
