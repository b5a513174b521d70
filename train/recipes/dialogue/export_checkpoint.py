"""From a finished run to a checkpoint: temperatures, the training record, curves."""

from __future__ import annotations

import dataclasses
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from core_models import checkpoint
from core_models.errors import DiskError
from train.evaluation.calibration import abstain_below, fit_temperature
from train.evaluation.metrics import Scores, score
from train.figures.loss_curves import draw_losses
from train.recipes.dialogue.training import Run
from train.recipes.dialogue.warm_start import calibrates, recorded

RIGHT = 2 / 3
"""What a live run says without calling it uncertain should be right so often, on held-out dialogues as they were."""

_ROOT = Path(__file__).resolve().parents[3]


def export(run: Run, folder: Path, ended: str = "finished") -> None:
    """Write the checkpoint of `run.network` with a temperature for each pattern of modalities, and its loss curve.

    Temperatures are fitted on the held-out dialogues (`fit_temperature`), after the choice of the pass; so is the
    confidence below which a live run abstains, on the modalities that these dialogues themselves have. What they
    cannot tell (`train.recipes.dialogue.warm_start.calibrates`) is that of the start. `ended` says what ended a run
    that did not finish. Raises DiskError.
    """
    start = run.start
    before = None if start is None else start.sidecar
    temperature: dict[str, float] = {} if before is None else dict(before.temperature)
    abstain = 0.0 if before is None else before.abstain
    prior = run.prior().tolist()
    scores: dict[str, Any] = {}
    for pattern, dialogues in run.material.validation.items():
        logits, labels = run.predict(dialogues)
        fitted = calibrates(start, run.config.data.train.corpus, len(labels))
        if fitted and not pattern.endswith(" clips"):
            temperature[pattern] = round(fit_temperature(logits, labels), 4)
        calibrated = logits / temperature.get(pattern, 1.0)
        scores[pattern] = _short(score(calibrated, labels, run.material.labels))
        if fitted and pattern == run.material.native:
            abstain = round(abstain_below(calibrated, labels, RIGHT), 4)
        elif before is not None and pattern == run.material.native:
            prior = before.record.get("prior", prior)
    material, config, progressed = run.material, run.network.config, run.progressed
    part = run.config.select_on
    sidecar = checkpoint.Sidecar(
        model=run.config.system,
        config=checkpoint.sidecar_config(config),
        labels=material.labels.name,
        features=material.specs if before is None else before.features,
        window=config.window,
        temperature=temperature,
        abstain=abstain,
        record={
            "run": run.settings,
            **({} if start is None else {"start": recorded(start)}),
            "commit": _commit(),
            "finished": datetime.now(UTC).date().isoformat(),
            "ended": ended,
            "torch": str(torch.__version__),
            "data": material.counts,
            "reading": dataclasses.asdict(material.reading),
            "parameters": sum(p.numel() for p in run.network.parameters()),
            "passes": progressed.epoch,
            "seconds_a_pass": round(progressed.seconds / progressed.epoch, 2),
            "best_pass": progressed.best_epoch,
            "changes": progressed.changes,
            "select_on": part,
            "selection": ("the last pass; " if run.config.keep == "last" else "")
            + f"mean weighted F1 on {part} over {', '.join(run.selection)}",
            "selection_score": round(progressed.best, 4),
            part: scores,
            "prior": [round(p, 5) for p in prior],
        },
    )
    checkpoint.save(folder, run.network, sidecar)
    draw_losses(progressed.history, progressed.best_epoch, part, run.folder / "loss.png")
    try:
        (folder / "record").mkdir(exist_ok=True)
        for source, name in (("loss.png", "loss.png"), ("history.jsonl", "history.jsonl")):
            (folder / "record" / name).write_bytes((run.folder / source).read_bytes())
    except OSError as error:
        raise DiskError(f"The training record cannot be written to {folder} ({error.strerror}): free space.") from None


def _short(scores: Scores) -> dict[str, Any]:
    kept = scores.rounded()
    del kept["confusion"]
    return kept


def _commit() -> str:
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
