"""The options of `python -m train tdfnet`: the dataclass is the schema of the YAML, of `--help` and of the code."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from core_models.errors import UsageError
from core_models.networks.tdfnet import TDFNetConfig
from train.corpora.registry import CorpusConfig
from train.corpora.splits import Plan
from train.loop.schedule import Schedule
from train.losses.tdfnet import TDFNetObjective
from train.recipes.tdfnet.ablations import TABLE_V
from train.recipes.tdfnet.utterances import Embeddings


@dataclass(frozen=True, kw_only=True)
class TDFNetTraining:
    """What is trained and tested, on which folds of what, and where it goes."""

    corpus: CorpusConfig
    """The corpus, whole; its folds say what is trained on."""
    plan: Plan = "loso"
    """loso, lopo or random (paper), or another of train/corpora/splits.py."""
    folds: tuple[str, ...] = ()
    """Names of the folds that are run; all of the plan without any."""
    plan_seed: int = 0
    """Seed of the plans random and holdout."""
    validation_share: float = 0.1
    """Share of a fold's training lines on which the epoch is chosen."""
    apart: Literal["dialogues", "speakers"] = "dialogues"
    """What validation does not share with training: dialogues, or speakers too."""
    name: str = "tdfnet"
    """Name of the run, for tables; its folder is runs/NAME."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    row: str = "TDFNet"
    """Row of Table V: TDFNet, AUDIO PATH, TEXT PATH, w/o DST, w/o MT or w/o ME."""
    embeddings: Embeddings = field(default_factory=Embeddings)
    """The three pretrained models."""
    model: dict[str, Any] = field(default_factory=dict)
    """Fields of TDFNetConfig but for dimensions, classes and speaker, which the data decide."""
    objective: TDFNetObjective = field(default_factory=TDFNetObjective)
    """The loss."""
    hide: float = 0.0
    """Share of training utterances of both modalities in which one is hidden (contract 4; the paper hides none)."""
    # The paper names no schedule of the rate, so it stays where it is.
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20, warm_up=0.0, shape="constant", patience=3))
    """How long and how fast (paper: batches of 32, AdamW at 1e-4, 20 epochs, patience 3)."""
    seeds: tuple[int, ...] = ()
    """Run the folds once with each of these in place of schedule.seed: runs/NAME/seed0 and so on, the deviation over
    them at the end."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is computed first."""

    def __post_init__(self) -> None:
        if self.row not in TABLE_V:
            raise UsageError(f"row is {self.row!r}: choose from {', '.join(TABLE_V)}.")
        if not 0 < self.validation_share < 1 or not 0 <= self.hide <= 1:
            raise UsageError("validation_share must be between 0 and 1, and hide from 0 to 1: change them.")
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError(f"seeds are {list(self.seeds)}: expected each once.")
        network_config({**self.model, **TABLE_V[self.row].model}, {"text": 1}, 2, 0)


def network_config(given: dict[str, Any], dimensions: dict[str, int], classes: int, speaker: int) -> TDFNetConfig:
    """The network's configuration from fields `given` by a person and those that the data decide. UsageError."""
    decided = {"dimensions": dimensions, "classes": classes, "speaker": speaker}
    known = {f.name for f in dataclasses.fields(TDFNetConfig)} - set(decided)
    unknown = sorted(set(given) - known)
    if unknown:
        raise UsageError(f"model.{unknown[0]} is no setting of TDFNet: choose from {', '.join(sorted(known))}.")
    try:
        return msgspec.convert({**given, **decided}, TDFNetConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"model of TDFNet is wrong: {error}; correct it.") from None
