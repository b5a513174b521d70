"""Checkpoints: a folder with model.safetensors (float16) and sidecar.json, refused when anything is off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors

from core_models.command_line.close_names import suggest_name
from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.labels import LABEL_SETS
from core_models.networks.cmath import CMATH, CMATHConfig
from core_models.networks.sdt import SDT, SDTConfig
from core_models.networks.tdfnet import TDFNet, TDFNetConfig
from core_models.tensor_files import SIDECAR, check_finite, check_fit, to_float16, write_pair

# It rises when the code of before can no longer read a sidecar.
FORMAT = 1
WEIGHTS = Path(__file__).parent / "weights"
TENSORS = "model.safetensors"

Config = SDTConfig | CMATHConfig | TDFNetConfig
Model = SDT | CMATH | TDFNet

# `Sidecar.model` -> its configuration and its network.
MODELS: Mapping[str, tuple[type[Config], type[Model]]] = {
    "sdt": (SDTConfig, SDT),
    "cmath": (CMATHConfig, CMATH),
    "tdfnet": (TDFNetConfig, TDFNet),
}


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint must say of itself beside its tensors."""

    format: int = FORMAT
    """Number of this layout."""
    model: str
    """A key of MODELS."""
    config: dict[str, Any]
    """Fields of the model's configuration."""
    labels: str
    """Name of the label set, in the order of the model's classes."""
    features: dict[str, FeatureSpec]
    """Modality -> the feature that the model was trained on."""
    window: int
    """Utterances that an utterance sees, itself included; equals the configuration's."""
    temperature: dict[str, float] = {}
    """Modality pattern, such as "text+voice" -> the temperature that calibrates its logits."""
    abstain: float = 0.0
    """Confidence below which what the model says is uncertain, and a live run says so; 0 lets everything pass."""
    record: dict[str, Any] = {}
    """Training record."""


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to run, in evaluation mode and float32, with what is known of it."""

    name: str
    model: Model
    sidecar: Sidecar
    digest: str
    """SHA-256 over the stored tensors, by `tensors_digest`."""

    def require(self, specs: Mapping[str, FeatureSpec]) -> None:
        """Refuse features other than those of training: CheckpointError that names both.

        specs: modality -> the feature at hand. A modality of the checkpoint that is not at hand is merely
        missing, and one at hand that the checkpoint does not know is not used.
        """
        for modality, trained in self.sidecar.features.items():
            at_hand = specs.get(modality, trained)
            if at_hand != trained:
                raise CheckpointError(
                    f"Checkpoint {self.name} was trained on [{trained.describe()}], but the feature at hand "
                    f"is [{at_hand.describe()}]; choose the models it was trained on, or another checkpoint."
                )


def sidecar_config(config: Config) -> dict[str, Any]:
    """`config` as the plain dict that `Sidecar.config` holds."""
    return asdict(config)


def save(folder: Path, model: Model, sidecar: Sidecar) -> None:
    """Write `model` (as float16) and `sidecar` into `folder`, each file whole or not at all.

    CheckpointError when the two do not fit each other or a weight is too large for float16; DiskError when
    the folder cannot be written.
    """
    name = folder.name
    if _build_config(name, sidecar) != model.config:
        raise CheckpointError(
            f"Checkpoint {name} is not the model that its sidecar describes; save it with that model's config."
        )
    tensors = to_float16(model.state_dict())
    check_finite(f"Checkpoint {name}", tensors)
    try:
        write_pair(folder, TENSORS, tensors, sidecar)
    except OSError as error:
        raise DiskError(
            f"Checkpoint {name} cannot be written to {folder} ({error.strerror}); free space or name another folder."
        ) from error


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """The checkpoint of that name (a folder that ships in core_models/weights) or in that folder.

    `device` may be "auto": a GPU where torch sees one. Every failure is a CheckpointError of one sentence,
    but for a `device` that is not there: UsageError.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = locate(name_or_path)
    name = folder.name
    if not (folder / TENSORS).is_file() and (others := sorted(folder.glob("*.safetensors"))):
        raise CheckpointError(
            f"{name} holds {others[0].name} and no {TENSORS}, so it is not a dialogue model: "
            f"give the folder of one, or a name that ships: {', '.join(shipped_checkpoints())}."
        )
    sidecar = _parse_sidecar(name, _read_files(folder / SIDECAR))
    config = _build_config(name, sidecar)
    try:
        tensors = parse_tensors(_read_files(folder / TENSORS))
    except SafetensorError as error:
        raise CheckpointError(
            f"Checkpoint {name}: {TENSORS} is damaged ({error}); fetch the checkpoint again."
        ) from error
    network: Callable[[Any], Model] = MODELS[sidecar.model][1]
    model = network(config)
    check_fit(f"Checkpoint {name}", tensors, model.state_dict())
    check_finite(f"Checkpoint {name}", tensors)
    digest = tensors_digest((key, value.numpy()) for key, value in tensors.items())
    model.load_state_dict(tensors)  # float16 is widened to the parameters' float32
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"Device {device} cannot be used; choose cpu, or cuda where torch sees a GPU.") from error
    return Checkpoint(name, model.eval().requires_grad_(False), sidecar, digest)


def locate(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint by name or path; CheckpointError names those that ship when there is none."""
    shipped = WEIGHTS / name_or_path
    named = isinstance(name_or_path, str) and Path(name_or_path).name == name_or_path
    folder = shipped if named and shipped.is_dir() else Path(name_or_path)
    if not folder.is_dir():
        known = shipped_checkpoints()
        raise CheckpointError(
            f"There is no checkpoint {name_or_path}.{suggest_name(str(name_or_path), known)} Give a folder that holds "
            f"{TENSORS} and {SIDECAR}, or one of the names that ship: {', '.join(known) or 'none'}."
        )
    return folder.resolve()


def shipped_checkpoints() -> list[str]:
    """Names of the dialogue models under core_models/weights; adapters, heads and other networks lie beside them."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{TENSORS}"))


def _read_files(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"Checkpoint {path.parent.name}: {path.name} cannot be read ({error.strerror}); "
            f"a checkpoint is a folder with {TENSORS} and {SIDECAR}, fetch or train it again."
        ) from error


def _parse_sidecar(name: str, text: bytes) -> Sidecar:
    # The number first, in a struct of its own: a later layout may not fit today's Sidecar.
    try:
        number = msgspec.json.decode(text, type=_Numbered).format
        if number != FORMAT:
            raise CheckpointError(
                f"Checkpoint {name} has sidecar format {number}, this version reads {FORMAT}; "
                "update the program or choose another checkpoint."
            )
        return msgspec.json.decode(text, type=Sidecar)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"Checkpoint {name}: {SIDECAR} cannot be understood ({error}); fetch the checkpoint again."
        ) from error


class _Numbered(msgspec.Struct):
    format: int


def _build_config(name: str, sidecar: Sidecar) -> Config:
    """The model's configuration, once everything in the sidecar fits together."""

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"Checkpoint {name}: {what}; update the program or choose another checkpoint.")

    if sidecar.model not in MODELS:
        raise refuse(f"its model is {sidecar.model!r}, known are {', '.join(MODELS)}")
    kind = MODELS[sidecar.model][0]
    unknown = sorted(set(sidecar.config) - {field.name for field in fields(kind)})
    if unknown:
        raise refuse(f"its configuration has the unknown key {unknown[0]!r}")
    try:
        config = msgspec.convert(sidecar.config, kind)
    except (msgspec.ValidationError, UsageError) as error:
        raise refuse(f"its configuration does not work ({str(error).rstrip('.')})") from error
    if sidecar.labels not in LABEL_SETS:
        raise refuse(f"its label set is {sidecar.labels!r}, known are {', '.join(LABEL_SETS)}")
    if len(LABEL_SETS[sidecar.labels]) != config.classes:
        raise refuse(f"it has {config.classes} classes, its label set {sidecar.labels} has another number")
    if sidecar.window != config.window:
        raise refuse(f"its sidecar says window {sidecar.window}, its configuration {config.window}")
    widths = {modality: spec.dimension for modality, spec in sidecar.features.items()}
    if widths != config.dimensions:
        raise refuse(f"its features have dimensions {widths}, its configuration {config.dimensions}")
    if not all(0 < value < math.inf for value in sidecar.temperature.values()):
        raise refuse(f"its temperatures {sidecar.temperature} are not all positive")
    if not 0 <= sidecar.abstain <= 1:
        raise refuse(f"it abstains below {sidecar.abstain}, which is no confidence")
    return config
