"""The settings that decide a run's result: what a resumed run must have in common with the one before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


def fingerprint(config: Any) -> dict[str, Any]:
    """The settings of a stage that decide its result, as plain values: without where things lie and what it runs on."""
    without = {"out", "run", "store", "root", "checkpoint_every", "device", "threads"}

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in without}
            return {name: plain(one) for name, one in fields.items()}
        if isinstance(value, dict):
            return {str(name): plain(one) for name, one in value.items() if name not in without}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return str(value) if isinstance(value, Path) else value

    settings: dict[str, Any] = plain(config)
    return settings
