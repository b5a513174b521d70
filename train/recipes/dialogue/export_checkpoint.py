"""From a finished run to a checkpoint: temperatures, the training record, curves."""

from __future__ import annotations

import dataclasses
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from core_models import checkpoint
from core_models.errors import DiskError
from train.evaluation.calibration import abstain_below, fit_temperature
from train.evaluation.metrics import score
from train.evaluation.results import Scores
from train.figures.loss_curves import draw_losses
from train.recipes.dialogue.training import DialogueTraining
from train.recipes.dialogue.warm_start import calibrates, recorded

# What a live run says without calling it uncertain should be right so often, on held-out dialogues as they were.
RIGHT = 2 / 3

_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Calibration:
    """What is fitted on held-out dialogues after the pass is chosen, or kept from the start."""

    temperature: dict[str, float]
    """Pattern of modalities -> temperature."""
    abstain: float
    """Confidence below which a live run abstains, on the modalities that the dialogues themselves have."""
    prior: list[float]
    """Of each class."""
    scores: dict[str, dict[str, Any]]
    """Pattern -> scores under its temperature."""


def export(run: DialogueTraining, folder: Path, ended: str = "finished") -> None:
    """Write the checkpoint of `run.network` with a temperature for each pattern of modalities, and its loss curve.

    `ended` says what ended a run that did not finish. Raises Diverged, DiskError.
    """
    calibration = calibrate(run)
    start, network = run.start, run.network
    sidecar = checkpoint.Sidecar(
        model=run.config.system,
        config=checkpoint.sidecar_config(network.config),
        labels=run.data.labels.name,
        features=run.data.specs if start is None else start.sidecar.features,
        window=network.config.window,
        temperature=calibration.temperature,
        abstain=calibration.abstain,
        record=_record_run(run, calibration, ended),
    )
    checkpoint.save(folder, network, sidecar)
    progress, own = run.trainer.progress, run.config.folder
    draw_losses(progress.history, progress.best_epoch, run.config.select_on, own / "loss.png")
    try:
        (folder / "record").mkdir(exist_ok=True)
        for name in ("loss.png", "history.jsonl"):
            (folder / "record" / name).write_bytes((own / name).read_bytes())
    except OSError as error:
        raise DiskError(f"The training record cannot be written to {folder} ({error.strerror}): free space.") from None


def calibrate(run: DialogueTraining) -> Calibration:
    """Temperatures and the threshold of abstention of the pass that is kept, on the held-out dialogues.

    What these cannot tell (`train.recipes.dialogue.warm_start.calibrates`) is that of the start. Raises Diverged.
    """
    before = None if run.start is None else run.start.sidecar
    temperature: dict[str, float] = {} if before is None else dict(before.temperature)
    abstain = 0.0 if before is None else before.abstain
    prior = run.prior().tolist()
    scores: dict[str, Any] = {}
    for pattern, dialogues in run.data.validation.items():
        logits, labels = run.predict(dialogues)
        fitted = calibrates(run.start, run.config.data.train.corpus, len(labels))
        if fitted and not pattern.endswith(" clips"):
            temperature[pattern] = round(fit_temperature(logits, labels), 4)
        calibrated = logits / temperature.get(pattern, 1.0)
        scores[pattern] = _without_confusion(score(calibrated, labels, run.data.labels))
        if fitted and pattern == run.data.native:
            abstain = round(abstain_below(calibrated, labels, RIGHT), 4)
        elif before is not None and pattern == run.data.native:
            prior = before.record.get("prior", prior)
    return Calibration(temperature, abstain, prior, scores)


def _record_run(run: DialogueTraining, calibration: Calibration, ended: str) -> dict[str, Any]:
    """The training record: what was trained, on what, how it went and how the pass was chosen."""
    progress, part = run.trainer.progress, run.config.select_on
    kept = "the last pass; " if run.config.keep == "last" else ""
    return {
        "run": run.trainer.settings,
        **({} if run.start is None else {"start": recorded(run.start)}),
        "commit": _describe_commit(),
        "finished": datetime.now(UTC).date().isoformat(),
        "ended": ended,
        "torch": str(torch.__version__),
        "data": run.data.counts,
        "reading": dataclasses.asdict(run.data.reading),
        "parameters": sum(p.numel() for p in run.network.parameters()),
        "passes": progress.epoch,
        "seconds_a_pass": round(progress.seconds / progress.epoch, 2),
        "best_pass": progress.best_epoch,
        "changes": progress.changes,
        "select_on": part,
        "selection": f"{kept}mean weighted F1 on {part} over {', '.join(run.selection)}",
        "selection_score": round(progress.best, 4),
        part: calibration.scores,
        "prior": [round(p, 5) for p in calibration.prior],
    }


def _without_confusion(scores: Scores) -> dict[str, Any]:
    kept = scores.rounded()
    del kept["confusion"]
    return kept


def _describe_commit() -> str:
    """The commit of this code, "+changes" where files differ from it, "unknown" outside a repository."""
    try:
        described = subprocess.run(
            ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=12", "--dirty=+changes"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
