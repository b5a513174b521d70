"""The settings that decide a run's result: what a resumed run must have in common with the one before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Options that decide nothing of the result: where things lie, and what they run on.
UNDECISIVE = frozenset({"out", "run", "store", "root", "checkpoint_every", "device", "threads", "resume", "seeds"})

# Settings that a run may change when it goes on: what one that diverged or ran out of memory must.
CHANGEABLE = frozenset({"lr", "batch", "clip", "epochs", "patience"})


def fingerprint(config: Any) -> dict[str, Any]:
    """The settings of a recipe that decide its result, as plain values."""

    def to_plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in UNDECISIVE}
            return {name: to_plain(one) for name, one in fields.items()}
        if isinstance(value, dict):
            return {str(name): to_plain(one) for name, one in value.items() if name not in UNDECISIVE}
        if isinstance(value, list | tuple):
            return [to_plain(one) for one in value]
        return str(value) if isinstance(value, Path) else value

    settings: dict[str, Any] = to_plain(config)
    return settings


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dotted name -> [old, new] of each setting that differs between two fingerprints; None stands for none."""
    before, after = _flatten_settings(old), _flatten_settings(new)
    names = sorted(before.keys() | after.keys())
    return {name: [before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)}


def _flatten_settings(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {name: value}
    parts = [_flatten_settings(one, f"{name}.{key}" if name else str(key)) for key, one in value.items()]
    return {key: one for part in parts for key, one in part.items()}
