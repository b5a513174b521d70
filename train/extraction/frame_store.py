"""The store of frame sequences, which models read that are trained on sequences: frames by the digest of their clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from core_models.feature_spec import FeatureSpec
from train.extraction.shards import open_shards, spec_digest, write_shard

# Settings by which a network's states are known.
NETWORK_SETTINGS = {"whisper", "hubert", "base"}
# What a killed extraction may lose: some ten seconds of a Whisper on two cores.
CLIPS_A_SHARD = 64


class FrameStore:
    """Frames of one spec by the digest of their clip; read from disk when asked for, so memory stays flat.

    What a network made is kept in float16, descriptors, which run into the millions, in float32.
    """

    def __init__(self, root: Path, spec: FeatureSpec) -> None:
        """Open, or begin, the store of `spec` under `root`; shards that cannot be read are done without. DiskError."""
        self.spec = spec
        self.folder = root / f"frames-{spec.name}-{spec_digest(spec)[:12]}"
        # Float16 halves the folder (a second of Whisper base is then 51 kB) and keeps three digits of a network's
        # states, which are small numbers.
        self._dtype = np.float16 if NETWORK_SETTINGS & set(spec.settings) else np.float32
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._open: dict[Path, Any] = {}
        self._pending: dict[str, NDArray[Any]] = {}
        for path in open_shards(self.folder):
            self._read_shard(path)

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._pending

    def length(self, key: str) -> int:
        """Frames of the clip; KeyError where it was never put."""
        return len(self._pending[key]) if key in self._pending else self._places[key][2]

    def __getitem__(self, key: str) -> NDArray[np.float32]:
        """float32 [T, dimension]; KeyError where it was never put."""
        if key in self._pending:
            return self._pending[key].astype(np.float32)
        path, start, length = self._places[key]
        frames: NDArray[np.float32] = self._open[path][start : start + length].astype(np.float32)
        return frames

    def put(self, key: str, frames: NDArray[np.float32]) -> None:
        """Keep `frames` [T, dimension]; they are on disk once their shard is full or `flush` was called."""
        if frames.ndim != 2 or frames.shape[1] != self.spec.dimension or not len(frames):
            raise ValueError(f"{frames.shape} are no frames of {self.spec.describe()}")
        self._pending[key] = frames.astype(self._dtype)
        if len(self._pending) >= CLIPS_A_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard, atomically. Raises DiskError."""
        if not self._pending:
            return
        clips = {key: len(frames) for key, frames in self._pending.items()}
        joined = np.concatenate(list(self._pending.values()))
        path = write_shard(self.folder, {"frames": joined}, {"clips": json.dumps(clips)})
        self._pending.clear()
        self._read_shard(path)

    def _read_shard(self, path: Path) -> None:
        try:
            shard: Any = safe_open(path, "numpy")
            frames = shard.get_slice("frames")
            clips: dict[str, int] = json.loads((shard.metadata() or {})["clips"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return
        if frames.get_shape() != [sum(clips.values()), self.spec.dimension]:
            return
        self._open[path] = frames
        start = 0
        for key, length in clips.items():
            self._places[key] = path, start, length
            start += length
