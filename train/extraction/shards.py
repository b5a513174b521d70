"""Folders of safetensors shards, into which several programs may write: the ground of both feature stores.

A shard appears whole or not at all, under a name of its own, so a killed extraction loses its last unfinished shard and
nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from core_models.atomic_write import write_atomically
from core_models.errors import DiskError
from core_models.feature_spec import FeatureSpec
from train.media.content_digest import digest_of

SUFFIX = ".safetensors"


def spec_digest(spec: FeatureSpec) -> str:
    """SHA-256 (hex) of the spec: of everything that changes the numbers."""
    return digest_of(msgspec.json.encode(spec, order="deterministic"))


def open_shards(folder: Path) -> list[Path]:
    """The shards in `folder`, which is made where it is not there. Raises DiskError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(
            f"Features cannot be kept in {folder.parent} ({error.strerror}): set --store to a folder that can be "
            "written."
        ) from None
    return sorted(folder.glob(f"*{SUFFIX}"))


def write_shard(folder: Path, tensors: Mapping[str, NDArray[np.generic]], header: Mapping[str, str]) -> Path:
    """A new shard of `tensors` under `header`. Raises DiskError."""
    # A name of its own: two programs that fill one folder never write the same file.
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    write_atomically(
        path,
        lambda unfinished: save_file(dict(tensors), unfinished, metadata=dict(header)),
        "free space or set --store to another folder",
    )
    return path
