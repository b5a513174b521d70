"""A student fine-tuned once with each of several seeds, as the paper runs each model three times (section 3.3)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

from rich.console import Console

from core_models.atomic_write import write_atomically
from core_models.errors import DiskError, UsageError
from train.evaluation.results import mean_and_deviation
from train.recipes.mced.fine_tuning import FinetuneConfig, finetune


def finetune_each(config: FinetuneConfig, console: Console) -> dict[str, Any]:
    """Fine-tune with each seed under `config.run`/seedN, copy the best student to `config.out`, return the summary.

    A seed that is finished is read from its folder and not trained again. Raises UsageError, WeightsError,
    CheckpointError, Diverged, OutOfMemory, DiskError.
    """
    if len(set(config.seeds)) != len(config.seeds):
        raise UsageError(f"finetune.seeds are {list(config.seeds)}: expected each once.")
    scores: dict[int, float] = {}
    for seed in config.seeds:
        console.print(f"seed {seed}", style="bold", highlight=False)
        place = config.run / f"seed{seed}"
        schedule = replace(config.schedule, seed=seed)
        one = replace(config, seeds=(), run=place, out=place / "student", schedule=schedule)
        record = finetune(one, console)
        scores[seed] = float(record["epochs"][record["best_epoch"] - 1][config.select])
    best = max(scores, key=lambda seed: scores[seed])
    mean, deviation = mean_and_deviation(list(scores.values()))
    summary: dict[str, Any] = {
        "seeds": list(scores),
        "select": config.select,
        "best_seed": best,
        "validation": {"mean": mean, "deviation": deviation, "values": list(scores.values())},
    }
    write_atomically(config.run / "summary.json", lambda path: path.write_text(json.dumps(summary, indent=1) + "\n"))
    try:
        shutil.copytree(config.run / f"seed{best}" / "student", config.out, dirs_exist_ok=True)
    except OSError as error:
        raise DiskError(f"The student cannot be copied to {config.out} ({error}): free space there.") from None
    console.print(
        f"{config.out}: validation {config.select} {100 * mean:.1f} +- {100 * deviation:.1f} over {len(scores)} seeds",
        highlight=False,
    )
    return summary
