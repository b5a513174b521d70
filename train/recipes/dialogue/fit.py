"""Trains a dialogue model: `python -m train fit --config configs/train/...`."""

from __future__ import annotations

import json
import shutil
import statistics
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from rich.console import Console

from core_models.atomic_write import require_writable, write_atomically
from core_models.errors import DiskError
from train.data.clip_pairing import pair_clips
from train.data.compatibility import require_labels
from train.data.corpus_parts import read_corpora, split_corpora
from train.data.data_module import make_tensors
from train.data.feature_vectors import extract_features
from train.loop.accelerator import open_fabric
from train.loop.failures import Diverged, OutOfMemory
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.export_checkpoint import export
from train.recipes.dialogue.systems import system
from train.recipes.dialogue.training import DialogueTraining
from train.recipes.dialogue.warm_start import config_of, open_start


def fit(config: FitConfig) -> Path:
    """Train, once or with each seed, write the checkpoint, and return its folder.

    The checkpoint is that of the pass, and of the seed, with the best score on what `select_on` names. A corpus's
    other parts are not looked at: `python -m train eval` does that. Raises UsageError, Diverged, OutOfMemory,
    DiskError; whatever ends a run, its last finished pass can be resumed, and its best one so far is exported.
    """
    fabric = open_fabric(config.device, config.precision, config.threads, config.devices)
    console = Console(stderr=True, quiet=not fabric.is_global_zero)
    folder = config.out or config.folder / "checkpoint"
    if fabric.is_global_zero:
        require_writable([config.folder, folder])
    if not config.seeds:
        _fit_one(config, folder, fabric, console)
    else:
        _fit_each(config, folder, fabric, console)
    console.print(f"checkpoint: {folder}", highlight=False, soft_wrap=True)
    return folder


def _fit_one(config: FitConfig, folder: Path, fabric: Fabric, console: Console) -> DialogueTraining:
    start = None if config.start is None else open_start(config.start, config.system)
    model = system(config.system).probe_config(config.model) if start is None else config_of(start, config.model)
    # It fills the feature store, the others read it.
    with fabric.rank_zero_first():
        corpora = read_corpora(config.data, config.features, config.select_on)
        parts = split_corpora(corpora, config.data, config.select_on)
        require_labels(start, parts.dialogues[0].labels)
        found = extract_features(parts, config.features, config.data.store, start)
        banks = pair_clips(parts, found, config.mixture.mismatch)
        material = make_tensors(
            parts,
            found,
            banks,
            config.mixture,
            slots=model.speakers,
            window=model.window,
            seed=config.seed,
            select_on=config.select_on,
        )
    console.print(material.describe(), highlight=False, soft_wrap=True)
    run = DialogueTraining(config, material, fabric, console, start)
    try:
        run.fit()
    except (KeyboardInterrupt, Diverged, OutOfMemory) as ended:
        if run.trainer.progress.best_epoch and fabric.is_global_zero:
            # What the user reads is why the run ended, not why its checkpoint could not be written as well.
            with suppress(Exception):
                run.trainer.restore_best()
                export(run, config.folder / "checkpoint", ended=type(ended).__name__)
        raise
    if fabric.is_global_zero:
        export(run, folder)
    fabric.barrier()
    return run


def _fit_each(config: FitConfig, folder: Path, fabric: Fabric, console: Console) -> None:
    place = config.folder
    selected: dict[int, float] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    for seed in config.seeds:
        console.print(f"seed {seed}", style="bold", highlight=False, soft_wrap=True)
        one = replace(config, name=f"{config.name}/seed{seed}", seed=seed, seeds=(), out=None)
        run = _fit_one(one, one.folder / "checkpoint", fabric, console)
        selected[seed] = run.trainer.progress.best
        for pattern, score in run.validate().items():
            for name in ("weighted_f1", "macro_f1", "accuracy", "uar"):
                scores.setdefault(pattern, {}).setdefault(name, []).append(getattr(score, name))
    if not fabric.is_global_zero:
        return
    best = max(selected, key=lambda seed: selected[seed])
    summary: dict[str, Any] = {
        "seeds": list(config.seeds),
        "select_on": config.select_on,
        "best_seed": best,
        "selection": _summarize_values(list(selected.values())),
        config.select_on: {p: {n: _summarize_values(values) for n, values in by.items()} for p, by in scores.items()},
    }
    write_atomically(place / "summary.json", lambda path: path.write_text(json.dumps(summary, indent=1) + "\n"))
    try:
        shutil.copytree(place / f"seed{best}" / "checkpoint", folder, dirs_exist_ok=True)
    except OSError as error:
        raise DiskError(f"The checkpoint cannot be copied to {folder} ({error}): free space there.") from None
    for pattern, by in summary[config.select_on].items():
        f1 = by["weighted_f1"]
        console.print(
            f"{pattern}: {config.select_on} weighted F1 {100 * f1['mean']:.1f} +- {100 * f1['deviation']:.1f} over "
            f"{len(config.seeds)} seeds",
            highlight=False,
            soft_wrap=True,
        )


def _summarize_values(values: list[float]) -> dict[str, Any]:
    """Mean, sample deviation (0 of a single value), and the values themselves."""
    # A single seed has no deviation, and JSON no NaN.
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": values}
