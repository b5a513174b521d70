"""Ways in which a run of training ends early, at a place that a test chooses."""

from __future__ import annotations

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
