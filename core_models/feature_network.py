"""Small networks behind a feature, on disk: a folder with tensors and a sidecar, refused when anything is off.

Voice heads, MCED students and expression networks are kinds of them. Checkpoints of dialogue models have more to say
of themselves (core_models/checkpoint.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import nn

from core_models.checkpoint import WEIGHTS
from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.labels import LABEL_SETS
from core_models.tensor_files import SIDECAR, check_finite, check_fit, to_float16, write_pair

FORMAT = 1

M = TypeVar("M", bound=nn.Module)


class NetworkSidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network must say of itself beside its tensors."""

    format: int = FORMAT
    """Number of this layout."""
    config: dict[str, Any]
    """Fields of the network's configuration."""
    labels: str
    """Name of the label set, in the order of the network's classes."""
    inputs: FeatureSpec
    """What it was trained on: frames of voices, or pictures and scores of faces."""
    record: dict[str, Any] = {}
    """Training record."""


@dataclass(frozen=True)
class LoadedNetwork(Generic[M]):
    """A network that is ready to run: evaluation mode, float32, on the CPU."""

    name: str
    folder: Path
    model: M
    sidecar: NetworkSidecar
    digest: str
    """SHA-256 over the stored tensors, by `tensors_digest`."""

    def require(self, at_hand: FeatureSpec) -> None:
        """Refuse inputs other than those of training (contract 1): CheckpointError that names both."""
        trained = self.sidecar.inputs
        if trained != at_hand:
            raise CheckpointError(
                f"{self.name} was trained on [{trained.describe()}], but at hand is [{at_hand.describe()}]; choose "
                "what it was trained on, or another network."
            )


@dataclass(frozen=True)
class FeatureNetworkKind(Generic[M]):
    """A kind of network: how it is called, stored and built."""

    noun: str
    """What messages call it."""
    tensors: str
    """File of its tensors, by which a folder is known to hold one."""
    config: type[Any]
    """Its configuration, a dataclass with `classes`."""
    network: Callable[[Any], M]
    """Builds it; what it builds keeps its `config`."""
    width: Callable[[Any], int]
    """Configuration -> numbers of what it is given: the dimension of `NetworkSidecar.inputs`."""
    made_by: str
    """Command that trains one."""
    whole: tuple[str, ...] = ()
    """Tensors that float16 cannot hold."""

    def sidecar(self, model: M, labels: str, inputs: FeatureSpec, record: dict[str, Any]) -> NetworkSidecar:
        """The sidecar of `model`."""
        return NetworkSidecar(config=asdict(_config_of(model)), labels=labels, inputs=inputs, record=record)

    def save(self, folder: Path, model: M, sidecar: NetworkSidecar) -> None:
        """Write `model` (float16, `whole` float32) and `sidecar`, each file whole or not at all.

        CheckpointError where the two do not fit each other or a weight is too large for float16; DiskError.
        """
        if self._build_config(folder.name, sidecar) != _config_of(model):
            raise CheckpointError(f"{folder.name} is not the {self.noun} of its sidecar; save it with its own.")
        tensors = to_float16(model.state_dict(), self.whole)
        check_finite(f"The {self.noun} {folder.name}", tensors)
        try:
            write_pair(folder, self.tensors, tensors, sidecar)
        except OSError as error:
            raise DiskError(
                f"The {self.noun} {folder.name} cannot be written to {folder} ({error.strerror}); free space or name "
                "another folder."
            ) from None

    def load(self, folder: Path) -> LoadedNetwork[M]:
        """The network in `folder`; every failure is a CheckpointError of one sentence."""
        folder = folder.resolve()
        try:
            sidecar = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=NetworkSidecar)
            tensors = parse_tensors((folder / self.tensors).read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder} holds no {self.noun} that can be read ({error}): expected {self.tensors} and {SIDECAR} as "
                f"`{self.made_by}` writes them; fetch or train it again."
            ) from None
        model, what = self.network(self._build_config(folder.name, sidecar)), f"The {self.noun} {folder.name}"
        check_fit(what, tensors, model.state_dict())
        check_finite(what, tensors)
        model.load_state_dict(tensors)  # float16 is widened to the parameters' float32
        digest = tensors_digest((key, value.numpy()) for key, value in tensors.items())
        return LoadedNetwork(folder.name, folder, model.eval().requires_grad_(False), sidecar, digest)

    def folder(self, name_or_path: str | Path) -> Path | None:
        """The folder of the one of that name under core_models/weights, or the one given; None where it holds none."""
        for folder in (WEIGHTS / name_or_path, Path(name_or_path)):
            if (folder / self.tensors).is_file():
                return folder
        return None

    def find(self, name_or_path: str | Path) -> LoadedNetwork[M]:
        """The one of that name under core_models/weights, or in that folder. Raises CheckpointError."""
        folder = self.folder(name_or_path)
        if folder is None:
            raise CheckpointError(
                f"There is no {self.noun} {str(name_or_path)!r}: put its folder under {WEIGHTS}, or choose another."
            )
        return self.load(folder)

    def _build_config(self, name: str, sidecar: NetworkSidecar) -> Any:
        def refuse(what: str) -> CheckpointError:
            return CheckpointError(f"The {self.noun} {name}: {what}; update the program or choose another.")

        if sidecar.format != FORMAT:
            raise refuse(f"it has sidecar format {sidecar.format}, this version reads {FORMAT}")
        try:
            config = msgspec.convert(sidecar.config, self.config)
        except (msgspec.ValidationError, UsageError) as error:
            raise refuse(f"its configuration does not work ({str(error).rstrip('.')})") from None
        if sidecar.labels not in LABEL_SETS or len(LABEL_SETS[sidecar.labels]) != config.classes:
            raise refuse(f"its {config.classes} classes are not those of a label set {sidecar.labels!r}")
        if sidecar.inputs.dimension != self.width(config):
            raise refuse(f"it takes {self.width(config)} numbers, its inputs have {sidecar.inputs.dimension}")
        return config


def _config_of(model: nn.Module) -> Any:
    return model.config
