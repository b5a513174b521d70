"""The options of `python -m train fit`: the dataclass is the schema of the YAML, of `--help` and of the code."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from train.data.config import DataConfig
from train.data.dialogue_sampler import SamplerOptions
from train.extraction.feature_names import FeatureNames
from train.loop.schedule import Schedule
from train.recipes.dialogue.systems import system

# Where things lie and what they run on decides nothing.
NOT_IN_FINGERPRINT = (
    *("runs", "out", "export", "resume", "checkpoint_every", "tensorboard", "device", "devices", "threads", "seeds"),
    "schedule",  # the older name of shape
)


@dataclass(frozen=True)
class FitConfig:
    """What `fit` trains, on what, and where the result goes."""

    data: DataConfig
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
    features: FeatureNames = field(default_factory=FeatureNames)
    """The feature code, by the names of its weights."""
    mixture: SamplerOptions = field(default_factory=SamplerOptions)
    """How training dialogues are sampled."""
    objective: dict[str, Any] = field(default_factory=dict)
    """Fields of the system's training objective."""
    standardise: bool = True
    """Inputs are standardised by the mean and deviation of the training part; false leaves them raw (the papers)."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike. It shifts the
    model's prior, and the recorded one with it. In place of `objective.class_weights`."""
    lr: float = 3e-4
    """Peak learning rate."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW, whose weight decay is apart from the gradient, or Adam, whose is a part of it (L2; the papers)."""
    decay: float = 1e-2
    """Weight decay."""
    warm_up: float = 0.05
    """Share of all steps in which the rate rises to its peak; `shape: constant` has none."""
    shape: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate goes on from its peak: to zero along a cosine or a straight line, or not at all (the papers)."""
    schedule: Literal["cosine", "constant"] | None = None
    """The older name of `shape`."""
    batch: int = 16
    """Dialogues a step, over all processes."""
    epochs: int = 30
    """Passes over the training dialogues at most."""
    patience: int = 8
    """Passes without a better score after which training ends; as many as `epochs` never ends it early."""
    keep: Literal["best", "last"] = "best"
    """The pass that is kept: the best on `select_on`, or the last, which has less selection noise where there are few
    validation dialogues; `patience` ends nothing then."""
    select_on: Literal["validation", "test"] = "validation"
    """The part whose scores decide which pass is kept. `test` is how papers without a validation set chose, for
    comparison with them alone; it is stamped on every result."""
    select: tuple[str, ...] = ()
    """Patterns of modalities, such as text+voice, whose mean weighted F1 decides; without any: each modality alone
    and all together, and all together alone where training never hides one (`mixture.everything: 1`)."""
    feature_dropout: dict[str, float] = field(default_factory=dict)
    """Modality -> share of its input dimensions put to their mean, drawn anew for each vector."""
    clip: float | None = 1.0
    """Largest norm of the gradient; null clips nothing (the papers)."""
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
    out: Path | None = None
    """Folder of the finished checkpoint; the run's own `checkpoint` where it is null."""
    export: Path | None = None
    """The older name of `out`."""
    checkpoint_every: int = 200
    """Steps between checkpoints of the run, besides the one after each pass."""
    resume: bool | None = False
    """What becomes of an unfinished run in the folder (see train/loop/schedule.py): true goes on, also with another
    lr, batch, clip, epochs or patience, null only where all settings are the same, false begins anew."""
    tensorboard: bool = False
    """Write the curves for TensorBoard as well, to the run's folder."""

    def __post_init__(self) -> None:
        chosen = system(self.system)
        objective = chosen.make_objective(self.objective)
        chosen.probe_config(self.model)
        if self.class_weight and getattr(objective, "class_weights", ()) is not None:
            raise UsageError("class_weight and objective.class_weights cannot both be given: choose one.")
        if self.schedule is not None:
            object.__setattr__(self, "shape", self.schedule)
            object.__setattr__(self, "schedule", None)
        if self.export is not None:
            object.__setattr__(self, "out", self.export)
            object.__setattr__(self, "export", None)
        if self.devices < 1:
            raise UsageError(f"devices is {self.devices}: expected 1 or more.")
        self.training_schedule()
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError(f"seeds are {list(self.seeds)}: expected each once.")

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.runs / self.name

    def training_schedule(self) -> Schedule:
        """The part of the options that train/loop takes. Raises UsageError."""
        return Schedule(
            epochs=self.epochs,
            lr=self.lr,
            warm_up=0.0 if self.shape == "constant" else self.warm_up,
            shape=self.shape,
            batch=self.batch,
            decay=self.decay,
            clip=self.clip,
            patience=self.patience,
            keep=self.keep,
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
            resume=self.resume,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )

    def fingerprint(self, start: Checkpoint | None = None) -> dict[str, Any]:
        """The settings that decide the result, as plain values; where things lie does not, `start`'s digest does."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=lambda path: "given"))
        for name in NOT_IN_FINGERPRINT:
            del settings[name]
        del settings["start"]
        if start is not None:
            settings["start"] = start.digest
        for part in ("validation", "test"):
            if "root" in (settings["data"][part] or {}):
                settings["data"][part]["root"] = "given"
        return settings
