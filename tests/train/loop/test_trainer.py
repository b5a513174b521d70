"""The training loop by itself: its rate, what it keeps, what it refuses, and what it goes on from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from support.run_endings import end_in_pass, interrupt_after_save
from torch import Tensor, nn

from core_models.errors import UsageError
from train.loop.accelerator import open_fabric
from train.loop.failures import Diverged
from train.loop.schedule import LOWEST_FACTOR, Schedule, adamw, rate_factor
from train.loop.trainer import Trainer

SCHEDULE = Schedule(epochs=4, lr=0.05, batch=2, threads=1, device="cpu", checkpoint_every=1)


def score_constant() -> float:
    return 0.0


def run(
    folder: Path, schedule: Schedule = SCHEDULE, score: Callable[[], float] | None = None, seed: int = 0
) -> Trainer:
    """A regression under dropout, in passes of different length; every pass is better unless `score` says otherwise."""
    torch.manual_seed(schedule.seed)
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = adamw(module.parameters(), schedule)
    settings = {"seed": seed, "schedule": {"lr": schedule.lr, "batch": schedule.batch}}
    fabric = open_fabric("cpu", "32", 1)
    trainer = Trainer(folder, schedule, settings, module, optimizer, fabric, Console(quiet=True))
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))

    def batches(epoch: int) -> list[Tensor]:
        return list(inputs[: 4 + 2 * (epoch % 2)].split(schedule.batch))  # type: ignore[no-untyped-call]

    def step(batch: Tensor) -> dict[str, Tensor]:
        return {"loss": (trainer.model(batch) - batch.sum(1, keepdim=True)).square().mean()}

    def validate() -> dict[str, float]:
        return {"score": float(trainer.progress.epoch) if score is None else score()}

    trainer.fit(batches, step, validate)
    return trainer


@pytest.mark.parametrize("killed_at", [1, 2, 3, 5, 9])
def test_run_killed_at_any_checkpoint_goes_on_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Killed in the middle of a pass or between two, weights, optimiser and history are those of an unbroken run."""
    run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after_save(killed_at, patch)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed")
    run(tmp_path / "killed")
    one, other = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(one["module"][name], other["module"][name]) for name in one["module"])
    assert one["progress"]["history"] == other["progress"]["history"]
    assert torch.equal(one["random"][0], other["random"][0])
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("whole", "killed")]
    assert histories[0] == histories[1]
    assert len(histories[0].splitlines()) == 4


def test_what_may_differ_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another rate is refused by itself, taken and recorded with resume true; another seed never; false begins anew."""
    with monkeypatch.context() as patch:
        end_in_pass(3, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    slower = dataclasses.replace(SCHEDULE, lr=0.01)
    with pytest.raises(UsageError, match=r"other settings \(schedule.lr\)"):
        run(tmp_path, slower)
    with pytest.raises(UsageError, match=r"other settings \(schedule.lr, seed\)|other settings \(seed\)"):
        run(tmp_path, dataclasses.replace(slower, resume=True), seed=1)
    resumed = run(tmp_path, dataclasses.replace(slower, resume=True))
    assert resumed.progress.changes == [{"after_pass": 2, "schedule.lr": [0.05, 0.01]}]
    assert max(group["lr"] for group in resumed.optimizer.param_groups) <= 0.01
    assert len(resumed.progress.history) == 4
    anew = run(tmp_path, dataclasses.replace(slower, resume=False, epochs=1))
    assert (len(anew.progress.history), anew.progress.changes) == (1, [])


def test_weights_that_the_last_step_spoilt_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finite loss whose step ends in weights that are none ends the run before they are validated or written."""
    take_step = Trainer._take_step

    def spoil(trainer: Trainer, *given: object) -> dict[str, float]:
        losses = take_step(trainer, *given)  # type: ignore[arg-type]
        if trainer.progress.epoch == 3 and trainer.progress.batch == 2:
            with torch.no_grad():
                next(trainer.module.parameters()).fill_(math.nan)
        return losses

    monkeypatch.setattr(Trainer, "_take_step", spoil)
    with pytest.raises(Diverged, match="weight is not a number in pass 4"):
        run(tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert all(value.isfinite().all() for value in state["module"].values())
    assert all(value.isfinite().all() for value in load_file(tmp_path / "best.safetensors").values())


def test_best_pass_is_kept_and_patience_ends_a_run(tmp_path: Path) -> None:
    """The first of equal passes is kept, two more without a better one end the run; `keep: last` goes to its end."""
    best = run(tmp_path / "best", dataclasses.replace(SCHEDULE, patience=2), score_constant)
    assert (best.progress.best_epoch, best.progress.epoch) == (1, 3)
    last = run(tmp_path / "last", dataclasses.replace(SCHEDULE, patience=2, keep="last"), score_constant)
    assert (last.progress.best_epoch, last.progress.epoch) == (4, 4)
    rows = [json.loads(line) for line in (tmp_path / "best" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_rate_rises_to_its_peak_and_falls_from_there(shape: str) -> None:
    """It is highest where the warm-up ends, never zero, and never rises again."""
    schedule = dataclasses.replace(SCHEDULE, shape=shape, warm_up=0.1)
    factors = [rate_factor(schedule, done / 1000) for done in range(1001)]
    assert factors[0] == LOWEST_FACTOR
    assert factors[100] == 1
    assert factors[:101] == sorted(factors[:101])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert factors[-1] == (1 if shape == "constant" else LOWEST_FACTOR)
    assert rate_factor(schedule, 0.55) == pytest.approx(1 if shape == "constant" else 0.5)
    assert rate_factor(dataclasses.replace(schedule, warm_up=0.0), 0.0) == 1
