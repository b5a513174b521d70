"""Trains a dialogue model: `python -m train fit --config configs/train/...`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning_fabric import Fabric
from rich.console import Console

from core_models.checkpoint import Checkpoint
from core_models.errors import DiskError, UsageError
from train.engine import open_fabric
from train.export import export
from train.extractors import Features
from train.material import Data, gather
from train.mixture import MixtureOptions
from train.run import Diverged, OutOfMemory, Run, predict, whole_or_not_at_all
from train.start import config_of, open_start
from train.systems import system

__all__ = ["FitConfig", "fit", "predict"]

# Where things lie and what they run on decides nothing.
WITHOUT_EFFECT = ("runs", "export", "resume", "tensorboard", "device", "devices", "threads", "seeds")


@dataclass(frozen=True)
class FitConfig:
    """What `fit` trains, on what, and where the result goes."""

    data: Data
    """The corpora and how they are split."""
    model: dict[str, Any] = field(default_factory=dict)
    """Fields of the system's configuration but for dimensions and classes, which the data decide."""
    system: str = "sdt"
    """The paper whose network and objective are trained: sdt or cmath."""
    start: str | None = None
    """Checkpoint to go on from, by name or folder: weights, statistics, model, labels and features are its own, those
    of modalities that the data lack too. A pass is kept if it is better than the start."""
    name: str = "run"
    """Name of the run: its folder is runs/NAME."""
    features: Features = field(default_factory=Features)
    """The feature code, by the names of its weights."""
    mixture: MixtureOptions = field(default_factory=MixtureOptions)
    """How training dialogues are put together."""
    objective: dict[str, Any] = field(default_factory=dict)
    """Fields of the system's training objective."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike. It shifts the
    model's prior, and the recorded one with it. In place of `objective.class_weights`."""
    lr: float = 3e-4
    """Peak learning rate of AdamW."""
    decay: float = 1e-2
    """AdamW's weight decay."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine` to zero over all epochs after a warm-up of one twentieth, or `constant` (the papers)."""
    batch: int = 16
    """Dialogues a step, over all processes."""
    epochs: int = 30
    """Passes over the training dialogues at most."""
    patience: int = 8
    """Passes without a better score after which training ends; as many as `epochs` never ends it early."""
    keep: Literal["best", "last"] = "best"
    """The pass that is kept: the best on `select_on`, or the last, which under `schedule: cosine` has settled and owes
    nothing to the luck of few validation dialogues; `patience` ends nothing then."""
    select_on: Literal["validation", "test"] = "validation"
    """The part whose scores decide which pass is kept. `test` is how papers without a validation set chose, for
    comparison with them alone; it is stamped on every result."""
    select: tuple[str, ...] = ()
    """Patterns of modalities, such as text+voice, whose mean weighted F1 decides; without any: each modality alone
    and all together."""
    feature_dropout: dict[str, float] = field(default_factory=dict)
    """Modality -> share of its input dimensions put to their mean, drawn anew for each vector."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Of weights, order, pairing, patterns and dropout."""
    seeds: tuple[int, ...] = ()
    """Train once with each of these in place of `seed`: runs/NAME/seed0 and so on, a summary, the best exported."""
    steps: int | None = None
    """End every pass after this many steps (for trying a config out)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto takes a GPU where there is one."""
    devices: int = 1
    """Processes, one a GPU; under torchrun its own number counts."""
    precision: Literal["32", "bf16"] = "32"
    """Numbers of the forward pass; weights and loss are float32 in both."""
    threads: int = 2
    """CPU threads of each process."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    export: Path | None = None
    """Folder of the finished checkpoint; the run's own `checkpoint` where it is null."""
    resume: bool = False
    """Go on from the run's last finished pass."""
    tensorboard: bool = False
    """Write the curves for TensorBoard as well, to the run's folder."""

    def __post_init__(self) -> None:
        chosen = system(self.system)
        objective = chosen.make_objective(self.objective)
        chosen.model_config(self.model, {"text": 1}, 2)
        if self.class_weight and getattr(objective, "class_weights", ()) is not None:
            raise UsageError("class_weight and objective.class_weights cannot both be given: choose one.")
        for name in ("batch", "epochs", "patience", "threads", "devices"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: expected 1 or more.")
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError(f"seeds are {list(self.seeds)}: expected each once.")

    def fingerprint(self, start: Checkpoint | None = None) -> dict[str, Any]:
        """The settings that decide the result, as plain values; where things lie does not, `start`'s digest does."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=lambda path: "given"))
        for name in WITHOUT_EFFECT:
            del settings[name]
        del settings["start"]
        if start is not None:
            settings["start"] = start.digest
        for part in ("validation", "test"):
            if "root" in (settings["data"][part] or {}):
                settings["data"][part]["root"] = "given"
        return settings


def fit(config: FitConfig) -> Path:
    """Train, once or with each seed, write the checkpoint, and return its folder.

    The checkpoint is that of the pass, and of the seed, with the best score on what `select_on` names. A corpus's
    other parts are not looked at: `python -m train eval` does that. Raises UsageError, Diverged, OutOfMemory,
    DiskError; whatever ends a run, its last finished pass can be resumed, and its best one so far is exported.
    """
    fabric = open_fabric(config.device, config.devices, config.precision, config.threads)
    console = Console(stderr=True, quiet=not fabric.is_global_zero)
    folder = config.export or config.runs / config.name / "checkpoint"
    if not config.seeds:
        _fit_one(config, folder, fabric, console)
    else:
        _fit_each(config, folder, fabric, console)
    console.print(f"checkpoint: {folder}", highlight=False, soft_wrap=True)
    return folder


def _fit_one(config: FitConfig, folder: Path, fabric: Fabric, console: Console) -> Run:
    start = None if config.start is None else open_start(config.start, config.system)
    if start is None:
        model = system(config.system).model_config(config.model, {"text": 1}, 2)
    else:
        model = config_of(start, config.model)
    with fabric.rank_zero_first():  # it fills the feature store, the others read it
        material = gather(
            config.data,
            config.features,
            config.mixture,
            model.speakers,
            model.window,
            config.seed,
            config.select_on,
            start,
        )
    console.print(material.describe(), highlight=False, soft_wrap=True)
    run = Run(config, material, fabric, console, start)
    try:
        run.fit()
    except (KeyboardInterrupt, Diverged, OutOfMemory) as ended:
        if run.progressed.best_epoch and fabric.is_global_zero:
            with suppress(Exception):  # what is told is why the run ended
                run.restore_best()
                export(run, run.folder / "checkpoint", ended=type(ended).__name__)
        raise
    run.restore_best()
    if fabric.is_global_zero:
        export(run, folder)
    fabric.barrier()
    return run


def _fit_each(config: FitConfig, folder: Path, fabric: Fabric, console: Console) -> None:
    place = config.runs / config.name
    selected: dict[int, float] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    for seed in config.seeds:
        console.print(f"seed {seed}", style="bold", highlight=False, soft_wrap=True)
        one = replace(config, name=f"{config.name}/seed{seed}", seed=seed, seeds=(), export=None)
        run = _fit_one(one, one.runs / one.name / "checkpoint", fabric, console)
        selected[seed] = run.progressed.best
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
        "selection": _mean(list(selected.values())),
        config.select_on: {p: {n: _mean(values) for n, values in by.items()} for p, by in scores.items()},
    }
    whole_or_not_at_all(place / "summary.json", lambda path: path.write_text(json.dumps(summary, indent=1) + "\n"))
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


def _mean(values: list[float]) -> dict[str, Any]:
    """Mean, sample deviation (0 of a single value), and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": values}
