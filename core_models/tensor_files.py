"""Tensors and what they say of themselves, as a pair of files: written whole or not at all, and checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from safetensors.torch import save as format_tensors
from torch import Tensor

from core_models.atomic_write import write_atomically
from core_models.errors import CheckpointError

SIDECAR = "sidecar.json"


def to_float16(tensors: Mapping[str, Tensor], whole: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """`tensors` on the CPU as they are stored: what floats in float16, but for those named in `whole` (float32)."""
    return {
        name: (value.float() if name in whole else value.half() if value.is_floating_point() else value)
        .cpu()
        .contiguous()
        for name, value in tensors.items()
    }


def write_pair(folder: Path, name: str, tensors: Mapping[str, Tensor], sidecar: msgspec.Struct) -> None:
    """Write `tensors` to the file `name` in `folder`, and `sidecar` beside it. Raises OSError, DiskError."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_file(folder / name, format_tensors(dict(tensors)))
    _write_file(folder / SIDECAR, msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n")


def check_fit(what: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """CheckpointError, which begins with `what`, for a tensor that is missing, unknown or of another shape."""
    for key in sorted(tensors.keys() | expected.keys()):
        found, wanted = (tuple(t[key].shape) if key in t else "none" for t in (tensors, expected))
        if found != wanted:
            raise CheckpointError(
                f"{what}: tensor {key} has shape {found}, its configuration asks for {wanted}; its tensors and its "
                f"{SIDECAR} do not belong together, fetch both again."
            )


def check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    """CheckpointError, which begins with `what`, for a tensor with numbers that are none."""
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{what}: tensor {key} is not finite; train it again or fetch another.")


def _write_file(path: Path, data: bytes) -> None:
    write_atomically(path, lambda unfinished: unfinished.write_bytes(data))
