"""Expression networks on disk: a folder with expression.safetensors and sidecar.json, refused when anything is off."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors

from core_models.checkpoint import WEIGHTS
from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.expression import ExpressionConfig, ExpressionNet
from core_models.features.spec import FeatureSpec, tensors_digest
from core_models.labels import LABEL_SETS

FORMAT = 1
TENSORS = "expression.safetensors"
SIDECAR = "sidecar.json"


class ExpressionSidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an expression network must say of itself beside its tensors."""

    format: int = FORMAT
    """Number of this layout."""
    config: dict[str, Any]
    """Fields of ExpressionConfig."""
    labels: str
    """Name of the label set, in the order of the network's classes."""
    faces: FeatureSpec
    """The pictures and scores of faces that it was trained on."""
    record: dict[str, Any] = {}
    """Training record."""


@dataclass(frozen=True)
class LoadedExpression:
    """A network that is ready to run: evaluation mode, float32, on the CPU."""

    name: str
    net: ExpressionNet
    sidecar: ExpressionSidecar
    digest: str
    """SHA-256 over the stored tensors, by `tensors_digest`."""


def save_expression(folder: Path, net: ExpressionNet, sidecar: ExpressionSidecar) -> None:
    """Write `net` in float16 and `sidecar`, each file whole or not at all. Raises CheckpointError, DiskError."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in net.state_dict().items()
    }
    if any(not torch.isfinite(value).all() for value in tensors.values()):
        raise CheckpointError(f"Expression network {folder.name} is not finite in float16: train it at a lower rate.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in ((TENSORS, format_tensors(tensors)), (SIDECAR, _json(sidecar))):
            part = folder / f"{name}.part"
            part.write_bytes(data)
            os.replace(part, folder / name)
    except OSError as error:
        raise DiskError(
            f"Expression network {folder.name} cannot be written to {folder} ({error.strerror}); free space or name "
            "another folder."
        ) from None


def expression_folder(name_or_path: str | Path) -> Path | None:
    """The folder of the network of that name under core_models/weights, or the one given; None where it holds none."""
    for folder in (WEIGHTS / name_or_path, Path(name_or_path)):
        if (folder / TENSORS).is_file():
            return folder
    return None


def load_expression(folder: Path) -> LoadedExpression:
    """The network in `folder`; every failure is a CheckpointError of one sentence."""
    name = folder.resolve().name
    try:
        sidecar = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=ExpressionSidecar)
        tensors = parse_tensors((folder / TENSORS).read_bytes())
        if sidecar.format != FORMAT:
            raise UsageError(f"sidecar format {sidecar.format}, this version reads {FORMAT}")
        net = ExpressionNet(msgspec.convert(sidecar.config, ExpressionConfig))
        if sidecar.labels not in LABEL_SETS or len(LABEL_SETS[sidecar.labels]) != net.config.classes:
            raise UsageError(f"{net.config.classes} classes are not those of a label set {sidecar.labels!r}")
        net.load_state_dict(tensors)
        if any(not torch.isfinite(value).all() for value in tensors.values()):
            raise UsageError("a tensor is not finite")
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, SafetensorError, RuntimeError, UsageError) as error:
        why = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder} holds no expression network that can be read ({why.rstrip('.')}): expected {TENSORS} and "
            f"{SIDECAR} as `python -m train face` writes them; fetch or train it again."
        ) from None
    digest = tensors_digest((key, value.numpy()) for key, value in tensors.items())
    return LoadedExpression(name, net.eval().requires_grad_(False), sidecar, digest)


def sidecar_of(net: ExpressionNet, labels: str, faces: FeatureSpec, record: dict[str, Any]) -> ExpressionSidecar:
    """The sidecar of `net`."""
    return ExpressionSidecar(config=asdict(net.config), labels=labels, faces=faces, record=record)


def _json(sidecar: ExpressionSidecar) -> bytes:
    return msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n"
