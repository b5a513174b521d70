"""MCED, stage after stage: `python -m train mced --config configs/train/mced_....yaml`.

The student is in core_models/networks/mced_student.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from core_models.errors import UsageError
from train.recipes.mced.distillation import DistilConfig, distil
from train.recipes.mced.fine_tuning import FinetuneConfig, finetune
from train.recipes.mced.seeds import finetune_each
from train.recipes.mced.teacher import TeacherConfig, fit_teacher


@dataclass(frozen=True, kw_only=True)
class MCEDConfig:
    """Which stage runs, and its options."""

    stage: Literal["teacher", "distil", "finetune"]
    """teacher (2.1), distil (2.2, 2.3) or finetune (3.3): each begins with what the one before wrote."""
    teacher: TeacherConfig | None = None
    """Of stage teacher."""
    distil: DistilConfig | None = None
    """Of stage distil."""
    finetune: FinetuneConfig | None = None
    """Of stage finetune."""


def fit_mced(config: MCEDConfig) -> None:
    """Run the stage. Raises UsageError, WeightsError, CheckpointError, Diverged, DiskError."""
    console = Console(stderr=True)
    if config.stage == "teacher" and config.teacher is not None:
        fit_teacher(config.teacher, console)
    elif config.stage == "distil" and config.distil is not None:
        distil(config.distil, console)
    elif config.stage == "finetune" and config.finetune is not None:
        if config.finetune.seeds:
            finetune_each(config.finetune, console)
        else:
            finetune(config.finetune, console)
    else:
        raise UsageError(f"Stage {config.stage} is not configured: give the key {config.stage} in the config.")
