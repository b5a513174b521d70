"""What ends a training early, in one sentence: the loss is no number, a step does not fit into memory."""

from __future__ import annotations

from core_models.errors import Exit, TrackerError

OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


class Diverged(TrackerError):
    """The loss is no number any more."""

    exit_code = Exit.UNEXPECTED


class OutOfMemory(TrackerError):
    """A step did not fit into memory."""

    exit_code = Exit.UNEXPECTED
