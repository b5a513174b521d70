"""From a finished run to a checkpoint: temperatures, the training record, curves."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core_models import checkpoint
from train.scores import Scores, fit_temperature, score

if TYPE_CHECKING:
    from train.fit import Run

_ROOT = Path(__file__).resolve().parents[1]


def export(run: Run, folder: Path) -> None:
    """Write the checkpoint of `run.network` with a temperature for each pattern of modalities, and its loss curve.

    Temperatures are fitted on the validation dialogues (`fit_temperature`), after the choice of the pass.
    Raises DiskError.
    """
    temperature: dict[str, float] = {}
    scores: dict[str, Any] = {}
    for pattern, dialogues in run.material.validation.items():
        logits, labels = run.predict(dialogues)
        if not pattern.endswith(" clips"):
            temperature[pattern] = round(fit_temperature(logits, labels), 4)
        scores[pattern] = _short(score(logits / temperature.get(pattern, 1.0), labels, run.material.labels))
    material, config = run.material, run.network.config
    sidecar = checkpoint.Sidecar(
        model="sdt",
        config=checkpoint.sidecar_config(config),
        labels=material.labels.name,
        features=material.specs,
        window=config.window,
        temperature=temperature,
        record={
            "run": run.config.fingerprint(),
            "commit": _commit(),
            "finished": datetime.now(UTC).date().isoformat(),
            "torch": str(torch.__version__),
            "data": material.counts,
            "parameters": sum(p.numel() for p in run.network.parameters()),
            "passes": run.progressed.epoch,
            "best_pass": run.progressed.best_epoch,
            "selection": f"mean weighted F1 on validation over {', '.join(run.selection)}",
            "selection_score": round(run.progressed.best, 4),
            "validation": scores,
            "prior": [round(p, 5) for p in run.prior().tolist()],
        },
    )
    checkpoint.save(folder, run.network, sidecar)
    draw_losses(run.progressed.history, run.progressed.best_epoch, run.folder / "loss.png")
    (folder / "record").mkdir(exist_ok=True)
    draw_losses(run.progressed.history, run.progressed.best_epoch, folder / "record" / "loss.png")
    (folder / "record" / "history.jsonl").write_bytes((run.folder / "history.jsonl").read_bytes())


def draw_losses(history: list[dict[str, Any]], best: int, path: Path) -> None:
    """The terms of the loss, and the validation score of each pattern, against passes, as a PNG."""
    from matplotlib.figure import Figure

    passes = [row["epoch"] for row in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("task", "ce", "kl"):
        left.plot(passes, [row[name] for row in history], label=name)
    left.set(xlabel="pass", ylabel="training loss")
    for name in history[0]:
        if name.startswith("validation "):
            right.plot(passes, [100 * row[name] for row in history], label=name.removeprefix("validation "))
    right.axvline(best, color="grey", linewidth=0.8)
    right.set(xlabel="pass (grey: the one kept)", ylabel="validation weighted F1, %")
    for axes in (left, right):
        axes.legend(fontsize=6)
    figure.savefig(path, dpi=110)


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
