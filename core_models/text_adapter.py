"""Text adapters on disk: a folder with adapter.safetensors and sidecar.json, refused when anything is off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core_models.atomic_write import WAY_ON, reason_of
from core_models.checkpoint import WEIGHTS
from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.tensor_files import write_pair

ADAPTER = "adapter.safetensors"
MAX_TOKENS = 64


class AdapterSidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an adapter belongs to and how it came about (`sidecar.json` beside `adapter.safetensors`)."""

    format: int = 1
    base: str
    base_digest: str
    rank: int
    alpha: float
    targets: list[str]
    """Modules whose matrix the adapter changes by `lora_A` and `lora_B`."""
    deltas: list[str] = []
    """Vectors (biases, normalisations) to which it adds `NAME.delta`; adapters tuned by LoRA alone have none."""
    labels: str
    context: int = 0
    max_tokens: int = MAX_TOKENS
    record: dict[str, Any] = {}


def load_adapter(folder: Path) -> tuple[AdapterSidecar, dict[str, Tensor]]:
    """(sidecar, tensors) of an adapter folder; CheckpointError when a file is absent, broken or incomplete."""
    try:
        sidecar = msgspec.json.decode((folder / "sidecar.json").read_bytes(), type=AdapterSidecar)
        tensors = load_file(folder / ADAPTER)
    except (OSError, msgspec.MsgspecError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} is not a text adapter ({error}): expected sidecar.json and adapter.safetensors."
        ) from None
    expected = {f"{target}.{factor}" for target in sidecar.targets for factor in ("lora_A", "lora_B")}
    expected |= {f"{name}.delta" for name in sidecar.deltas}
    odd = sorted(expected ^ {name for name in tensors if not name.startswith("classifier.")})
    if odd:
        raise CheckpointError(
            f"{folder} is damaged: its tensors and its sidecar disagree about {odd[0]}; fetch it anew."
        )
    return sidecar, tensors


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], sidecar: AdapterSidecar) -> None:
    """Write an adapter's files to `folder`, each whole or not at all. Raises DiskError."""
    try:
        write_pair(folder, ADAPTER, tensors, sidecar)
    except OSError as error:
        raise DiskError(f"{folder} cannot be written ({reason_of(error)}): {WAY_ON}.") from None


def adapter_folder(adapter: str | None) -> Path | None:
    """The folder of a text adapter given by path or by its name under core_models/weights. Raises UsageError."""
    if adapter is None:
        return None
    for folder in (WEIGHTS / adapter, Path(adapter)):
        if folder.is_dir():
            return folder
    raise UsageError(
        f"There is no text adapter {adapter!r}: give a folder, or the name of one under core_models/weights."
    )
