"""The dialogue models that `fit` can train: each paper's configuration, network and objective, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from torch import Tensor, nn

from core_models.checkpoint import MODELS
from core_models.command_line.close_names import suggest_name
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from train.losses.cmath import CMATHObjective
from train.losses.sdt import SDTObjective

# Fields of every model's configuration that nobody gives: the features and the label set decide them.
DECIDED_BY_DATA = ("dimensions", "classes")


class Losses(Protocol):
    """What an objective gives for a batch."""

    @property
    def total(self) -> Tensor:
        """Scalar, what training minimises."""

    def parts(self) -> dict[str, Tensor]:
        """The paper's terms by name, scalars, for the log."""


@dataclass(frozen=True)
class System:
    """One paper: what is trained, and by which objective."""

    name: str
    config: type[Any]
    """Dataclass of the network's shape."""
    network: type[nn.Module]
    """Built from its configuration."""
    objective: type[Any]
    """Dataclass of the objective's settings."""

    def model_config(self, given: Mapping[str, Any], dimensions: Mapping[str, int], classes: int) -> Any:
        """The configuration from fields `given` by a person and those that the data decide. Raises UsageError."""
        return self._build_options(self.config, "model", {**given, "dimensions": dict(dimensions), "classes": classes})

    def probe_config(self, given: Mapping[str, Any]) -> Any:
        """The configuration that checks `given` before any data are read: of one dimension for every modality, since
        some settings (SDT's Table IV, w/o intra-modal transformers) want two of them. Raises UsageError."""
        return self.model_config(given, dict.fromkeys(MODALITIES, 1), 2)

    def make_objective(self, given: Mapping[str, Any]) -> Any:
        """The objective from fields `given` by a person. Raises UsageError."""
        return self._build_options(self.objective, "objective", given)

    def _build_options(self, kind: type[Any], option: str, given: Mapping[str, Any]) -> Any:
        known = [f.name for f in dataclasses.fields(kind)]
        for name in given:
            if name not in known:
                shown = ", ".join(n for n in known if n not in DECIDED_BY_DATA)
                raise UsageError(f"{option}.{name} is no setting of {self.name}: choose from {shown}.")
        try:
            return msgspec.convert(dict(given), kind)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            raise UsageError(f"{option}.{where.rstrip('`')} of {self.name} is wrong: {what}; correct it.") from None


# TDFNet is missing here: it reads single utterances, and has a recipe of its own.
_OBJECTIVES: Mapping[str, type[Any]] = {"sdt": SDTObjective, "cmath": CMATHObjective}

SYSTEMS: Mapping[str, System] = {name: System(name, *MODELS[name], kind) for name, kind in _OBJECTIVES.items()}


def system(name: str) -> System:
    """The system of that name. Raises UsageError."""
    if name not in SYSTEMS:
        raise UsageError(f"system is {name!r}: choose from {', '.join(SYSTEMS)}.{suggest_name(name, SYSTEMS)}")
    return SYSTEMS[name]
