"""MCED students on disk: a folder with student.safetensors and sidecar.json, refused when anything is off."""

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
from torch import Tensor

from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.features.spec import FeatureSpec, tensors_digest
from core_models.labels import LABEL_SETS
from core_models.mced import Student, StudentConfig

FORMAT = 1
TENSORS = "student.safetensors"
SIDECAR = "sidecar.json"
_WHOLE = ("mean", "deviation")
"""Statistics of the frames: descriptors of openSMILE run into the millions, beyond float16."""


class StudentSidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a student must say of itself beside its tensors."""

    format: int = FORMAT
    """Number of this layout."""
    config: dict[str, Any]
    """Fields of StudentConfig."""
    labels: str
    """Name of the label set, in the order of the student's classes."""
    frames: FeatureSpec
    """The frames that it hears."""
    record: dict[str, Any] = {}
    """Training record."""


@dataclass(frozen=True)
class LoadedStudent:
    """A student that is ready to run: evaluation mode, float32, on the CPU."""

    name: str
    model: Student
    sidecar: StudentSidecar
    digest: str
    """SHA-256 over the stored tensors, by `tensors_digest`."""


def save_student(folder: Path, model: Student, sidecar: StudentSidecar) -> None:
    """Write `model` (float16, the statistics of its frames float32) and `sidecar`, each file whole or not at all.

    CheckpointError where the two do not fit each other or a weight is too large for float16; DiskError.
    """
    if _config(folder.name, sidecar) != model.config:
        raise CheckpointError(f"Student {folder.name} is not the model of its sidecar; save it with its own.")
    tensors = {
        name: (value.float() if name in _WHOLE else value.half()).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    _check_finite(folder.name, tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / TENSORS, format_tensors(tensors))
        _write(folder / SIDECAR, msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n")
    except OSError as error:
        raise DiskError(
            f"Student {folder.name} cannot be written to {folder} ({error.strerror}); free space or name another."
        ) from None


def load_student(folder: Path) -> LoadedStudent:
    """The student in `folder`; every failure is a CheckpointError of one sentence."""
    name = folder.resolve().name
    try:
        sidecar = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=StudentSidecar)
        tensors = parse_tensors((folder / TENSORS).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} holds no MCED student that can be read ({error}): expected {TENSORS} and {SIDECAR} as "
            "`python -m train mced` writes them; fetch or train it again."
        ) from None
    model = Student(_config(name, sidecar))
    expected = model.state_dict()
    for key in sorted(tensors.keys() | expected.keys()):
        found, wanted = (tuple(t[key].shape) if key in t else "none" for t in (tensors, expected))
        if found != wanted:
            raise CheckpointError(
                f"Student {name}: tensor {key} has shape {found}, its configuration asks for {wanted}; "
                f"{TENSORS} and {SIDECAR} do not belong together, fetch it again."
            )
    _check_finite(name, tensors)
    model.load_state_dict(tensors)
    digest = tensors_digest((key, value.numpy()) for key, value in tensors.items())
    return LoadedStudent(name, model.eval().requires_grad_(False), sidecar, digest)


def sidecar_of(model: Student, labels: str, frames: FeatureSpec, record: dict[str, Any]) -> StudentSidecar:
    """The sidecar of `model`."""
    return StudentSidecar(config=asdict(model.config), labels=labels, frames=frames, record=record)


def _config(name: str, sidecar: StudentSidecar) -> StudentConfig:
    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"Student {name}: {what}; update the program or choose another student.")

    if sidecar.format != FORMAT:
        raise refuse(f"it has sidecar format {sidecar.format}, this version reads {FORMAT}")
    try:
        config = msgspec.convert(sidecar.config, StudentConfig)
    except (msgspec.ValidationError, UsageError) as error:
        raise refuse(f"its configuration does not work ({str(error).rstrip('.')})") from None
    if sidecar.labels not in LABEL_SETS or len(LABEL_SETS[sidecar.labels]) != config.classes:
        raise refuse(f"its {config.classes} classes are not those of a label set {sidecar.labels!r}")
    if sidecar.frames.dimension != config.inputs:
        raise refuse(f"it takes {config.inputs} numbers a frame, its frames have {sidecar.frames.dimension}")
    return config


def _check_finite(name: str, tensors: dict[str, Tensor]) -> None:
    for key, value in tensors.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"Student {name}: tensor {key} is not finite; train it again or fetch another.")


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
