"""Ways in which a run of training ends early, at a place that a test chooses."""

from __future__ import annotations

from typing import Any

import pytest

from train.loop.trainer import Trainer


def interrupt_after_save(number: int, patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes right after the checkpoint of that number, counted over all runs from now on."""
    written, save = 0, Trainer.save

    def save_and_die(trainer: Trainer) -> None:
        nonlocal written
        save(trainer)
        written += 1
        if written == number:
            raise KeyboardInterrupt

    patch.setattr(Trainer, "save", save_and_die)


def end_in_pass(number: int, end: BaseException, patch: pytest.MonkeyPatch, at: int = 2) -> None:
    """Step `at` of that pass raises `end`."""
    take_step, taken = Trainer._take_step, 0

    def step_or_end(trainer: Trainer, batch: Any, step: Any, where: str) -> dict[str, float]:
        nonlocal taken
        taken += trainer.progress.epoch == number - 1
        if taken == at:
            raise end
        return take_step(trainer, batch, step, where)

    patch.setattr(Trainer, "_take_step", step_or_end)
