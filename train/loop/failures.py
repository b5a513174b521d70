"""What ends a training early, the same in every recipe: one sentence and one exit code for each kind of failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from core_models.atomic_write import reason_of
from core_models.errors import DiskError, Exit, TrackerError

# What torch's RuntimeErrors say where memory lacks: the CPU allocator's words on Windows and Linux, and CUDA's.
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")

GO_ON = "go on from the last checkpoint with resume true"


class Diverged(TrackerError):
    """The loss, the weights or the predictions are not finite any more."""

    exit_code = Exit.UNEXPECTED


class OutOfMemory(TrackerError):
    """A step did not fit into memory."""

    exit_code = Exit.UNEXPECTED


def check_finite(terms: Mapping[str, Tensor], where: str) -> None:
    """Raise Diverged, which names the term and `where` it was found, unless all numbers of all `terms` are finite."""
    finite = torch.stack([value.detach().isfinite().all() for value in terms.values()]) if terms else torch.ones(0)
    # One transfer from the device for all terms.
    if bool(finite.all()):
        return
    name = list(terms)[finite.tolist().index(False)]
    raise Diverged(f"Training diverged: {name} is not a number in {where}: set a lower lr and {GO_ON}.")


@contextmanager
def guarded(where: str) -> Iterator[None]:
    """Turns a want of memory into OutOfMemory and an error of the file system into DiskError, one sentence each."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise
        raise OutOfMemory(f"Training ran out of memory in {where}: set a lower batch and {GO_ON}.") from None
    except OSError as error:
        name = f"{error.filename} " if error.filename else "A file "
        raise DiskError(
            f"{name}cannot be read or written ({reason_of(error)}) in {where}: free space and {GO_ON}."
        ) from None
