"""A run that goes on from a checkpoint in place of random weights: `python -m train fit --start NAME|PATH`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_models.checkpoint import Checkpoint, load, sidecar_config
from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import MODALITIES
from core_models.features.registry import weights_of
from train.recipes.dialogue.systems import DECIDED_BY_DATA, system

# Labelled lines from which on a temperature is fitted anew rather than kept.
LEAST_LABELLED_FOR_CALIBRATION = 50


def open_start(name: str, system_name: str) -> Checkpoint:
    """The checkpoint of that name or in that folder. Raises CheckpointError, also for one of another system."""
    start = load(name)
    if start.sidecar.model != system_name:
        raise CheckpointError(
            f"Checkpoint {start.name}, the start, is a {start.sidecar.model}, but the run's system is {system_name}: "
            "choose its system, or another start."
        )
    return start


def settings_of(start: Checkpoint) -> dict[str, Any]:
    """Option of `fit` -> what it is in a run from `start`, for those that the checkpoint decides."""
    model = {f"model.{k}": v for k, v in sidecar_config(start.model.config).items() if k not in DECIDED_BY_DATA}
    specs = start.sidecar.features
    weights = {m: weights_of(specs[m]) if m in specs else None for m in MODALITIES}
    adapter = specs["text"].settings.get("adapter", "none") if "text" in specs else "none"
    return {
        **model,
        **{f"features.{modality}": name for modality, name in weights.items()},
        "features.adapter": None if adapter == "none" else adapter,
    }


def config_of(start: Checkpoint, given: Mapping[str, Any]) -> Any:
    """The configuration of `start`. Raises UsageError where fields `given` by a person contradict it."""
    config = start.model.config
    wanted = system(start.sidecar.model).model_config(given, config.dimensions, config.classes)
    for name in given:
        there, asked = getattr(config, name), getattr(wanted, name)
        if there != asked:
            raise UsageError(
                f"model.{name} is {asked}, but checkpoint {start.name}, the start, has {there}: leave it out, or "
                "train without a start."
            )
    return config


def calibrates(start: Checkpoint | None, corpus: str, labelled: int) -> bool:
    """Whether temperatures and the like are fitted on `labelled` held-out lines of `corpus`, or kept from `start`.

    What people corrected is what the model had wrong, so its confidence there says nothing of a whole call.
    """
    return start is None or (corpus != "corrections" and labelled >= LEAST_LABELLED_FOR_CALIBRATION)


def recorded(start: Checkpoint) -> dict[str, Any]:
    """The training record's entry for the checkpoint that a run started from."""
    record = start.sidecar.record
    learned = {*record.get("data", {}), *record.get("start", {}).get("corpora", ())}
    return {"name": start.name, "digest": start.digest, "corpora": sorted(learned)}
